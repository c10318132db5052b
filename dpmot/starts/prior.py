"""The rivals' start, the prior: x = prior_std z (sigma_max z for EDM, sqrt(1 + sigma_max^2) z for DDPM).

NCSNv2's Langevin dynamics, which forgets where it began, starts from uniform noise in the images' range.
With the option ``balanced`` finished samples are kept by the classifier's label, in the shares of the data's classes: a
control, whose draws are all counted (dpmot/experiment/stages/_balanced.py).
"""

from collections.abc import Sequence

from torch import Tensor

from dpmot.device import ordinary
from dpmot.starts import Points, Setting, classes

LOOKS_AT_NOISE = True
HAS_LEVEL = False
STORES_IMAGES = False
NEEDS_HEIGHTS = False
OPTIONS = ("balanced",)  # law is the sampler's


def check(*, balanced: bool = False) -> None:
    """Check the option.

    Raises:
        ValueError: it is no bool.
    """
    if not isinstance(balanced, bool):
        raise ValueError(f"balanced: {balanced!r} is neither true nor false")


class Start:
    """Prior noise; see :mod:`dpmot.starts`.

    Args:
        law: "normal", or "uniform" in [-1, 1], as a sampler's ``PRIOR`` asks.
        balanced: whether samples will be kept by their class; whoever finishes them does it.
    """

    nfe = 0

    def __init__(self, setting: Setting, *, law: str = "normal", balanced: bool = False) -> None:
        check(balanced=balanced)
        self.sigma, self.setting, self.law = setting.chain.sigma_max, setting, law

    @ordinary()
    def __call__(self, seeds: Sequence[int], redraws: Tensor | None = None) -> Points:
        noise = self.setting.noise(seeds, self.setting.images.shape[1:], source_measure=self.law, redraws=redraws)
        x = 2 * noise - 1 if self.law == "uniform" else self.setting.chain.prior_std * noise
        return Points(x, None, labels=classes(seeds, self.setting.labels))
