"""Parametrisations, one file each: how a raw network F becomes the denoiser D(x, sigma), and its training loss.

A file exports a frozen dataclass ``Parametrisation`` whose fields are its options; see :class:`Parametrisation` and
:class:`Trainable`. One whose network is not the U-Net of ``dpmot/diffusion/unet.py`` has a method ``model(tensors)``
that builds it: from loaded weights, or from the data set's own tensors where it is known exactly. No file imports
torch: they are arithmetic on tensors, and plans are made without it.

A network that knows spans (MeanFlow) says ``spans = True`` in its class: ``denoise(model, x, sigma, to)`` is then D of
the whole way from sigma to the level ``to`` below it, such that Euler's step lands there, and ``denoise(model, x,
sigma)`` the ordinary one. ``conditions = 2`` in the class says that its U-Net is told two numbers of each image.
``of_levels`` in the class names the options of levels and training alone, on which D(x, sigma) of given weights does
not depend: a network that rewires another may have others of these, and of none where the class does not say.

What a file may say beside it, read by the contract tests: ``SHAPE``, of one image it takes, (1, 8, 8) if unsaid;
``CLASSES``, how many class labels its network takes, 0 if unsaid; ``example()``, tensors that ``model`` builds from
and clean inputs (B, *S), for a ``model`` that builds no fresh network from None.

One whose weights are no file of tensors says how they are read: ``NEEDS``, an importable package -> the extra of this
project that installs it; ``check(file, *, options, shape)`` refuses a file, with the options of the configuration and
the shape (C, H, W) of the data where it is known, before anything runs; ``read(file)`` gives the tensors of ``model``.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from dpmot import plugins
from dpmot.diffusion.protocols import RawNetwork, Tensor
from dpmot.diffusion.sigmas import Chain


class Parametrisation(Protocol):
    """How a raw network is a denoiser at the noise levels of its ``chain``."""

    @property
    def chain(self) -> Chain: ...
    def denoise(self, model: RawNetwork, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, *S), sigma (B,) -> D(x, sigma), (B, *S)."""


class Trainable(Parametrisation, Protocol):
    """One whose network this project can train."""

    def level(self, u: Tensor) -> Tensor:
        """The noise level that u in [0, 1) chooses in training, (B,) -> (B,)."""

    def loss(self, model: RawNetwork, x0: Tensor, noise: Tensor, u: Tensor) -> Tensor:
        """One loss per sample, (B,), of images in [-1, 1] and N(0, I) noise (B, *S), at ``level(u)``.

        u holds uniform numbers in [0, 1), (B,).
        """


def of_card(card: Mapping[str, Any]) -> Parametrisation:
    """The parametrisation that a card names, with its options.

    Raises:
        ValueError: options that it does not take; of a network that guided itself, as it once did, how to guide it now.
    """
    kind, options = card["kind"], card["options"]
    try:
        return plugins.find("networks", kind).Parametrisation(**options)
    except TypeError as error:
        if "guidance" in options:
            told = "train or load it without, and guide whoever asks it: methods.<name>.guidance"
            raise ValueError(f"it has guidance {options['guidance']} of its own, which is gone: {told}") from None
        raise ValueError(f"kind {kind} does not take its options {dict(options)}: {error}") from None
