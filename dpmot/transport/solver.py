"""Solve a semi-discrete transport problem to a certified error.

problem -> fit (Newton on lines for d <= 3, averaged Newton steps on noise above) -> one certificate on fresh noise.
"""

import math
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from dpmot.transport import averaging, newton
from dpmot.transport.atoms import BLOCK
from dpmot.transport.certificate import Certificate, certify
from dpmot.transport.kernel import ROWS
from dpmot.transport.ledger import Callback, Ledger
from dpmot.transport.lines import MAX_ATOMS, MAX_DIM
from dpmot.transport.potential import BrenierPotential
from dpmot.transport.problem import SemiDiscreteProblem, checked_heights

NOISES_PER_ATOM, FEW_ATOMS = 2048, 128  # default budget: 2048 max(N, 128)


@dataclass(frozen=True, eq=False)
class TransportSolution:
    """Heights with the evidence for them.

    Attributes:
        potential: its `heights` are for the atoms as given, float64 (N,), sum 0.
        certificate: one look on fresh noise.
        noises: rows argmaxed in the fit.
        seconds: wall time of fit and certificate.
        converged: the upper end of the certificate's interval is below the target.
        history: (noises, chi2) along the fit.
        reason: why it did not converge, or None.
    """

    potential: BrenierPotential
    certificate: Certificate
    noises: int
    seconds: float
    converged: bool
    history: tuple[tuple[int, float], ...]
    reason: str | None = None


@dataclass(frozen=True)
class SemiDiscreteSolver:
    """solver(problem, seed=0) -> TransportSolution.

    Args:
        chi2: target: sum (p_i - w_i)^2 / w_i, positive.
        max_noises: budget of the fit in argmaxed rows; None is 2048 max(N, 128). Checked between batches.
        tile: rows per product; changes the speed only.
        block: atoms per product; changes the speed only.

    Raises:
        ValueError: an option that is not positive.
    """

    chi2: float = 0.01
    max_noises: int | None = None
    tile: int = ROWS
    block: int = BLOCK

    def __post_init__(self) -> None:
        if not (self.chi2 > 0 and math.isfinite(self.chi2)):
            raise ValueError(f"chi2 = {self.chi2} cannot be a target; give a positive number, e.g. 0.01")
        for name in ("max_noises", "tile", "block"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} = {value}; give at least 1")

    def __call__(
        self,
        problem: SemiDiscreteProblem,
        *,
        seed: int,
        heights: Tensor | None = None,
        callback: Callback | None = None,
    ) -> TransportSolution:
        """Fit and certify.

        Args:
            problem: source, atoms, masses.
            seed: of the noise; fit and certificate use different streams of it. Same problem and seed (one thread),
                same bits.
            heights: warm start (N,), tried beside the solver's own.
            callback: called with dict(noises=, chi2=) after every look of the fit.

        Raises:
            ValueError: warm-start heights of the wrong shape.
        """
        started, number = time.perf_counter(), len(problem.atoms)
        if heights is not None:
            heights = problem.centred_heights(checked_heights(heights, number).to(problem.mean.device))
            heights = heights - heights.mean()
        ledger = Ledger(self.max_noises or NOISES_PER_ATOM * max(number, FEW_ATOMS), callback)
        centred, reason = self._fit(problem, seed, heights, ledger)
        solved = problem.original_heights(centred.to(problem.mean.device))
        certificate = certify(problem, solved, seed=seed, target=self.chi2)
        converged = certificate.high < self.chi2
        return TransportSolution(
            potential=BrenierPotential(problem.atoms, solved, problem.source),
            certificate=certificate,
            noises=ledger.noises,
            seconds=time.perf_counter() - started,
            converged=converged,
            history=tuple(ledger.history),
            reason=None if converged else self._explain(certificate, reason, number),
        )

    def _fit(
        self, problem: SemiDiscreteProblem, seed: int, start: Tensor | None, ledger: Ledger
    ) -> tuple[Tensor, str | None]:
        number = len(problem.atoms)
        if number == 1:
            return torch.zeros(1, dtype=torch.float64), None
        if float(problem.norms.max()) == 0:
            return torch.zeros(number, dtype=torch.float64), f"all {number} atoms are the same point"
        if problem.atoms.dim <= MAX_DIM and number <= MAX_ATOMS:
            return newton.fit(problem, target=self.chi2, ledger=ledger, start=start)
        return averaging.fit(
            problem, target=self.chi2, seed=seed, ledger=ledger, start=start, tile=self.tile, block=self.block
        )

    def _explain(self, certificate: Certificate, reason: str | None, number: int) -> str:
        seen = (
            f"certified chi2 {certificate.chi2:.3g} [{certificate.low:.3g}, {certificate.high:.3g}] is not below "
            f"{self.chi2:g}"
        )
        empty = f"{certificate.empty_cells} of {number} cells caught none of {certificate.noises} noises"
        return "; ".join(filter(None, [reason, seen, empty if certificate.empty_cells else None]))
