r"""DM-NonUniform (Xue et al. 2024, arXiv:2402.17376): a grid that minimises a bound of a multistep solver's error.

With lambda = -ln sigma, a solver that interpolates D over its last k_s <= 3 levels ends at a multiple of its start plus
sum_s sum_j J_sj D_j,

    J_sj = integral from lambda_s to lambda_{s+1} of e^l L_j(l) dl,    k = 1, 2, 3, ..., 3, 2, 1,

and a network that errs by eta_j at level j moves it by sum_j eta_j |sum_s J_sj| at most. eta_j = sigma_j, which the
authors found best for networks of pixels. The first three steps and the last stand alone, each by its root of squares,
as in the authors' code. It asks no network, and is sought from equal steps of lambda.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
MOST = 20  # levels: it is made for few, and sought whenever a plan is made
ALONE = 3  # first steps that stand alone
STEP = 1e-7  # of the whole way, by which levels are moved to see what becomes of the bound
ROUNDED = 5  # decimals of the whole way: the minimum is flat, and its last digits are a machine's


@lru_cache(maxsize=256)
def levels(n: int, start: float, finest: float) -> tuple[float, ...]:
    """n levels from sigma ``start`` to ``finest``, both exact; 1 to MOST."""
    if n < 3:
        return (start, finest)[:n]
    from scipy.optimize import LinearConstraint, minimize

    first, last = -np.log(start), -np.log(finest)
    even, size = np.linspace(first, last, n), last - first
    moves = np.vstack([np.zeros(n - 2), STEP * size * np.eye(n - 2)])  # none, and one of each inner level
    whole = float(bound(even))

    def of(inner: NDArray) -> tuple[float, NDArray]:
        ends = np.broadcast_to([[first, last]], (n - 1, 2))
        with np.errstate(over="ignore", invalid="ignore"):  # a look at levels that have passed each other: no minimum
            values = bound(np.hstack([ends[:, :1], inner + moves, ends[:, 1:]])) / whole
        return float(values[0]), (values[1:] - values[0]) / (STEP * size)

    steps = np.eye(n - 1, n - 2) - np.eye(n - 1, n - 2, k=-1)  # lambda_{s+1} - lambda_s, but for the ends
    fixed = np.zeros(n - 1)
    fixed[0], fixed[-1] = -first, last
    apart = LinearConstraint(steps, 1e-2 * size / n - fixed, np.inf)
    told = {"maxiter": 100, "ftol": 1e-8}
    found = minimize(of, even[1:-1], jac=True, method="SLSQP", constraints=[apart], options=told).x
    return (start, *np.exp(-first - size * np.round((found - first) / size, ROUNDED)).tolist(), finest)


def bound(lambdas: NDArray) -> NDArray:
    """The bound of grids of N steps, (..., N + 1) ascending -> (...), up to the factor sigma_N."""
    count = lambdas.shape[-1] - 1
    orders = np.minimum(np.minimum(np.arange(count) + 1, 3), count - np.arange(count))
    errors, total = np.exp(-lambdas[..., :-1]), np.zeros(lambdas.shape[:-1])
    together = np.zeros(errors.shape)
    for order in (1, 2, 3):
        steps = np.flatnonzero(orders == order)
        known = steps[:, None] - np.arange(order)  # the levels that each step interpolates
        parts = errors[..., known] * _integrals(lambdas[..., known], lambdas[..., steps], lambdas[..., steps + 1])
        for k, step in enumerate(steps):
            if order == 1 or step < ALONE:
                total += np.sqrt(np.sum(parts[..., k, :] ** 2, axis=-1))
            else:
                together[..., known[k]] += parts[..., k, :]
    return total + np.abs(together).sum(-1)


def _integrals(known: NDArray, low: NDArray, high: NDArray) -> NDArray:
    """J_sj of steps from ``low`` to ``high``, (..., m), through the levels ``known``, (..., m, k) -> (..., m, k)."""
    half = (high - low)[..., None] / 2
    at = (low + high)[..., None] / 2 + half * NODES  # (..., m, q)
    measure, found = half * WEIGHTS * np.exp(at), []
    for j in range(known.shape[-1]):
        others = np.delete(known, j, axis=-1)[..., None, :]
        node = known[..., j, None, None]
        found.append((measure * np.prod((at[..., None] - others) / (node - others), axis=-1)).sum(-1))
    return np.stack(found, axis=-1)
