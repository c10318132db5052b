"""Flow matching (Lipman et al. 2023; Liu et al. 2023): the network gives the velocity; see _velocity.py."""

from dataclasses import dataclass

from dpmot.diffusion.networks._velocity import FlowMatching


@dataclass(frozen=True)
class Parametrisation(FlowMatching):
    """Options: the levels T of its full chain, t = (T - 1) / T, ..., 1 / T, 0, and the level above them where samples
    start; None: T - 1, the coarsest of them."""
