"""Solve a semi-discrete transport problem to a certified error.

problem -> fit (closed form for d = 1; Newton on exact masses for d = 2, on those that lines see for d = 3; averaged
Newton steps on noise above) -> one certificate on fresh noise.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpmot.device import ordinary
from dpmot.transport import authors, averaging, newton, stored
from dpmot.transport.atoms import Atoms
from dpmot.transport.certificate import Certificate, certify
from dpmot.transport.copies import Copies
from dpmot.transport.given import between, whole
from dpmot.transport.ledger import Ledger, Report, State
from dpmot.transport.lines import MAX_ATOMS
from dpmot.transport.measures import NORMAL
from dpmot.transport.noise import kind_for
from dpmot.transport.potential import IN_MEMORY, BrenierPotential
from dpmot.transport.problem import FEW_DIMENSIONS, SemiDiscreteProblem
from dpmot.transport.processes import Processes
from dpmot.transport.workers import side_by_side

METHODS = ("auto", "newton", "averaging", "authors")
NOISES_PER_ATOM, FEW_ATOMS, MANY_FITS = 2048, 128, 4  # default budget: 2048 max(N, 128), at least 4 shortest fits


@dataclass(frozen=True, eq=False)
class TransportSolution:
    """Heights with the evidence for them.

    Attributes:
        potential: its `heights` are for the atoms as given, float64 (N,), sum 0.
        certificate: one look on fresh noise.
        noises: rows of noise argmaxed in the fit; one that is tried under several heights counts once.
        seconds: wall time of fit and certificate.
        converged: the upper end of the certificate's interval is below the target.
        history: (noises, chi2) along the fit.
        reason: why it did not converge, or None.
        duplicates: atoms that are the same point as an earlier one. They share its cell and its height; draws of the
            cell are spread over them by their masses, and noises and certificate count the points that differ.
    """

    potential: BrenierPotential
    certificate: Certificate
    noises: int
    seconds: float
    converged: bool
    history: tuple[tuple[int, float], ...]
    reason: str | None = None
    duplicates: int = 0

    def save(self, path: Path | str) -> None:
        """Write heights and evidence to one sealed safetensors file; the atoms are not written, but named by a hash.

        Raises:
            OSError: the file cannot be written.
        """
        stored.save(path, self, {}, {})

    @classmethod
    @ordinary()
    def load(cls, path: Path | str, atoms: Atoms | Tensor | np.ndarray) -> "TransportSolution":
        """Read what :meth:`save` wrote: the same solution, to the bit.

        Args:
            atoms: those that it was solved for, in the same order; they stay where they are (CPU or GPU).

        Raises:
            FileNotFoundError: no such file.
            Damaged: it is not whole, or holds something else.
            OtherAtoms: it was solved for others than these.
        """
        tensors, facts, _ = stored.load(path)
        return cls(**stored.restored(path, atoms, tensors, facts))


@dataclass(frozen=True)
class SemiDiscreteSolver:
    """solver(problem, seed=0) -> TransportSolution.

    Args:
        chi2: target: sum (p_i - w_i)^2 / w_i, positive.
        max_noises: budget of the fit in argmaxed rows; None is 2048 max(N, 128), or 4 of the shortest fits if that is
            more. Checked between looks.
        method: "newton" (without noise, d <= 3), "averaging" (any d), "authors" (their Adam, for the
            reproduction), or "auto": the first where it fits, else the second.
        schedule: of "authors": learning rate, noises, stop rule; None is theirs for CIFAR-10 and CelebA.
        noise: of "averaging": see `dpmot.transport.noise`; "auto" is the fastest unbiased kind.
        processes: that share the draws of fit and certificate, and all call the solver alike: each gets the solution
            that one alone would get, to the bit, and its callback is called. None works alone.

    Raises:
        ValueError: an option that is unknown or not positive.
    """

    chi2: float = 0.01
    max_noises: int | None = None
    method: str = "auto"
    noise: str = "auto"
    schedule: authors.AuthorsSchedule | None = None
    processes: Processes | None = None

    def __post_init__(self) -> None:
        if not between(self.chi2, 0, math.inf):
            raise ValueError(f"chi2 = {self.chi2} cannot be a target; give a positive number, e.g. 0.01")
        if self.method not in METHODS:
            raise ValueError(f'Method "{self.method}" is unknown; choose {", ".join(map(repr, METHODS))}')
        kind_for(self.noise, NORMAL, 1)
        if self.max_noises is not None:
            whole(self.max_noises, "max_noises", 1)
        if not isinstance(self.schedule, authors.AuthorsSchedule | None):
            raise ValueError(f"schedule is a {type(self.schedule).__name__}; give an AuthorsSchedule, or None")
        if not isinstance(self.processes, Processes | None):
            raise ValueError(f"processes is a {type(self.processes).__name__}; give a Processes, or None")

    @ordinary()
    def __call__(
        self,
        problem: SemiDiscreteProblem,
        *,
        seed: int,
        heights: Tensor | None = None,
        callback: Callable[[Report], None] | None = None,
        resume: State | None = None,
        name: str = "",
    ) -> TransportSolution:
        """Fit and certify.

        Args:
            seed: of the noise; fit and certificate use different streams of it. Same problem and seed (one thread),
                same bits.
            heights: warm start (N,), tried beside the solver's own.
            callback: called with a `Report` after every look of the fit. numpy multiplies on one core meanwhile.
            name: of the problem: the certificates of several problems with one seed are independent where their names
                differ. Their fits share noise, so that heights do not depend on names.
            resume: state of an interrupted fit with the same problem, seed and options; it ends in the same bits,
                by however many processes each of the two was fitted.

        Raises:
            ValueError: warm-start heights of the wrong shape, a foreign state, noise that the source measure does not
                allow, a budget with which no fit could reach the target, atoms that rounding has moved.
            RuntimeError: one of the processes is lost, or fits something else.
        """
        if not isinstance(problem, SemiDiscreteProblem):
            raise ValueError(f"The problem is a {type(problem).__name__}; give a SemiDiscreteProblem of the atoms")
        problem.check_digits()
        seed = whole(seed, "seed")
        if problem.copies is not None:
            return self._merged(problem, problem.copies, heights, callback, seed=seed, resume=resume, name=name)
        started, narrow = time.perf_counter(), problem.in_span()
        start = None if heights is None else problem.centred_heights(heights)
        ledger = Ledger(self._budget(narrow), callback, started)
        with side_by_side(problem.mean.device):
            centred, reason = self._fit(narrow, seed, start, ledger, resume)
            solved = problem.original_heights(centred)
            certificate = certify(narrow, solved, seed=seed, target=self.chi2, name=name, processes=self.processes)
        converged = certificate.high < self.chi2
        return TransportSolution(
            potential=BrenierPotential(problem.atoms, solved, problem.source_measure, min(problem.memory, IN_MEMORY)),
            certificate=certificate,
            noises=ledger.noises,
            seconds=time.perf_counter() - started,
            converged=converged,
            history=tuple(ledger.history),
            reason=None if converged else self._explain(certificate, reason, len(problem.atoms)),
        )

    def _merged(
        self,
        problem: SemiDiscreteProblem,
        copies: Copies,
        heights: Tensor | None,
        callback: Callable[[Report], None] | None,
        **options: Any,
    ) -> TransportSolution:
        """The solution for the points that differ, whose heights their copies share."""

        def shared(heights: Tensor) -> Tensor:
            return heights[copies.names] - heights[copies.names].mean()

        def watch(seen: Report) -> None:
            if callback is not None:
                callback({**seen, "heights": None if seen["heights"] is None else shared(seen["heights"])})

        start = None if heights is None else copies.highest(problem.checked(heights))
        solution = self(problem.different, heights=start, callback=watch, **options)
        found, memory = shared(solution.potential.heights), solution.potential.memory
        potential = BrenierPotential(problem.atoms, found, problem.source_measure, memory, problem.masses)
        number, duplicates = len(copies.names), len(copies.names) - len(copies.first)
        reason, told = solution.reason, f"{duplicates} of {number} atoms are duplicates and share the cells of others"
        reason = f"{reason}; {told}" if reason else None
        if duplicates == number - 1:
            reason = f"all {number} atoms are the same point"
        return replace(solution, potential=potential, duplicates=duplicates, reason=reason, converged=reason is None)

    def _fit(
        self, problem: SemiDiscreteProblem, seed: int, start: Tensor | None, ledger: Ledger, resume: State | None
    ) -> tuple[Tensor, str | None]:
        number, exact = len(problem.atoms), self._exact(problem)
        if number == 1:
            return torch.zeros(1, dtype=torch.float64), None
        if self.method == "newton" and not exact:
            raise ValueError(
                f'Method "newton" takes d <= {FEW_DIMENSIONS}, and N <= {MAX_ATOMS} for d = 3; given '
                f'd = {problem.atoms.dim} and N = {number}; choose "averaging"'
            )
        if resume is not None and (exact or self.method == "authors"):
            raise ValueError('A fit by "newton" or "authors" cannot be resumed; call again without resume')
        if exact:
            return newton.fit(problem, target=self.chi2, ledger=ledger, start=start)
        if self.method == "authors":
            return authors.fit(
                problem, seed=seed, ledger=ledger, start=start, schedule=self.schedule, processes=self.processes
            )
        return averaging.fit(
            problem,
            target=self.chi2,
            seed=seed,
            ledger=ledger,
            start=start,
            noise=self.noise,
            resume=resume,
            processes=self.processes,
        )

    def _exact(self, problem: SemiDiscreteProblem) -> bool:
        dim, number = problem.atoms.dim, len(problem.atoms)
        few = dim < newton.SPACE or (dim == newton.SPACE and number <= MAX_ATOMS)
        return self.method in ("auto", "newton") and few

    def _budget(self, problem: SemiDiscreteProblem) -> int:
        number = len(problem.atoms)
        least = (
            newton.least_noises(number, problem.atoms.dim)
            if self._exact(problem)
            else averaging.least_noises(number, self.chi2)
        )
        if self.max_noises is None:
            return max(NOISES_PER_ATOM * max(number, FEW_ATOMS), MANY_FITS * least)
        if self.max_noises < least and self.method != "authors" and number > 1:
            raise ValueError(
                f"chi2 = {self.chi2:g} cannot be reached with max_noises = {self.max_noises}: the shortest fit takes "
                f"{least}; give at least that, or a larger chi2"
            )
        return self.max_noises

    def _explain(self, certificate: Certificate, reason: str | None, number: int) -> str:
        seen = f"certified chi2 {certificate.chi2:.3g} [{certificate.low:.3g}, {certificate.high:.3g}]"
        seen = f"the upper end of {seen} is not below {self.chi2:g}"
        empty = f"{certificate.empty_cells} of {number} cells caught none of {certificate.noises} noises"
        return "; ".join(filter(None, [reason, seen, empty if certificate.empty_cells else None]))
