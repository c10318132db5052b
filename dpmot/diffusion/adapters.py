r"""Networks of diffusers as raw networks F(x, c, labels): ``UNet2DModel`` and the transformer of DiT.

Outputs for a learned variance follow those of the mean and are left out. DiT (Peebles & Xie 2023) has one label more
than classes, that of no class, which was given to a tenth of its training images; of a UNet2DModel it is the last one
where ``no_class`` is stated. Methods and callers guide them by it (:mod:`dpmot.diffusion.guidance`).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dpmot.diffusion.protocols import Tensor
from dpmot.diffusion.schedulers import KINDS, defaults, diffusers_class, undisturbed

if TYPE_CHECKING:
    from torch.nn import Module

UNET, DIT = "UNet2DModel", "DiTTransformer2DModel"
PARTS = {UNET: "unet", DIT: "transformer"}  # class of a network -> its folder in a pipeline


def name_of(config: Mapping) -> str:
    """The class of a network's configuration; DiT's were published as a Transformer2DModel, as it was called before."""
    name = str(config.get("_class_name"))
    return DIT if name == "Transformer2DModel" and config.get("norm_type") == "ada_norm_zero" else name


def config_of(network: Any) -> dict[str, Any]:
    """The configuration of a network in memory, as its config.json has it."""
    return {**network.config, "_class_name": type(network).__name__}


def labels_of(config: Mapping, no_class: bool = False) -> tuple[int, int | None]:
    """Classes that a network knows, 0 for none, and the label of no class, where it has one.

    Args:
        config: of the network.
        no_class: whether that is the last label of a UNet2DModel.
    """
    if name_of(config) == DIT:
        known = config.get("num_embeds_ada_norm") or 0
        return (known, known) if known > 1 else (0, None)  # with one class there is nothing to choose
    embedded = config.get("num_class_embeds") or 0
    return (embedded - 1, embedded - 1) if no_class and embedded > 1 else (embedded, None)


def classes(facts: Mapping) -> int:
    """Classes of the network of :func:`dpmot.diffusion.weights.read_folder`'s facts; 0 for none."""
    return labels_of(facts["config"], facts.get("no_class", False))[0]


def no_class(facts: Mapping) -> int | None:
    """The label of no class of that network; None where it has none."""
    return labels_of(facts["config"], facts.get("no_class", False))[1]


def checked(where: object, config: Mapping, kind: str) -> tuple[list[int], bool]:
    """The shape of an image and whether a variance was learned, if nothing in a configuration is beyond us.

    Args:
        where: whose configuration it is, for messages.
        config: of a network of diffusers, with its "_class_name".
        kind: the parametrisation.

    Raises:
        ValueError: another network, or a key that is not computed here; the message names it.
    """
    if (name := name_of(config)) not in PARTS:
        raise ValueError(f"{where} describes a {name}, only {' and '.join(PARTS)} are read")
    if kind not in KINDS:
        raise ValueError(f"{where}: a {name} is read as kind {', '.join(KINDS)}, not {kind}")
    size: Any = config.get("sample_size")
    inputs: Any = config.get("in_channels")
    outputs: Any = config.get("out_channels") or (inputs if name == DIT else None)
    stated: dict[str, Any] = {"in_channels": inputs, "out_channels": outputs, "sample_size": size}
    if missing := [key for key, value in stated.items() if value is None]:
        raise ValueError(f"{where} does not say {', '.join(missing)}: add what the weights were trained with")
    height, width = size if isinstance(size, list | tuple) and len(size) == 2 and name == UNET else (size, size)
    if wrong := [key for key, value in stated.items() if not isinstance(value, int) and value is not size] or [
        "sample_size" for side in (height, width) if not isinstance(side, int)
    ]:
        raise ValueError(f"{where}: {wrong[0]} is {stated[wrong[0]]!r}, which is no size of an image")
    learned = outputs == 2 * inputs
    if inputs != outputs and not (learned and kind == "ddpm"):
        raise ValueError(f"{where}: {inputs} channels in, {outputs} out: only kind ddpm may have twice as many out")
    usual, legacy = defaults(name), config.get("_class_name") == "Transformer2DModel"
    for key, value in config.items():
        unsaid = value is None or (legacy and value in (False, "default", "layer_norm", 1.0))
        if not (key in usual or key[0] == "_" or unsaid):
            raise ValueError(f"{where}: {key} is {value!r:.60}, which this diffusers does not know")
    times = config.get("time_embedding_type", "positional")
    if times != "positional" and not (times == "fourier" and kind == "ve"):
        told = "only positional is read, its times go below 0, and fourier by kind ve"
        raise ValueError(f"{where}: time_embedding_type {times}: {told}")
    if (labels := config.get("class_embed_type")) is not None:
        raise ValueError(f"{where}: class_embed_type {labels}: only num_class_embeds, an embedding of labels, is read")
    return [inputs, height, width], learned


def facts(where: object, config: Mapping, kind: str, told: Any, *, no_class: bool = False) -> dict[str, Any]:
    """What :func:`build` needs of a network that :func:`checked` let pass.

    Args:
        told: the Parametrisation of that kind, with the network's options.
        no_class: whether the last label of a UNet2DModel is that of no class.

    Raises:
        ValueError: no_class of a network without classes.
    """
    if no_class and labels_of(config, no_class)[1] is None:
        raise ValueError(f"{where}: no_class needs a network with classes and one label more, and it has no label")
    # What its authors call the time: of the condition of our parametrisations t / T, ln(sigma) / 4, t or sigma.
    consistency = kind == "edm" and told.boundary > 0  # whose time is 1000 ln(sigma) / 4
    scale = 1000 if consistency else 1 if kind in ("edm", "ve") else told.num_levels
    found = {"config": dict(config), "timestep": [scale, -1 if kind == "ddpm" else 0]}
    return found | ({"no_class": True} if no_class else {})


def build(facts: Mapping, network: Any = None) -> "Module":
    """The network of :func:`dpmot.diffusion.weights.read_folder`'s facts: model(x, condition, labels) as ours.

    Args:
        facts: "config", "timestep" and, where its last label is that of no class, "no_class".
        network: of diffusers, whose configuration that is; None: a fresh one.
    """
    import torch
    from torch import nn

    from dpmot.diffusion.unet import check_inputs

    name, known = name_of(facts["config"]), classes(facts)

    class Adapter(nn.Module):
        """A network of diffusers behind the signature of :class:`dpmot.diffusion.unet.UNet`."""

        def __init__(self) -> None:
            super().__init__()
            with undisturbed():
                made = diffusers_class(name).from_config(dict(facts["config"])) if network is None else network
            setattr(self, PARTS[name], made)
            self.scale, self.offset = facts["timestep"]

        def forward(self, x: Tensor, condition: Tensor, labels: Tensor | None = None) -> Tensor:
            """x (B, C, H, W), condition (B,), labels (B,) of a network with classes -> (B, C, H, W)."""
            model = getattr(self, PARTS[name])
            check_inputs(x, labels, channels=model.config.in_channels, classes=known)
            time = self.scale * condition + self.offset
            if self.scale > 1:  # a level of theirs is an integer, which a condition of float32 misses by 1e-4 at most
                time = torch.where((time - time.round()).abs() < 2e-4, time.round(), time)
            return answer(model, x, time, labels)[:, : x.shape[1]]

    return Adapter()


def answer(
    network: Any, x: Tensor, time: Tensor, labels: Tensor | None, *, guidance: float = 0.0, null: int | None = None
) -> Tensor:
    """What a network of diffusers answers, with its outputs for a variance; guided at once, as its own pipeline has it.

    Args:
        network: UNet2DModel or DiTTransformer2DModel.
        x: (B, C, H, W), in the units that its scheduler shows it.
        time: (B,), what the scheduler tells it.
        labels: (B,) of a network with classes, or None.
        guidance: w; 0 and 1: none.
        null: the label of no class, where w is another.

    Returns:
        (B, C, H, W), or (B, 2 C, H, W) with a learned variance.
    """
    import torch

    if guidance not in (0, 1) and labels is not None and null is not None:
        both = torch.cat([labels, torch.full_like(labels, null)])
        found, without = answer(network, torch.cat([x, x]), torch.cat([time, time]), both).chunk(2)
        count = x.shape[1]
        mean = without[:, :count] + guidance * (found[:, :count] - without[:, :count])
        return torch.cat([mean, found[:, count:]], 1)
    if type(network).__name__ == UNET:
        return network(x, time, labels).sample
    labels = torch.zeros(len(x), dtype=torch.int64, device=x.device) if labels is None else labels
    return network(x, timestep=time, class_labels=labels).sample
