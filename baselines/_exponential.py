r"""Adams methods for the probability-flow ODE and its SDEs in lambda = -ln sigma, whose linear part is exact.

With c = 1 + tau^2 (tau = 0: the ODE) and the step h = lambda' - lambda of a grid, the part that D contributes is

    c integral from lambda to lambda' of e^(-c (lambda' - l)) D(l) dl  ~  sum_j w_j D_j,    D ~ sum_j L_j D_j,

L_j the Lagrange polynomials through known values at lambda_j (Xue et al. 2023; Zhang & Chen 2023; Lu et al. 2022b).
"""

import numpy as np

NODES, WEIGHTS = np.polynomial.legendre.leggauss(64)  # exact to rounding for c h < 100


def adams(levels: list[float], start: float, to: float, *, rate: float = 1.0) -> list[float]:
    """The weights w_j of D at each of ``levels`` (sigmas) for a step from sigma ``start`` to ``to`` > 0; c = rate."""
    h = np.log(start / to)
    back = h / 2 * (1 - NODES)  # lambda' - l
    measure = h / 2 * WEIGHTS * rate * np.exp(-rate * back)
    nodes = np.log(np.array(levels) / to)  # lambda' - lambda_j
    weights = []
    for j, node in enumerate(nodes):
        others = np.delete(nodes, j)
        weights.append(float(measure @ np.prod((back[:, None] - others) / (node - others), axis=1)))
    return weights
