"""Heights in many dimensions: a closed-form start, then averaged diagonal Newton steps on fresh noise.

The score <z, y_i> of noise is close to Gaussian with standard deviation s_i = scale |y_i|, and a cell is where it
wins against an almost constant maximum of the others. So P(s_i g + h_i > 0) = w_i gives the start

    h_i = -s_i q_i,    q_i = Phi^-1(1 - w_i),

and d log p_i / d h_i = 1 / tau_i with tau_i = f s_i w_i / phi(q_i), about f s_i / sqrt(2 ln N): a Newton step that
costs nothing. Correlated atoms shorten tau (f <= 1), so it is measured: P(lead > t | i wins) = p_i(h_i - t) / p_i(h_i)
for the lead of the winner over the second-best score, hence tau_i is the mean lead of i.

Phase 1 takes the step in log p with a factor c, cut while chi2 fails to fall. Phase 2 takes it in p. After a good
start its gain is 1 / n: the average of the Newton steps over all noises n, the start counting as n_0 = N / chi2_0
noises of its own. After a poor one the gain falls as n^-0.7 and the heights are averaged (Polyak, Juditsky 1992),
which is efficient in every mode of the Hessian and not only where tau is right. One large look, itself a step, ends
the fit when chi2 has come down far enough for a certificate.

Atoms that nearly coincide form a group (see `groups`) with a step for the mass of the group and a small one for the
shares inside.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from dpmot.seeds import generator
from dpmot.transport.closed_form import newton_scale, quadratic_start
from dpmot.transport.groups import Groups, near_duplicates
from dpmot.transport.kernel import Tally, tally
from dpmot.transport.ledger import Ledger
from dpmot.transport.noise import kind_for
from dpmot.transport.problem import SemiDiscreteProblem

POOR = 0.1  # a start with chi2 above this is followed by averaged heights,
NEAR = 0.5  # and by phase 1 first if above that
ENTER = 1.0  # phase 1 ends when chi2 falls below ENTER N / draws, what counting that batch would leave
CUT, LEAST = 0.6, 0.2  # phase 1 shortens its step by CUT, down to LEAST
FADE, LONGEST = 0.7, 0.9  # phase 2 with averaging: gain (draws / n)^FADE, at most LONGEST
LEAST_DRAWS = 1024  # draws in the smallest batch
FAR = 3.0  # tau by which the quadratic start may differ from the closed form
FIRST_LOOK, BATCH = 4, 2  # draws per atom: the look that compares the starts, and every later one
ENOUGH = 0.6  # the fit ends when chi2 is expected below this share of the target,
WASTE = 1.1  # chi2 n / N of averaged heights, as expected
SHARP = 0.15  # seen in one look whose standard error is below this share


@dataclass
class Progress:
    """Where a fit stands; `tensors` and `restore` carry it over an interruption.

    Attributes:
        heights, mean: the iterate and its average, centred, float64 (N,).
        batch: looks taken. noises: what they cost.
        phase: 1 or 2.
        factor: c of phase 1. last: chi2 of the look before.
        slope: tau of every group (G,).
        prior: n_0. spent: draws of phase 2.
        fade: exponent of the gain; 1 means that `mean` is the iterate.
        constant: estimate of chi2 (prior + spent) along phase 2.
    """

    heights: Tensor
    mean: Tensor
    slope: Tensor
    batch: int = 0
    noises: int = 0
    phase: int = 1
    factor: float = 1.0
    last: float = math.inf
    prior: float = 0.0
    spent: float = 0.0
    fade: float = 1.0
    constant: float = math.inf

    @property
    def worth(self) -> float:
        """n: draws that stand behind the heights."""
        return self.prior + self.spent

    def left(self, target: float) -> float:
        """Noises until the fit will probably end; inf in phase 1."""
        return max(self.constant / (ENOUGH * target) - self.worth, 0.0)

    def tensors(self) -> dict[str, Tensor]:
        """The state as float64 tensors."""
        return {name: torch.as_tensor(value, dtype=torch.float64).clone() for name, value in vars(self).items()}

    @classmethod
    def restore(cls, tensors: dict[str, Tensor]) -> "Progress":
        """The inverse of `tensors`.

        Raises:
            ValueError: a field is missing or unknown.
        """
        if set(tensors) != set(cls.__dataclass_fields__):
            raise ValueError(f"The state has the fields {sorted(tensors)}; give one that this solver handed out")
        whole = {"batch", "noises", "phase"}
        vectors = {"heights", "mean", "slope"}
        return cls(**{k: v.clone() if k in vectors else int(v) if k in whole else float(v) for k, v in tensors.items()})


def fit(
    problem: SemiDiscreteProblem,
    *,
    target: float,
    seed: int,
    ledger: Ledger,
    start: Tensor | None = None,
    noise: str = "auto",
    tile: int,
    block: int,
    resume: dict[str, Tensor] | None = None,
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
    number, groups = len(problem.atoms), near_duplicates(problem)
    kind = kind_for(noise, problem.law, problem.atoms.dim)
    sharp = math.ceil(math.sqrt(2 * number) / (SHARP * target))  # draws of a look with that standard error

    def look(heights: list[Tensor], draws: int, key: int | str) -> list[Tally]:
        stream = generator(seed, "transport", "fit", key)
        seen = tally(problem, heights, draws, stream, noise=kind, tile=tile, block=block)
        ledger.noises += seen[0].draws
        return seen

    def measure(heights: Tensor, key: str) -> Tensor:
        slope, rows = groups.slope(heights, generator(seed, "transport", "slope", key), noise=kind)
        ledger.noises += rows
        return slope

    if resume is None:
        now = _begin(problem, groups, look, measure, start, ledger, sharp)
    else:
        now = Progress.restore(resume)
        ledger.noises = now.noises
    while True:
        due = now.phase == 2 and now.constant <= ENOUGH * target * (now.worth + sharp)
        draws = max(BATCH * number, LEAST_DRAWS, sharp if due else 0)
        seen = look([now.heights, now.mean] if due and now.fade < 1 else [now.heights], draws, now.batch)
        now.batch += 1
        chi2 = seen[-1].chi2(problem.masses)
        if due:
            done = _last_step(now, groups, seen[-1], target)
        else:
            done = False
            _step(now, groups, seen[0], measure)
        now.noises = ledger.noises
        ledger.record(chi2, now.mean, now.tensors, now.noises + now.left(target))
        if done or (reason := ledger.spent()):
            return now.mean, None if done else reason


def _begin(
    problem: SemiDiscreteProblem,
    groups: Groups,
    look: Callable,
    measure: Callable,
    start: Tensor | None,
    ledger: Ledger,
    sharp: int,
) -> Progress:
    """The start with the least chi2 on common noise, and what it is worth: a good one is worth a second, large look."""
    form, reach = groups.start(), FAR * newton_scale(problem)
    quadratic = quadratic_start(problem)  # better in few dimensions, absurd for outliers
    bent = quadratic - form
    bent = form + (bent - bent.median()).clamp(-reach, reach)
    starts = [form, bent, quadratic] + ([] if start is None else [start])
    seen = look(starts, max(FIRST_LOOK * len(problem.atoms), LEAST_DRAWS), "start")
    chi2s = [one.chi2(problem.masses) for one in seen]
    best = min(range(len(starts)), key=lambda k: chi2s[k])
    now, view = Progress(starts[best], starts[best], measure(starts[best], "start"), last=chi2s[best]), seen[best]
    if now.last < POOR:
        view = look([now.heights], sharp, "sharp")[0]
        now.last = view.chi2(problem.masses)
    if now.last < NEAR:
        _enter_phase_two(now, now.last, view.draws, len(problem.atoms), 1.0 if now.last < POOR else FADE)
    if now.last < POOR:
        _step(now, groups, view, measure)
    now.noises = ledger.noises
    ledger.record(now.last, now.mean, now.tensors)
    return now


def _enter_phase_two(now: Progress, chi2: float, draws: int, number: int, fade: float) -> None:
    now.phase, now.fade = 2, fade
    now.prior = number / (max(chi2, 0.0) + math.sqrt(2 * number) / draws)  # chi2 read on the high side
    now.constant = (1.0 if fade == 1 else WASTE) * number


def _step(now: Progress, groups: Groups, seen: Tally, measure: Callable[[Tensor, str], Tensor]) -> None:
    """One batch, seen at the iterate."""
    number, draws = len(seen.counts), seen.draws
    if now.phase == 1:
        chi2, error = seen.chi2(groups.masses), math.sqrt(2 * number) / draws
        now.factor *= CUT if chi2 > now.last + error else 1.0
        now.heights = now.heights - max(now.factor, LEAST) * groups.log_step(seen, now.slope)
        now.last = chi2
        if chi2 < ENTER * number / draws:
            _enter_phase_two(now, chi2, draws, number, FADE)
            now.slope = measure(now.heights, "averaging")
        now.mean = now.heights
        return
    share = draws / (now.worth + draws)
    now.spent += draws
    now.heights = now.heights - min(share**now.fade, LONGEST) * groups.step(seen, now.slope)
    now.heights = now.heights - now.heights.mean()
    now.mean = now.heights if now.fade == 1 else now.mean + min(1.0, 2 * draws / now.spent) * (now.heights - now.mean)


def _last_step(now: Progress, groups: Groups, seen: Tally, target: float) -> bool:
    """One large look at the average, which steps from there; whether chi2 is expected to be low enough."""
    share = seen.draws / (now.worth + seen.draws)
    measured = seen.chi2(groups.masses) * now.worth
    now.mean = now.mean - share * groups.step(seen, now.slope)
    now.heights = now.mean = now.mean - now.mean.mean()
    now.spent += seen.draws
    now.constant = (measured + now.constant) / 2
    return now.constant <= ENOUGH * target * now.worth
