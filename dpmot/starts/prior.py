"""The rivals' start, the prior: x = prior_std z (sigma_max z for EDM, sqrt(1 + sigma_max^2) z for DDPM).

NCSNv2's Langevin dynamics, which forgets where it began, starts from uniform noise in the images' range.
"""

from collections.abc import Sequence

from dpmot.device import ordinary
from dpmot.starts import Points, Setting, classes

LOOKS_AT_NOISE = True
HAS_LEVEL = False
STORES_IMAGES = False
NEEDS_HEIGHTS = False
OPTIONS = ()  # law is the sampler's


class Start:
    """Prior noise; see :mod:`dpmot.starts`.

    Args:
        law: "normal", or "uniform" in [-1, 1], as a sampler's ``PRIOR`` asks.
    """

    nfe = 0

    def __init__(self, setting: Setting, *, law: str = "normal") -> None:
        self.sigma, self.setting, self.law = setting.chain.sigma_max, setting, law

    @ordinary()
    def __call__(self, seeds: Sequence[int]) -> Points:
        noise = self.setting.noise(seeds, self.setting.images.shape[1:], source_measure=self.law)
        x = 2 * noise - 1 if self.law == "uniform" else self.setting.chain.prior_std * noise
        return Points(x, None, labels=classes(seeds, self.setting.labels))
