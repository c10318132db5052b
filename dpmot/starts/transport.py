r"""DPM-OT's start (Li et al. 2023): the semi-discrete OT map T(z) = y_{i*}, i* = argmax_i <z, y_i> + h_i.

z is the prior draw, y_i the noisy latents at sigma_M, h the solved heights. Options:
    source: "normal" (as in the paper's text) or "uniform" (U[0,1]^d, as in the authors' code);
    heights: "solved", or "zero" (the control without optimal transport: plain maximum inner product).
"""

from collections.abc import Sequence

import torch

from dpmot.starts import Points, Setting, prior_noise
from dpmot.transport import BrenierPotential


class Start:
    """Optimal-transport start; see :mod:`dpmot.starts`.

    Raises:
        ValueError: solved heights are asked for and none are given.
    """

    nfe = 0

    def __init__(self, setting: Setting, *, source: str = "normal", heights: str = "solved") -> None:
        if heights == "solved" and setting.heights is None:
            raise ValueError(f"No heights were solved for sigma_M = {setting.sigma:g}: run `dpmot solve` first")
        h = setting.heights if heights == "solved" else torch.zeros(len(setting.atoms))
        self.sigma, self.setting, self.kind = setting.sigma, setting, source
        self.potential = BrenierPotential(setting.atoms, h, source=source)

    def __call__(self, seeds: Sequence[int]) -> Points:
        """One point per seed."""
        noise = prior_noise(seeds, self.setting.images.shape[1:], source=self.kind)
        return self.setting.points(self.potential.cell(noise.flatten(1)))
