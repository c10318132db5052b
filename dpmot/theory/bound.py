r"""A bound on the W2 error of DDIM from an approximate start, every constant of it known or measured.

Levels sigma_0 > ... > sigma_n = 0, r_i = sigma_{i+1} / sigma_i, p_i the law of the data under noise sigma_i. The exact
flow F_i takes p_i to p_{i+1}; DDIM with a denoiser D + e takes

    Phi_i(x) = r_i x + (1 - r_i) (D + e)(x, sigma_i),    Lip Phi_i <= L_i = r_i + (1 - r_i) (Lip D + Lip e)(sigma_i).

Let X_0 ~ p_0 and Y_0 ~ q be coupled at best, X_{i+1} = F_i(X_i) and Y_{i+1} = Phi_i(Y_i). By the triangle inequality

    |X_{i+1} - Y_{i+1}| <= |F_i - Phi_i + (1 - r_i) e|(X_i) + (1 - r_i) |e(X_i)| + |Phi_i(X_i) - Phi_i(Y_i)|,

where the first is the error of one step with the exact score. In the L2 norm, one step after the other (Gronwall),

    W2(DDIM from q, data) <= sum_i A_{i+1} (t_i + (1 - r_i) e_i) + A_0 W2(q, p_0),      A_i = L_i L_{i+1} ... L_{n-1},
    t_i^2 = E |F_i(X_i) - Phi_i(X_i) + (1 - r_i) e(X_i)|^2,   e_i^2 = E |e(X_i)|^2,     X_i ~ p_i.

The start of DPM-OT is atoms y_j of masses p_j that should be 1/N each; of N latents alone (copy control) p_j = 1/N:

    W2(q, p_0) <= W2(atoms of masses p, of 1/N) + W2(atoms of 1/N, p_0),
    W2(atoms of masses p, of 1/N)^2 <= min(sqrt(chi2) / 2 max |y_j - y_k|^2, 2 sqrt(chi2) sqrt(mean_j |y_j - ybar|^4)).

For the mass both have in common stays where it is, the rest, of total variation at most sqrt(chi2) / 2, goes anywhere:
at most the diameter far, or by way of ybar at twice the sum of squares, in which Cauchy-Schwarz leaves chi2. And for
the prior N(0, sigma_0^2 I), component by component,

    W2(q, p_0)^2 <= mean_k |m_k|^2 + d (sqrt(s^2 + sigma_0^2) - sigma_0)^2.

For one Gaussian N(0, s^2 I), the exact score, from p_0 or the prior, it is an equality: flow and steps are scalings,
the steps' the smaller ones. It is loose where L_i, a maximum over all x, is met at few x only.

Source: derived here. A Lipschitz constant times an L2 error of the velocity is also the form of Benton, Deligiannidis &
Doucet (2023, arXiv:2305.16860) and of Beyler & Bach (2025, arXiv:2508.03210), who measure the error of the score, as
here, under the true law; only their abstracts were at hand, so that no constant is theirs.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dpmot.device import ordinary
from dpmot.theory.flow import Law, ScoreError, ddim


@dataclass(frozen=True)
class Bound:
    """The terms of the bound, in units of the data.

    Attributes:
        growth: A_0, by which an error of the start grows at most.
        discretisation: sum_i A_{i+1} t_i.
        score: sum_i A_{i+1} (1 - r_i) e_i.
    """

    growth: float
    discretisation: float
    score: float

    def total(self, start: float) -> float:
        """The bound on W2 from a start at W2 distance ``start`` of p_0."""
        return self.discretisation + self.score + self.growth * start


@ordinary(grad=False)
def step_errors(law: Law, clean: Tensor, noise: Tensor, sigmas: Sequence[float]) -> list[float]:
    """t_i, the error of each step of DDIM with the exact score.

    Args:
        law: of the data.
        clean: samples of it, float64 (n, d), over which is averaged.
        noise: N(0, I), (n, d).
        sigmas: levels, descending, last 0.
    """
    found = []
    for sigma, to in itertools.pairwise(sigmas):
        x = clean + sigma * noise
        found.append(_rms(law.flow(x, sigma, to) - ddim(law, x, (sigma, to))))
    return found


@ordinary(grad=False)
def bound(
    law: Law, clean: Tensor, noise: Tensor, sigmas: Sequence[float], error: ScoreError, steps: Sequence[float]
) -> Bound:
    """The bound without its start.

    Args:
        law, clean, noise, sigmas: as of :func:`step_errors`, here to average the error of the score.
        error: of the denoiser.
        steps: what :func:`step_errors` found.
    """
    growth, discretisation, score = 1.0, 0.0, 0.0
    for step, (sigma, to) in reversed(list(zip(steps, itertools.pairwise(sigmas), strict=True))):
        keep = to / sigma  # growth is A_{i+1} here
        discretisation += growth * step
        score += growth * (1 - keep) * _rms(error(clean + sigma * noise, sigma))
        growth *= keep + (1 - keep) * (law.lipschitz(sigma) + error.lipschitz(sigma))
    return Bound(growth, discretisation, score)


def prior_distance(law: Law, sigma: float) -> float:
    """At most W2 of N(0, sigma^2 I) and the law under noise sigma."""
    widened = law.dim * (math.hypot(law.std, sigma) - sigma) ** 2
    return math.sqrt(float(law.means.square().sum(1).mean()) + widened)


def mass_distance(atoms: Tensor, chi2: float) -> float:
    """At most W2 of atoms (N, d) of equal masses and of masses at this chi2 from them."""
    if not chi2 >= 0:
        raise ValueError(f"chi2 is {chi2:g}; give a number of at least 0, such as a certificate's upper end")
    far = (atoms - atoms.mean(0)).square().sum(1)
    by_centre = 2 * float(far.square().mean().sqrt())
    return math.sqrt(math.sqrt(chi2) * min(by_centre, float(torch.cdist(atoms, atoms).max()) ** 2 / 2))


def _rms(rows: Tensor) -> float:
    return math.sqrt(float(rows.square().sum(1).mean()))
