"""The mirrored control: a random image, mirrored, with new noise, x = flip(x0) + sigma eps."""

from collections.abc import Sequence

from dpmot import seeds as streams
from dpmot.starts import Points, Setting

LOOKS_AT_NOISE = False
HAS_LEVEL = True
STORES_IMAGES = True
NEEDS_HEIGHTS = False
OPTIONS = ()


class Start:
    """Random image, mirrored left to right, new noise; see :mod:`dpmot.starts`."""

    nfe = 0

    def __init__(self, setting: Setting) -> None:
        self.sigma, self.setting = setting.sigma, setting

    def __call__(self, seeds: Sequence[int]) -> Points:
        """One point per seed."""
        source = streams.integers(seeds, len(self.setting.images), "copy")
        noise = streams.normal(seeds, self.setting.images.shape[1:], "template_name")
        return Points(self.setting.atoms.clean(source).flip(-1) + self.sigma * noise, source)
