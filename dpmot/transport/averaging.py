"""Heights in many dimensions: `closed_form` starts, then comes the average of Newton steps on fresh noise.

A look counts in which cells fresh noise falls under the current heights; the fit then moves the heights by a part of
the Newton step on these counts. The part keeps the heights equal to the average of all Newton steps so far. n draws'
worth of steps would leave chi2 = WASTE N / n; so heights with chi2_0 count as n = WASTE N / chi2_0 draws, a look worth
B independent draws takes the part B / (n + B), and chi2 n / N stays near 1 where the Hessian is known. The few trends
in which most of the start's error lies have an n of their own, k / chi2, and are right after a look or two (see
`curvature`). B grows with n. Every look sees chi2 before it steps; the fit plans the next look from what it saw.

Atoms that nearly coincide form a clump (see `near_duplicates`): one step moves the mass of the clump, a smaller one
divides it among the members.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

import torch
from torch import Tensor

from dpmot.seeds import generator
from dpmot.transport.closed_form import newton_scale, quadratic_start
from dpmot.transport.curvature import Survey, misfit, trend_chi2, trends
from dpmot.transport.ledger import Ledger, State
from dpmot.transport.near_duplicates import Clumps, near_duplicates
from dpmot.transport.noise import KINDS, kind_for
from dpmot.transport.problem import SemiDiscreteProblem
from dpmot.transport.processes import Processes
from dpmot.transport.race import Race
from dpmot.transport.tally import Tally, tally

FAR = 3.0  # tau by which the quadratic start may differ from the closed form
FIRST_LOOK, LEAST_LOOK = 4, 2  # draws per atom: the first look, and the smallest later one
LEAST_DRAWS = 1024  # draws in the smallest look
GROWTH, RISE = 0.25, 2.0  # draws of a look over n; and at most, over those of the look before
WASTE = 1.1  # chi2 n / N of independent draws, as expected
TRUST = 0.5  # relative standard deviation of chi2 as expected, against which a look's own chi2 is weighed
ENOUGH = 0.65  # the fit ends when chi2 is expected below this share of the target,
SHARP = 0.15  # in a look that sees chi2 to this share of it
LENGTHS = (1.0, 0.5, 0.25, 0.0)  # far from the solution a look begins with these lengths of the step on common noise,
TRIAL = 2  # so many draws per atom; the first look does so with the starts
LEADS = 12  # runners-up are looked for in so many draws per atom, and again when chi2 has fallen by the factor
STALE = 8.0
POOR = 0.1  # heights with chi2 above this are far from the solution
SURPRISE = 2.0  # chi2 of a look over the expected one, from which on it is a surprise


@dataclass
class Progress:
    """The state of a fit; `tensors` and `restore` carry it over an interruption.

    Attributes:
        heights: centred, float64 (N,).
        wins, leads, flow: see `curvature.Survey`.
        trend, rest: chi2 of the heights as expected, in the trends and beside them.
        options: what the fit was asked for, float64 (4,).
        before, last: heights and chi2 of the look before.
        looks: how many so far. noises: what they cost. seen: draws of the last one.
        due: chi2 that the last one was expected to see.
        then: chi2 when the survey began.
    """

    heights: Tensor
    wins: Tensor
    leads: Tensor
    flow: Tensor
    trend: float
    rest: float
    before: Tensor
    options: Tensor
    last: float = math.inf
    looks: int = 0
    noises: int = 0
    seen: int = 0
    due: float = math.inf
    then: float = math.inf

    @property
    def chi2(self) -> float:
        """As expected."""
        return self.trend + self.rest

    @property
    def settled(self) -> bool:
        """Whether the last look saw about the chi2 that was expected: then the next expectation can be believed too."""
        error = math.sqrt(2 * len(self.heights)) / self.seen if self.seen else math.inf
        return self.last < min(POOR, SURPRISE * self.due + 2 * error)

    def tensors(self) -> dict[str, Tensor]:
        """The state as float64 tensors."""
        return {name: torch.as_tensor(value, dtype=torch.float64).clone() for name, value in vars(self).items()}

    @classmethod
    def restore(cls, tensors: State, like: Tensor) -> "Progress":
        """The inverse of `tensors`, for the device and the number of atoms of `like` (N,); else a ValueError."""
        kinds, tensors = get_type_hints(cls), tensors if isinstance(tensors, Mapping) else {}
        if set(tensors) != set(kinds) or tensors["heights"].shape != like.shape:
            shape = tuple(tensors["heights"].shape) if "heights" in tensors else None
            raise ValueError(
                f"The state has the fields {sorted(tensors)} and heights {shape}; give one that this solver handed out "
                f"for {len(like)} atoms"
            )
        fields: dict[str, Any] = {name: value.to(like.device, copy=True) for name, value in tensors.items()}
        return cls(**{name: value if kinds[name] is Tensor else kinds[name](value) for name, value in fields.items()})


@dataclass(frozen=True, eq=False)
class _Fit:
    """One problem with everything that stays the same during its fit."""

    problem: SemiDiscreteProblem
    clumps: Clumps
    trends: Tensor
    target: float
    seed: int
    ledger: Ledger
    noise: str
    rough: bool
    processes: Processes | None = None

    @property
    def options(self) -> Tensor:
        """What a state is bound to: target, seed, kind of noise, rounding; float64 (4,)."""
        options = [self.target, self.seed, KINDS.index(self.noise), self.rough]
        return torch.tensor(options, dtype=torch.float64, device=self.problem.mean.device)

    def restore(self, state: State) -> Progress:
        """Where an interrupted fit stood, from the state that it reported; a ValueError if it is of another fit."""
        now = Progress.restore(state, self.problem.masses)
        if not torch.equal(now.options, self.options):
            raise ValueError(
                "The state is of a fit with target, seed, kind of noise and rounding "
                f"{now.options.tolist()}, this one has {self.options.tolist()}; resume with the options of the "
                "interrupted fit, or begin anew"
            )
        self.ledger.noises = self.ledger.resumed = now.noises
        self.ledger.history.append((now.noises, now.last))
        return now

    @property
    def sharp(self) -> int:
        """Draws of a look with standard error SHARP * target."""
        return _sharp(len(self.problem.atoms), self.target)

    @property
    def enough(self) -> float:
        """chi2 to end with."""
        return ENOUGH * self.target

    def begin(self, start: Tensor | None) -> Progress:
        """The start whose masses fit best on common noise."""
        form, reach = self.clumps.start(), FAR * newton_scale(self.problem)
        quadratic = quadratic_start(self.problem)  # better in few dimensions, absurd for outliers
        bent = quadratic - form
        bent = form + (bent - bent.median()).clamp(-reach, reach)
        starts = [form, bent, quadratic] + ([] if start is None else [start])
        draws = max(FIRST_LOOK * len(form), LEAST_DRAWS)
        survey = Survey.empty(self.clumps.merged, self.trends)
        now = Progress(form, *survey.sums, math.inf, math.inf, form, self.options)
        self._observe(now, draws, self._trial(now, starts))
        return now

    def advance(self, now: Progress) -> None:
        """One look and one step."""
        if now.chi2 * STALE < now.then:
            now.wins, now.leads, now.flow = (torch.zeros_like(values) for values in self._survey(now).sums)
            now.then = now.chi2
        draws, now.due, seen = self._draws(now), now.chi2, None
        if now.last > POOR:
            seen = self._trial(now, [now.before + t * (now.heights - now.before) for t in LENGTHS])
        self._observe(now, draws, seen)

    def _trial(self, now: Progress, heights: list[Tensor]) -> Tally:
        """Move to the heights that fit best on common noise, and return the look there."""
        looks = self._look(self.problem, heights, max(TRIAL * len(now.heights), LEAST_DRAWS), now.looks, "trial")
        due = looks[0].draws * self.problem.masses
        misfits = [misfit(look.counts, due) for look in looks]
        best = min(range(len(heights)), key=misfits.__getitem__)
        if now.looks and best:
            now.trend = now.rest = math.inf  # not where it was expected: as before the first look
            if best == len(LENGTHS) - 1:  # no step at all: the trends mislead
                now.flow = now.flow[:0, :0]
        now.heights = heights[best]
        return looks[best]

    def _observe(self, now: Progress, draws: int, seen: Tally | None) -> None:
        """Look at the heights, then step; the draws of a trial count as part of the look.

        At least LEAST_LOOK draws per atom follow a trial, which is small and was chosen among several.
        """
        left = max(draws - seen.draws, LEAST_LOOK * len(now.heights), LEAST_DRAWS) if seen else draws
        lacking, alone = float(now.wins.sum()) < LEADS * len(now.wins), self.clumps.merged is self.problem
        look = self._look(self.problem, [now.heights], left, now.looks, runners_up=lacking and alone)[0]
        if lacking:
            self._survey(now).add(look.races if alone else self._ask_centres(now))
        self._take(now, seen + look if seen else look)

    def _ask_centres(self, now: Progress) -> tuple[Race, ...]:
        """Survey the centres of the clumps: a runner-up of the winner's own clump tells nothing about the clump."""
        merged, centres = self.clumps.merged, self.clumps.centres(now.heights)
        draws = max(FIRST_LOOK * len(centres), LEAST_DRAWS)
        return self._look(merged, [centres], draws, now.looks, "centres", runners_up=True)[0].races

    def _look(
        self, problem: SemiDiscreteProblem, heights: list[Tensor], draws: int, *key: int | str, runners_up: bool = False
    ) -> list[Tally]:
        stream = generator(self.seed, "transport", "fit", *key)
        kind, rough, by = self.noise, self.rough, self.processes
        seen = tally(problem, heights, draws, stream, noise=kind, runners_up=runners_up, rough=rough, processes=by)
        self.ledger.noises += seen[0].draws
        return seen

    def _survey(self, now: Progress) -> Survey:
        return Survey(self.clumps.merged, self.trends[:, : len(now.flow)], now.wins, now.leads, now.flow)

    def _draws(self, now: Progress) -> int:
        """Draws of the next look: GROWTH times the worth of the heights, at most what the end of the fit needs."""
        number = len(self.problem.atoms)
        worth = WASTE * number / now.rest
        missing = WASTE * number / self.enough - worth
        draws = min(max(GROWTH * worth, LEAST_LOOK * number), max(missing, self.sharp), RISE * now.seen)
        return max(math.ceil(draws), LEAST_DRAWS)

    def _take(self, now: Progress, seen: Tally) -> None:
        """Record what a look has seen, then step."""
        number, masses, survey = len(self.problem.atoms), self.problem.masses, self._survey(now)
        now.looks, now.noises, now.seen = now.looks + 1, self.ledger.noises, seen.draws
        now.before, now.last = now.heights, seen.chi2(masses)
        smooth, count = survey.trends[self.clumps.labels], survey.trends.shape[1]
        inflation = seen.inflation(masses)
        of_trends = seen.mode_inflation(smooth) or inflation
        worth, known = seen.draws / max(inflation, 1.0), seen.draws / max(of_trends, 1.0)
        trend = trend_chi2(seen, masses, smooth, of_trends)
        now.trend = _weighed(now.trend, trend, count, known)
        now.rest = _weighed(now.rest, now.last - trend, number, worth)
        trend_share = known * now.trend / max(count + known * now.trend, 1.0)
        share = worth * now.rest / (WASTE * number + worth * now.rest)
        heights = now.heights - self.clumps.step(seen, survey, trend_share, share, far=now.last > POOR)
        now.heights = heights - heights.mean()
        now.trend, now.rest = now.trend * (1 - trend_share), now.rest * (1 - share)
        now.then = now.chi2 if math.isinf(now.then) else now.then
        missing = max(WASTE * number * (1 / self.enough - 1 / now.rest), 0.0)
        missing = max(missing, self.sharp) if now.seen < self.sharp else missing
        self.ledger.record(now.last, self.problem.original_heights(now.heights), now.tensors, now.noises + missing)


def least_noises(number: int, target: float) -> int:
    """Draws of the shortest fit of that many atoms: looks that grow as fast as they may until one is sharp."""
    seen = total = max(FIRST_LOOK * number, 2 * LEAST_DRAWS)
    while seen < (sharp := _sharp(number, target)):
        seen = min(math.ceil(RISE * seen), sharp)
        total += seen
    return total


def _sharp(number: int, target: float) -> int:
    return math.ceil(math.sqrt(2 * number) / (SHARP * target))


def _weighed(expected: float, seen: float, modes: int, draws: float) -> float:
    """chi2 of so many modes: what was expected and what a look of so many draws saw, weighed by their errors."""
    if not modes:
        return 0.0
    error = math.sqrt(2 * modes) / draws + 2 * math.sqrt(max(seen, 0.0) / draws)
    if math.isinf(expected):
        return max(seen, 0.0) + error
    share = error**2 / (error**2 + (TRUST * expected) ** 2)
    return max(share * expected + (1 - share) * seen, TRUST * expected, seen - 2 * error)


def fit(
    problem: SemiDiscreteProblem,
    *,
    target: float,
    seed: int,
    ledger: Ledger,
    start: Tensor | None,
    noise: str,
    resume: State | None = None,
    processes: Processes | None = None,
) -> tuple[Tensor, str | None]:
    """Centred heights (N,) float64, and the reason why the fit gave up, if it did; see `SemiDiscreteSolver`.

    Args:
        problem: N >= 2 and not all atoms equal.
        start: centred heights to try beside the closed forms.
        resume: `state` of an earlier report on the same problem, seed and options.
        processes: that share the draws.
    """
    clumps = near_duplicates(problem)
    kind = kind_for(noise, problem.measure, problem.atoms.dim)
    rough = clumps.rounds and kind == "recycled"
    this = _Fit(problem, clumps, trends(clumps.merged), target, seed, ledger, kind, rough, processes)
    now = this.begin(start) if resume is None else this.restore(resume)
    while now.chi2 > 1.001 * this.enough or now.seen < this.sharp or not now.settled:
        if reason := ledger.spent():
            return now.heights, reason
        this.advance(now)
    return now.heights, None
