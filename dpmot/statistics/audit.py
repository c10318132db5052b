"""The copying audit: may a row of a table be ranked, and if not, why?

Two questions, the same for every row, each answered by an interval and one stated tolerance:

- *Are samples copies?* The share of copies of the training images, and of the test images
  (:mod:`dpmot.statistics.copies`). A row is marked where a lower end lies above the tolerance.
- *Do stored images come back?* Where each sample is known to start from one stored image, the share whose nearest image
  is that one exceeds by at most the tolerance what chance gives, 1/N: the upper end decides (non-inferiority). So a
  start is cleared by data, not by the lack of them, and more samples help it.

A row that is not marked is "not audited" where it was not measured, or its intervals are too wide to say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dpmot.statistics.copies import FEWEST
from dpmot.statistics.jackknife import Estimate

RANKED, COPIES, UNSOLVED, UNKNOWN = VERDICTS = ("ranked", "copies", "not converged", "not audited")
WIDE = 0.5  # upper end of a share of copies at which nobody can call a row new
NEEDED = "more samples, less alike, or real images without near duplicates are needed"
SETS = {"train": "training", "test": "test"}


@dataclass(frozen=True)
class Verdict:
    """One of ``VERDICTS``, the gravest, and the reasons for it and for others."""

    word: str
    reasons: tuple[str, ...] = ()

    @property
    def ranked(self) -> bool:
        """Whether the row competes."""
        return self.word == RANKED


def judge(
    copies: Mapping[str, Estimate],
    *,
    num_samples: int,
    tolerance: float,
    recovery: Estimate | None = None,
    num_sources: int = 0,
    unsolved: str | None = None,
    sets: Sequence[str] = tuple(SETS),
) -> Verdict:
    """The verdict on one row.

    Args:
        copies: "train" and "test" -> share of copies of these images; what is missing was not measured.
        num_samples: of the row, n >= 1.
        tolerance: the share of copies that is allowed, in (0, 1).
        recovery: source recovery; None where the samples have no source.
        num_sources: images that a sample could have started from, N >= 1 where there is a recovery.
        sets: which of ``SETS`` are asked about.
        unsolved: why the row's transport problem did not converge; None where it did, or where there is none.

    Raises:
        ValueError: recovery without an image that a sample could have started from.
    """
    if recovery is not None and num_sources < 1:
        raise ValueError(f"Recovery needs at least one stored image, got {num_sources}")
    found: list[tuple[str, str]] = []
    for name, share in copies.items():
        told = f"share of copies of {SETS[name]} images {shown(share)}"
        if share.low > tolerance:
            found.append((COPIES, f"{told} above {tolerance:g}"))
        elif share.high > WIDE:
            found.append((UNKNOWN, f"{told} may be more than {WIDE:g}: {NEEDED}"))
    if recovery is not None:
        chance = 1 / num_sources
        told = f"source recovery {shown(recovery)}"
        if recovery.low > chance + tolerance:
            found.append((COPIES, f"{told} more than {tolerance:g} above {chance:.3g}, that of chance"))
        elif recovery.high > chance + tolerance:
            found.append((UNKNOWN, f"{told} may be more than {tolerance:g} above {chance:.3g}, that of chance"))
    found += [(UNSOLVED, f"transport not converged: {unsolved}")] if unsolved else []
    missing = [SETS[name] for name in sets if name not in copies]
    if missing:
        found.append((UNKNOWN, f"share of copies of {' and '.join(missing)} images not measured"))
    if num_samples < FEWEST:
        found.append((UNKNOWN, f"{num_samples} samples cannot show a tenth of copies: {FEWEST} are needed"))
    words = {word for word, _ in found}
    word = next((word for word in VERDICTS[1:] if word in words), RANKED)
    return Verdict(word, tuple(reason for _, reason in sorted(found, key=lambda one: VERDICTS.index(one[0]))))


def shown(estimate: Estimate) -> str:
    """Value and interval in three digits."""
    return f"{estimate.value:.3g} [{estimate.low:.3g}, {estimate.high:.3g}]"
