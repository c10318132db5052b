"""The rivals' start, the prior: x = prior_std z (sigma_max z for EDM, sqrt(1 + sigma_max^2) z for DDPM)."""

from collections.abc import Sequence

from dpmot.starts import Points, Setting, prior_noise


class Start:
    """Prior noise; see :mod:`dpmot.starts`."""

    nfe = 0

    def __init__(self, setting: Setting) -> None:
        self.sigma, self.setting = setting.chain.sigma_max, setting

    def __call__(self, seeds: Sequence[int]) -> Points:
        """One point per seed."""
        return Points(self.setting.chain.prior_std * prior_noise(seeds, self.setting.images.shape[1:]), None)
