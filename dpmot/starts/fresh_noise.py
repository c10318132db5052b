"""The fresh-noise control: a random image with new noise, x = x0 + sigma eps (SDEdit, Meng et al. 2022).

The limit K -> infinity of K latents per image (a method's `noises`); for K = 1 sample k picks the same image as under
the copy control.
"""

from collections.abc import Sequence

from dpmot import seeds as streams
from dpmot.device import ordinary
from dpmot.starts import Points, Setting

LOOKS_AT_NOISE = False
HAS_LEVEL = True
STORES_IMAGES = True
NEEDS_HEIGHTS = False
OPTIONS = ()


class Start:
    """Random image, new noise; see :mod:`dpmot.starts`."""

    nfe = 0

    def __init__(self, setting: Setting) -> None:
        self.sigma, self.setting = setting.sigma, setting

    @ordinary()
    def __call__(self, seeds: Sequence[int]) -> Points:
        source = streams.integers(seeds, len(self.setting.images), "copy")
        noise = streams.normal(seeds, self.setting.images.shape[1:], "fresh")
        return self.setting.points(source)._replace(x=self.setting.atoms.clean(source) + self.sigma * noise)
