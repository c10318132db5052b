"""The copy control: a uniformly random atom, no optimal transport. Equal in law to DPM-OT with solved heights."""

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
    """Random stored latent; see :mod:`dpmot.starts`."""

    nfe = 0

    def __init__(self, setting: Setting) -> None:
        self.sigma, self.setting = setting.sigma, setting

    @ordinary()
    def __call__(self, seeds: Sequence[int]) -> Points:
        return self.setting.points(streams.integers(seeds, len(self.setting.atoms), "copy"))
