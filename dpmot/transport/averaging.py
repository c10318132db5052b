"""Heights in many dimensions: a closed-form start, then the average of Newton steps on fresh noise.

The score <z, y_i> of noise is close to Gaussian with standard deviation s_i = scale |y_i|, and a cell is where it
wins against an almost constant maximum of the others. So P(s_i g + h_i > 0) = w_i gives the start

    h_i = -s_i q_i,    q_i = Phi^-1(1 - w_i).

Every look counts draws at the heights it finds, worth B independent ones, and takes the share B / (n + B) of the
Newton step on its counts, where n is what stands behind the heights: n draws' worth of Newton steps would leave
chi2 = WASTE N / n, so heights with chi2_0 count for WASTE N / chi2_0. Thus heights are the average of all Newton steps
taken, and chi2 n / N stays near 1 where the Hessian is known. The few trends in which most of the start's error lies
have their own n = k / chi2 and are right after a look or two (see `curvature`). B grows with n: chi2, seen in every
look before its step, is then known well enough to plan the last one.

Atoms that nearly coincide form a group (see `groups`) with a step for the mass of the group and a small one for the
shares inside.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from dpmot.seeds import generator
from dpmot.transport.closed_form import newton_scale, quadratic_start
from dpmot.transport.curvature import Survey, misfit, trend_chi2, trends
from dpmot.transport.ledger import Ledger
from dpmot.transport.near_duplicates import Groups, near_duplicates
from dpmot.transport.noise import KINDS, kind_for
from dpmot.transport.problem import SemiDiscreteProblem
from dpmot.transport.tally import Race, Tally, tally

FAR = 3.0  # tau by which the quadratic start may differ from the closed form
FIRST_LOOK, LEAST_LOOK = 4, 2  # draws per atom: the first look, and the smallest later one
LEAST_DRAWS = 1024  # draws in the smallest look
GROWTH, RISE = 0.25, 2.0  # draws of a look over n; and at most, over those of the look before
WASTE = 1.1  # chi2 n / N of independent draws, as expected
POOR = 0.1  # heights with chi2 above this are far from the solution
SURPRISE = 2.0  # chi2 of a look over the expected one, from which on it is a surprise
TRUST = 0.5  # relative standard deviation of chi2 as expected, against which a look's own chi2 is weighed
ENOUGH = 0.65  # the fit ends when chi2 is expected below this share of the target,
SHARP = 0.15  # in a look that sees chi2 to this share of it
LENGTHS = (1.0, 0.5, 0.25, 0.0)  # far from the solution a look begins with these lengths of the step on common noise,
TRIAL = 2  # so many draws per atom; the first look does so with the starts
LEADS = 12  # runners-up are looked for in so many draws per atom, and again when chi2 has fallen by the factor
STALE = 8.0


@dataclass
class Progress:
    """Where a fit stands; `tensors` and `restore` carry it over an interruption.

    Attributes:
        heights: centred, float64 (N,).
        wins, leads, flow: see `curvature.Survey`.
        trend, rest: chi2 of the heights as expected, in the trends and beside them.
        before, last: heights and chi2 of the look before.
        looks: so many. noises: what they cost. seen: draws of the last one.
        due: chi2 that the last one was to see.
        then: chi2 when the survey began.
    """

    heights: Tensor
    wins: Tensor
    leads: Tensor
    flow: Tensor
    trend: float
    rest: float
    before: Tensor
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
        """Whether the last look saw about what it was to see: what the next step is to reach can be believed."""
        error = math.sqrt(2 * len(self.heights)) / self.seen if self.seen else math.inf
        return self.last < min(POOR, SURPRISE * self.due + 2 * error)

    def tensors(self) -> dict[str, Tensor]:
        """The state as float64 tensors."""
        return {name: torch.as_tensor(value, dtype=torch.float64).clone() for name, value in vars(self).items()}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], like: Tensor) -> "Progress":
        """The inverse of `tensors`, for the device and the number of atoms of `like` (N,).

        Raises:
            ValueError: a field is missing, unknown, or of another number of atoms.
        """
        if set(tensors) != set(cls.__dataclass_fields__) or tensors["heights"].shape != like.shape:
            shape = tuple(tensors["heights"].shape) if "heights" in tensors else None
            raise ValueError(
                f"The state has the fields {sorted(tensors)} and heights {shape}; give one that this solver handed out "
                f"for {len(like)} atoms"
            )
        scalars = {
            "trend": float,
            "rest": float,
            "last": float,
            "looks": int,
            "noises": int,
            "seen": int,
            "due": float,
            "then": float,
        }
        return cls(**{k: scalars[k](v) if k in scalars else v.to(like.device, copy=True) for k, v in tensors.items()})


@dataclass(frozen=True, eq=False)
class _Fit:
    """One problem with everything that stays the same during its fit."""

    problem: SemiDiscreteProblem
    groups: Groups
    trends: Tensor
    target: float
    seed: int
    ledger: Ledger
    noise: str
    rough: bool
    shape: dict[str, int | None]

    @property
    def options(self) -> Tensor:
        """What a state is bound to: target, seed, kind of noise, rounding; float64 (4,)."""
        return torch.tensor([self.target, self.seed, KINDS.index(self.noise), self.rough], dtype=torch.float64)

    def state(self, now: Progress) -> dict[str, Tensor]:
        """What `restore` takes."""
        return now.tensors() | {"options": self.options}

    def restore(self, state: Mapping[str, Tensor]) -> Progress:
        """Where an interrupted fit stood.

        Raises:
            ValueError: the state is of another fit.
        """
        tensors = dict(state)
        options = tensors.pop("options", torch.zeros(0)).cpu()
        now = Progress.restore(tensors, self.problem.masses)
        if not torch.equal(options.double(), self.options):
            raise ValueError(
                f"The state is of a fit with target, seed, kind of noise and rounding {options.tolist()}, this one has "
                f"{self.options.tolist()}; resume with the options of the interrupted fit, or begin anew"
            )
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
        form, reach = self.groups.start(), FAR * newton_scale(self.problem)
        quadratic = quadratic_start(self.problem)  # better in few dimensions, absurd for outliers
        bent = quadratic - form
        bent = form + (bent - bent.median()).clamp(-reach, reach)
        starts = [form, bent, quadratic] + ([] if start is None else [start])
        draws = max(FIRST_LOOK * len(form), LEAST_DRAWS)
        survey = Survey.empty(self.groups.merged, self.trends)
        now = Progress(form, *survey.sums, math.inf, math.inf, form, math.inf)
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
        """Go to the heights that fit best on common noise: a look there."""
        looks = self._look(self.problem, heights, max(TRIAL * len(now.heights), LEAST_DRAWS), now.looks, "trial")
        due = looks[0].draws * self.problem.masses
        misfits = [misfit(one.counts, due) for one in looks]
        best = min(range(len(heights)), key=misfits.__getitem__)
        if now.looks and best:
            now.trend = now.rest = math.inf  # not where it was expected: as before the first look
            if best == len(LENGTHS) - 1:  # no step at all: the trends mislead
                now.flow = now.flow[:0, :0]
        now.heights = heights[best]
        return looks[best]

    def _observe(self, now: Progress, draws: int, seen: Tally | None) -> None:
        """A look at the heights, of so many draws together with what a trial has seen, and a step.

        A trial alone may have been too few: LEAST_LOOK draws per atom follow it.
        """
        left = max(draws - seen.draws, LEAST_LOOK * len(now.heights), LEAST_DRAWS) if seen else draws
        lacking, alone = float(now.wins.sum()) < LEADS * len(now.wins), self.groups.merged is self.problem
        look = self._look(self.problem, [now.heights], left, now.looks, runners_up=lacking and alone)[0]
        if lacking:
            self._survey(now).add(look.races if alone else self._ask_centres(now))
        self._take(now, seen + look if seen else look)

    def _ask_centres(self, now: Progress) -> tuple[Race, ...]:
        """A runner-up of the same group tells nothing about the group: survey the centres."""
        merged, centres = self.groups.merged, self.groups.centres(now.heights)
        draws = max(FIRST_LOOK * len(centres), LEAST_DRAWS)
        return self._look(merged, [centres], draws, now.looks, "centres", runners_up=True)[0].races

    def _look(
        self, problem: SemiDiscreteProblem, heights: list[Tensor], draws: int, *key, runners_up: bool = False
    ) -> list[Tally]:
        stream = generator(self.seed, "transport", "fit", *key)
        options = {"noise": self.noise, "runners_up": runners_up, "rough": self.rough, **self.shape}
        seen = tally(problem, heights, draws, stream, **options)
        self.ledger.noises += seen[0].draws
        return seen

    def _survey(self, now: Progress) -> Survey:
        return Survey(self.groups.merged, self.trends[:, : len(now.flow)], now.wins, now.leads, now.flow)

    def _draws(self, now: Progress) -> int:
        """As many as n asks for, and no more than the end needs."""
        number = len(self.problem.atoms)
        worth = WASTE * number / now.rest
        missing = WASTE * number / self.enough - worth
        draws = min(max(GROWTH * worth, LEAST_LOOK * number), max(missing, self.sharp), RISE * now.seen)
        return max(math.ceil(draws), LEAST_DRAWS)

    def _take(self, now: Progress, seen: Tally) -> None:
        """Learn chi2 from a look, then step by what it shows."""
        now.looks, now.noises, now.seen = now.looks + 1, self.ledger.noises, seen.draws
        now.before, now.last = now.heights, seen.chi2(self.problem.masses)
        self._step(now, seen)
        missing = max(WASTE * len(now.heights) * (1 / self.enough - 1 / now.rest), 0.0)
        missing = max(missing, self.sharp) if now.seen < self.sharp else missing
        self.ledger.record(now.last, now.heights, partial(self.state, now), now.noises + missing)

    def _step(self, now: Progress, seen: Tally) -> None:
        survey, modes = self._survey(now), len(self.problem.atoms)
        smooth, count = survey.trends[self.groups.labels], survey.trends.shape[1]
        inflation = seen.inflation(self.problem.masses)
        of_trends = seen.mode_inflation(smooth) or inflation
        worth, known = seen.draws / max(inflation, 1.0), seen.draws / max(of_trends, 1.0)
        trend = trend_chi2(seen, self.problem.masses, smooth, of_trends)
        now.trend = _weighed(now.trend, trend, count, known)
        now.rest = _weighed(now.rest, seen.chi2(self.problem.masses) - trend, modes, worth)
        trend_share = known * now.trend / max(count + known * now.trend, 1.0)
        share = worth * now.rest / (WASTE * modes + worth * now.rest)
        far = seen.chi2(self.problem.masses) > POOR
        heights = now.heights - self.groups.step(seen, survey.curvature(), trend_share, share, far=far)
        now.heights = heights - heights.mean()
        now.trend, now.rest = now.trend * (1 - trend_share), now.rest * (1 - share)
        now.then = now.chi2 if math.isinf(now.then) else now.then


def least_noises(number: int, target: float) -> int:
    """Draws without which no fit of that many atoms ends: the first look, and looks that grow until one is sharp."""
    seen = total = max(FIRST_LOOK * number, 2 * LEAST_DRAWS)
    while seen < _sharp(number, target):
        seen = min(math.ceil(RISE * seen), _sharp(number, target))
        total += seen
    return total


def _sharp(number: int, target: float) -> int:
    return math.ceil(math.sqrt(2 * number) / (SHARP * target))


def _weighed(expected: float, seen: float, modes: int, draws: float) -> float:
    """chi2 of so many modes from what was expected and what a look of so many draws saw."""
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
    tile: int | None,
    block: int | None,
    resume: Mapping[str, Tensor] | None = None,
) -> tuple[Tensor, str | None]:
    """Centred heights (N,) float64, and the reason why the fit gave up, if it did.

    Args:
        problem: source, atoms, masses; N >= 2 and not all atoms equal.
        target: chi2 to reach.
        seed: of the noise.
        ledger: records what is spent; its callback gets the state.
        start: centred heights to try beside the two closed forms.
        noise: see `dpmot.transport.noise`.
        tile, block: see `tally`.
        resume: `state` of an earlier callback on the same problem, seed and options.
    """
    groups = near_duplicates(problem)
    kind, shape = kind_for(noise, problem.law, problem.atoms.dim), {"tile": tile, "block": block}
    rough = groups.rounds and kind == "recycled"
    this = _Fit(problem, groups, trends(groups.merged), target, seed, ledger, kind, rough, shape)
    if resume is None:
        now = this.begin(start)
    else:
        now = this.restore(resume)
        ledger.noises = now.noises
        ledger.history.append((now.noises, now.last))
    while now.chi2 > 1.001 * this.enough or now.seen < this.sharp or not now.settled:
        if reason := ledger.spent():
            return now.heights, reason
        this.advance(now)
    return now.heights, None
