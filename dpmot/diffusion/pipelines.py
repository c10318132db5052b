"""Pipelines of diffusers, part by part: the network as a denoiser, its levels, and the latents of its vae."""

from typing import Any, cast

import torch
from torch import Tensor

from dpmot import plugins
from dpmot.diffusion import adapters, midway, schedulers
from dpmot.diffusion.guidance import Guided, guided
from dpmot.diffusion.network import NetworkDenoiser
from dpmot.images import to_float

DECODERS = ("vae", "vqvae")
KNOWN = (*adapters.PARTS.values(), *DECODERS, "scheduler")


def level(pipeline: Any, near: float) -> float:
    """The noise level nearest to ``near`` at which the scheduler of a pipeline can begin.

    Discrete chains whose times are whole (DDPM, DDIM, DPM-Solver, DEIS, UniPC) begin at their own levels only; Euler,
    Heun, LMS, EDM's and flow matching anywhere between theirs.

    Args:
        pipeline: of diffusers, or its scheduler.
        near: a standard deviation of noise on images in [-1, 1], or on latents.

    Raises:
        ValueError: ``near`` lies outside the scheduler's levels, or it cannot begin midway; the message says which can.
    """
    return midway.nearest(getattr(pipeline, "scheduler", pipeline), float(near))


@torch.no_grad()
def encode(pipeline: Any, images: Tensor, *, generator: torch.Generator | None = None, batch: int = 16) -> Tensor:
    """Images as the network of a pipeline of latents sees them: its ``vae``'s or ``vqvae``'s latents, scaled.

    Args:
        pipeline: DiTPipeline, LDMPipeline or another with a ``vae`` or ``vqvae``.
        images: uint8 (n, C, H, W), or floats in [-1, 1].
        generator: to draw from the vae's posterior; None: its mode.
        batch: images at a time.

    Returns:
        float32 (n, c, h, w) on the processor, for ``dpmot.expressway(latents, sigma, pixels=False)``.

    Raises:
        ValueError: a pipeline of pixels, or images of another type, range or size.
    """
    network, encoder = parts_of(pipeline)
    if encoder is None:
        raise ValueError(f"{type(pipeline).__name__} has no vae: its network sees images themselves")
    if not isinstance(images, Tensor) or images.dim() != 4 or not len(images):
        raise ValueError("images: give a tensor (n, C, H, W) of uint8, or of floats in [-1, 1]")
    if images.dtype != torch.uint8 and not (images.is_floating_point() and bool((images.abs() <= 1.001).all())):
        raise ValueError(f"images: {images.dtype} outside [-1, 1] or NaN; give uint8, or floats in [-1, 1]")
    parts = []
    for part in images.split(batch):
        x = to_float(part) if part.dtype == torch.uint8 else part
        found = encoder.encode(x.to(encoder.device, encoder.dtype))
        if hasattr(found, "latent_dist"):
            law = found.latent_dist
            latents = law.mode() if generator is None else law.sample(generator)
        else:
            latents = found.latents
        parts.append((latents * encoder.config.scaling_factor).float().cpu())
    if tuple(parts[0].shape[1:]) != shape_of(network):
        told = f"give latents {tuple(parts[0].shape[1:])}, the network sees {shape_of(network)}"
        raise ValueError(f"images of {tuple(images.shape[1:])} {told}: resize them")
    return torch.cat(parts)


def denoiser(pipeline: Any, *, guidance: float | None = None) -> NetworkDenoiser | Guided:
    """The network of a pipeline as a denoiser D(x, sigma), for ``dpmot.sample`` with any sampler of ours.

    Its scheduler's configuration says how it was trained, and is held to what ``docs/extending.md`` lists.

    Args:
        pipeline: of diffusers; its network is used as it is, not copied.
        guidance: w of classifier-free guidance, where the network has a label of no class: DiT's, and of a
            UNet2DModel its last one; None: none, and then a UNet2DModel's last label is a class like the others. A
            guided evaluation costs two of the network, and ``dpmot.sample`` counts both; one of w = 1 costs one.

    Returns:
        D of x (B, *S), sigma () or (B,) and, of a network with classes, labels (B,).

    Raises:
        ValueError: another network or scheduler, or one that says what is not computed here; the message names the key.
            Guidance of a network without a label of no class.
    """
    network, _ = parts_of(pipeline)
    where, scheduler = type(pipeline).__name__, pipeline.scheduler
    config = adapters.config_of(network)
    said = {**scheduler.config, "_class_name": type(scheduler).__name__}
    kind, options = schedulers.described(said)
    told = plugins.find("networks", kind).Parametrisation(**options)
    _, learned = adapters.checked(where, config, kind)
    schedulers.compare(where, said, kind, told, learned)
    asked = guidance is not None and adapters.labels_of(config, True)[1] is not None
    facts = adapters.facts(where, config, kind, told, no_class=asked)
    made = NetworkDenoiser(told, adapters.build(facts, network))
    return cast(NetworkDenoiser | Guided, guided(made, guidance, adapters.no_class(facts)))


def parts_of(pipeline: Any) -> tuple[Any, Any]:
    """The network of a pipeline, and what decodes its latents or None.

    Raises:
        ValueError: no such network, or parts that would not be used.
    """
    parts = {name: part for name, part in getattr(pipeline, "components", {}).items() if part is not None}
    where = type(pipeline).__name__
    found = [parts[name] for name in adapters.PARTS.values() if name in parts]
    if len(found) != 1 or type(found[0]).__name__ not in adapters.PARTS or "scheduler" not in parts:
        has = ", ".join(f"{name} ({type(part).__name__})" for name, part in parts.items()) or "no parts"
        told = f"a pipeline has one {' or '.join(adapters.PARTS)} and a scheduler"
        raise ValueError(f"{told}; {where} has {has}")
    if other := [name for name in parts if name not in KNOWN]:
        raise ValueError(
            f"{where} has {', '.join(other)}, which is not used here: a pipeline of text, or of a check that would be "
            "left out; give one without"
        )
    config = found[0].config
    if config.get("class_embed_type") is not None:
        told = "only labels (num_class_embeds) are given"
        raise ValueError(f"{where}: class_embed_type {config.class_embed_type}: {told}")
    decoder = next((parts[name] for name in DECODERS if name in parts), None)
    for key in ("shift_factor", "latents_mean", "latents_std"):
        if decoder is not None and decoder.config.get(key):
            raise ValueError(f"{where}: {key} of its vae is not read; only scaling_factor is")
    return found[0], decoder


def shape_of(network: Any) -> tuple[int, ...]:
    """S, of one image or latent that a network of diffusers sees.

    Raises:
        ValueError: it does not say its sample_size.
    """
    size = network.config.sample_size
    if size is None:
        raise ValueError("The network does not say its sample_size: set network.register_to_config(sample_size=...)")
    return (network.config.in_channels, *(size if isinstance(size, list | tuple) else (size, size)))
