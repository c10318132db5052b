"""DDPM (Ho et al. 2020): a network F(x_t, t) that predicts eps, v or x0 on a variance-preserving chain of T levels."""

from dataclasses import dataclass

from dpmot.diffusion.networks._variance_preserving import VariancePreserving


@dataclass(frozen=True)
class Parametrisation(VariancePreserving):
    """All options of :class:`VariancePreserving`: levels, and what is predicted."""
