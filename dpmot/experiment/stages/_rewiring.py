"""What a training begins with: the network it goes on from, its pairs of noise and images, its noise levels."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from torch import Tensor

from dpmot.diffusion import network
from dpmot.diffusion.levels import UniformInTime
from dpmot.diffusion.training import Paired
from dpmot.experiment.stages._prepared import Part, read
from dpmot.runtime.fingerprint import file_digest

if TYPE_CHECKING:
    from dpmot.experiment.layout import Layout
    from dpmot.experiment.tasks import Train


COUPLINGS = "dpmot.couplings"  # imported where a training has one: jobs name it then, and others do not depend on it


def rewired(task: "Train", layout: "Layout", parts: Mapping[str, Part]) -> tuple[dict[str, Any], dict]:
    """Card of a network before its training, and weights where it goes on from another one: averages where it has them.

    Of that one the card says what it was and how many images it saw, None where its file does not say.

    Raises:
        ValueError: it is a student, or made for other images.
    """
    given = task.network
    path = layout.network(str(given.rewires))
    origin = network.load(path)
    card = origin.card
    if "distilled" in card or None not in origin.denoisers:
        raise ValueError(f"networks.{task.name}.rewires: {given.rewires} was distilled; a network is rewired")
    check_shape(card, parts["A"].raw.shape[1:], str(given.rewires))
    kept = {
        key: value for key, value in card.items() if key not in ("trained", "loaded", "published", "rewired", "name")
    }
    before = card.get("trained", {})
    seen = before.get("images_seen_in_all", before.get("images_seen"))
    came = {"network": given.rewires, "sha256": file_digest(path), "images_seen": seen}
    came |= {"published": card["published"]} if "published" in card else {}  # of that one: these weights are others
    facts = {**kept, "options": {**card["options"], **given.options}, "rewired": came}
    if given.label_dropout and not network.no_class(facts):
        told = f"{given.rewires} was trained without a label of no class"
        raise ValueError(f"networks.{task.name}.training.label_dropout: {told}; leave it out")
    return facts, weights_of(origin)[None]


def coupled(
    task: "Train", layout: "Layout", facts: dict[str, Any], images: Tensor, labels: Tensor | None
) -> tuple[Tensor | Paired, dict[str, Any]]:
    """The images as they are drawn with noise, and the card with what that makes of the network.

    Raises:
        ValueError: one map for all of a network that is told classes.
    """
    if task.coupling is None:
        return images, facts
    couplings = import_module(COUPLINGS)
    if task.pairing is None:
        return couplings.paired(images, labels, task.coupling), {**facts, "coupling": dict(task.coupling)}
    heights, solved = read(layout.pairing(task.pairing))
    if (labels is not None) != ("classes" in solved):
        told = f"its file says that it is told classes: state unet: {{classes: {network.classes(facts)}}}"
        raise ValueError(f"networks.{task.name}: one map of all images would bias each class, and {told}")
    paired = couplings.paired(images, labels, task.coupling, heights["heights"])
    sigma = network.chain_of(facts).sigma_max
    found = couplings.facts_of(paired, sigma)
    print(
        f"{task.name}: {found['off']:.1%} of the prior draws at sigma {sigma:g} are no point of the coupling",
        flush=True,
    )
    if "chi2_of_tau" in found:
        told = f"images are drawn with chi2 {found['chi2_of_tau']:.3g} from equal shares"
        print(f"{task.name}: at tau {task.coupling['tau']:g} {told}", flush=True)
    stated = {key: value for key, value in task.coupling.items() if key != "rounded"}  # a wish
    look = {"chi2": solved["certificate"]["chi2"], "converged": solved["converged"]}
    return paired, {**facts, "coupling": {**stated, **look, **found}}


def level_of(task: "Train", facts: Mapping) -> UniformInTime | None:
    """What chooses the noise levels instead of the kind's own distribution."""
    training = task.network.training
    return UniformInTime(network.parametrisation(facts)) if training and training.level == "uniform_t" else None


def check_shape(card: Mapping, shape: Sequence[int], path: str) -> None:
    """Refuse, as ValueError, a network of latents or of another shape than (C, H, W) of the images."""
    if decoder := card.get("latents"):
        told = (
            f"sees latents of shape {card['shape']}, which its {decoder} decodes, and an experiment's data are pixels"
        )
        raise ValueError(f"{path}: the network {told}: sample it from Python, by dpmot.diffusers.ExpresswayPipeline")
    if list(shape) != list(card["shape"]):
        raise ValueError(f"{path} was made for images of shape {card['shape']}, the data set has {list(shape)}")


def weights_of(loaded: network.Network) -> dict:
    """Step count of a student, or None -> the tensors of its network; without denoisers that are known exactly."""
    denoisers = loaded.denoisers.items()
    return {count: one.model.state_dict() for count, one in denoisers if isinstance(one, network.NetworkDenoiser)}
