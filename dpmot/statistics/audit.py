"""The copying audit: which rows of a table lie outside what independent, held-out images give.

Three statistics, each against its held-out value; a row fails where its *whole interval* lies on the copying side:

- recovery above 1/N, what a sample independent of its source gets;
- authenticity below the interval of held-out images of the same data set;
- C_T below -1.96: it is a z-score with mean 0 and standard deviation at most 1 for held-out images, so at most
  2.5 % of these fall below.

One-sided, because being far from the training data is bad quality, which the quality metrics see, and not copying.
"""

from dataclasses import dataclass

from dpmot.statistics.jackknife import Estimate

CT_BOUND = -1.96


@dataclass(frozen=True)
class HeldOut:
    """What held-out images give: the number N >= 1 of training images, and their authenticity."""

    num_train: int
    authenticity: Estimate

    def __post_init__(self) -> None:
        if self.num_train < 1:
            raise ValueError(f"The audit needs at least one training image, got {self.num_train}")


def audit(
    *, held_out: HeldOut, recovery: Estimate | None, authenticity: Estimate | None, ct: Estimate | None
) -> list[str]:
    """Reasons why a row is marked as copying; empty where it lies inside.

    Args:
        held_out: the floor.
        recovery: None where the samples have no source among the training images.
        authenticity, ct: None where not measured, which is no reason.
    """
    reasons = []
    independent = 1 / held_out.num_train
    if recovery is not None and recovery.low > independent:
        reasons.append(f"recovery {_shown(recovery)} above {independent:.3g}, that of independent samples")
    floor = held_out.authenticity
    if authenticity is not None and authenticity.high < floor.low:
        reasons.append(f"authenticity {_shown(authenticity)} below {_shown(floor)}, that of held-out images")
    if ct is not None and ct.high < CT_BOUND:
        reasons.append(f"C_T {_shown(ct)} below {CT_BOUND}, the bound of held-out images")
    return reasons


def _shown(estimate: Estimate) -> str:
    return f"{estimate.value:.3g} [{estimate.low:.3g}, {estimate.high:.3g}]"
