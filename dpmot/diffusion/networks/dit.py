r"""DiT (Peebles & Xie 2023): a transformer that predicts the noise on DDPM's levels; D as in kind ``ddpm``.

With classes it has a label of no class too, which ``training: {label_dropout: 0.1}`` (the authors' share) teaches it,
so that methods may guide it (:mod:`dpmot.diffusion.guidance`). The network is
``dpmot/diffusion/dit.py``, and ``options`` has what of the U-Net stands under ``unet:``; DiT's that others published
are folders of diffusers, of kind ``ddpm``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from dpmot.diffusion.networks._variance_preserving import VariancePreserving
from dpmot.diffusion.protocols import RawNetwork, Tensor
from dpmot.diffusion.sigmas import Chain


@dataclass(frozen=True)
class Parametrisation:
    """Options: channels of the images, patch, width, depth and heads of the transformer, classes K (0: none), and
    DDPM's levels."""

    channels: int = 1
    patch: int = 2
    width: int = 64
    depth: int = 4
    heads: int = 4
    classes: int = 0
    num_levels: int = 1000
    beta_min: float = 1e-4
    beta_max: float = 0.02
    schedule: str = "linear"

    def __post_init__(self) -> None:
        for name in ("channels", "patch", "width", "depth", "heads"):
            if (given := getattr(self, name)) < 1:
                raise ValueError(f"DiT needs {name} of at least 1, got {given}")
        if self.width % 4 or self.width % self.heads:
            raise ValueError(
                f"DiT's width is a multiple of 4 and of its heads, got {self.width} and {self.heads} heads"
            )
        if self.classes < 0 or self.classes == 1:
            raise ValueError(f"DiT's classes are 0, for none, or at least 2; got {self.classes}")
        self._of_levels  # noqa: B018 - which checks its own options

    @cached_property
    def _of_levels(self) -> VariancePreserving:
        levels = {"beta_min": self.beta_min, "beta_max": self.beta_max, "schedule": self.schedule}
        return VariancePreserving(num_levels=self.num_levels, **levels)  # type: ignore[arg-type]

    @property
    def no_class(self) -> int | None:
        """The label of no class; None without classes."""
        return self.classes or None

    @property
    def chain(self) -> Chain:
        """The T levels of its schedule."""
        return self._of_levels.chain

    def model(self, tensors: Mapping[str, Tensor] | None) -> RawNetwork:
        """The transformer with these weights, freshly drawn for None."""
        from dpmot.diffusion.dit import DiT
        from dpmot.diffusion.tensors import unwrapped

        names = ("patch", "width", "depth", "heads", "classes")
        made = DiT(self.channels, **{name: getattr(self, name) for name in names})
        if tensors is not None:
            try:
                made.load_state_dict(unwrapped(tensors, made.state_dict(), "The weights"))
            except RuntimeError as error:
                reason = str(error).splitlines()[1 if "\n" in str(error) else 0].strip()
                raise ValueError(f"The weights do not fit the transformer {self}: {reason}") from None
        return made

    def denoise(self, model: RawNetwork, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, *S), sigma (B,) -> D(x, sigma), (B, *S)."""
        return self._of_levels.denoise(model, x, sigma)

    def level(self, u: Tensor) -> Tensor:
        """The noise level that u in [0, 1) chooses in training, (B,) -> (B,)."""
        return self._of_levels.level(u)

    def loss(self, model: RawNetwork, x0: Tensor, noise: Tensor, u: Tensor) -> Tensor:
        """The simple loss of DDPM, |F(x_t, t) - eps|^2."""
        return self._of_levels.loss(model, x0, noise, u)
