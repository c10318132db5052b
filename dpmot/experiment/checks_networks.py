"""What is refused of the networks of a configuration: kinds, options, files of weights, students."""

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from dpmot import plugins
from dpmot.diffusion import weights
from dpmot.diffusion.networks import of_card
from dpmot.diffusion.schedule import Schedule
from dpmot.experiment import conditional
from dpmot.experiment.networks import Training
from dpmot.experiment.plan import Experiment, Network
from dpmot.experiment.refusals import ConfigError, check_names, check_options, told_as_fault
from dpmot.runtime import seals

FITS = "points of a mixture have kind mixture, images have the kinds that are trained"
DISTILLATION_ARGUMENTS = ("teacher", "chain", "images", "schedule", "seed", "labels", "step_counts", "checkpoint")
ALONE = ("snapshots", "precision", "channels_last", "compile", "level")  # keys of `training` that students do not take
MOST_LEVELS = 100_000  # of a network's chain: more are a mistake, and memory's limit


def check_trainings(experiment: Experiment) -> None:
    """Several training seeds change something, and each has its digest where some have."""
    several = len(experiment.trainings) > 1
    varies = [name for name, network in experiment.networks.items() if network.varies]
    if several and not any(method.network in varies for method in experiment.drawn.values()):
        told = "no method has a network that is trained here, or weights by {training_seed}, so they change nothing"
        raise ConfigError(f"training_seeds: {told}; give training_seed")
    for name, network in experiment.networks.items():
        digests = network.sha256 if isinstance(network.sha256, Mapping) else None
        if digests and (without := [seed for seed in experiment.trainings if seed not in digests]):
            raise ConfigError(f"networks.{name}.sha256: no digest for training seed {without[0]}; give it, or none")


def check_networks(experiment: Experiment) -> None:
    """Refuse networks whose kind, options, training or files do not fit together.

    Raises:
        ConfigError: the first that does not.
    """
    for name, network in experiment.networks.items():
        where = f"networks.{name}"
        conditional.check_network(network, where)
        if network.kind:
            _check_kind(experiment, network, network.kind, where)
        else:
            _check_student(experiment, network, where)
        training = network.training
        if training and (late := [step for step in training.snapshots if step > training.steps]):
            told = f"{late[0]} is no step of this training; allowed: 1 to {training.steps}"
            raise ConfigError(f"{where}.training.snapshots: {told}")
        if training and network.how == "trained":
            _check_processes(experiment.processes, training, f"{where}.training")
        if network.weights:
            at = f"; download {_address(network.card)}" if network.card else ""
            with told_as_fault(f"{where}.weights: ", at):
                file = weights.files(Path(network.weights))[0]
            _check_file(experiment, network, file, where)
            if file.suffix == ".safetensors":
                _check_card(experiment, network, file, f"{where}.weights")
    trained = experiment.classifier.weights
    if trained and not Path(trained).is_file():
        raise ConfigError(f"classifier.weights: no file {trained}")


def _check_processes(processes: int, training: Training, where: str) -> None:
    """Each must have a part of the batch, whose dropout masks a compiled network would draw by itself."""
    batch = training.batch or Schedule.batch
    if processes > batch:
        told = f"{processes} are more than {where}.batch = {batch}, which they share"
        raise ConfigError(f"processes: {told}; give at most as many")
    if processes > 1 and training.compile:
        told = "a compiled network is trained by one process"
        raise ConfigError(f"{where}.compile: {told}; leave it out, or give processes=1")


def _address(card: str) -> str:
    return card.removeprefix("hf:") if card.startswith("hf:") else weights.card(card)["address"]


def _check_file(experiment: Experiment, network: Network, file: Path, where: str) -> None:
    """What the kind of a network itself refuses of a file of weights; one of this project says what it is."""
    if network.kind and file.suffix != ".safetensors" and "check" in plugins.functions("networks", network.kind):
        with told_as_fault(f"{where}: "):
            shape = experiment.image_shape
            plugins.find("networks", network.kind).check(file, options=network.options, shape=shape)


def _check_card(experiment: Experiment, network: Network, file: Path, where: str) -> None:
    """What a file of this project says of its network must be what the configuration says; others say nothing."""
    with told_as_fault(f"{where}: "):
        card = json.loads(seals.header(file).get("card", "{}"))
        said, shape = card.get("kind"), experiment.image_shape
        if network.kind and said:
            find = plugins.find("networks", network.kind).Parametrisation
            if said != network.kind or of_card(card) != find(**network.options):
                told = f"kind {said} with options {card['options']}"
                raise ValueError(f"{file} is of {told}; give these, not kind {network.kind} with {network.options}")
        if said and shape and [*shape] != card["shape"]:
            raise ValueError(f"{file} was made for images of shape {card['shape']}, the data set has {[*shape]}")


def _check_kind(experiment: Experiment, network: Network, name: str, where: str) -> None:
    kind = plugins.find("networks", name).Parametrisation
    check_options(kind, network.options, f"{where}.options", skip=())
    with told_as_fault(f"{where}.options: "):
        if network.options.get("num_levels", 0) > MOST_LEVELS:
            raise ValueError(f"num_levels must be at most {MOST_LEVELS}, got {network.options['num_levels']}")
        kind(**network.options).chain  # noqa: B018 - its levels are checked where they are made
    _check_read(network, name, where)
    if hasattr(kind, "split"):  # the images of a split, of whatever data set
        if given := sorted({"training", "weights", "unet"} & network.model_fields_set):
            raise ConfigError(f"{where}.{given[0]}: kind {name} is the data itself; leave it out")
    elif hasattr(kind, "loss") and network.how == "exact" and not experiment.has_mixture:
        raise ConfigError(f'{where}: give "training" to train it or "weights" to load it')
    elif experiment.has_mixture != (hasattr(kind, "model") and network.how == "exact"):
        if not hasattr(kind, "loss") and network.how == "trained":
            raise ConfigError(f"{where}: kind {name} is not trained here; give its weights")
        raise ConfigError(f"{where}.kind: {name} does not fit the data set {experiment.dataset}: {FITS}")
    elif not hasattr(kind, "loss") and network.how != "loaded" and not experiment.has_mixture:
        raise ConfigError(f"{where}: kind {name} is not trained here; give its weights")
    _check_shape(experiment.image_shape or (), network, where)


def _check_shape(shape: Sequence[int], network: Network, where: str) -> None:
    """The images must be such as a network that is trained takes."""
    if network.how != "trained":
        return
    own = plugins.find("networks", str(network.kind)).Parametrisation(**network.options)
    patch = network.unet.patch or int(getattr(own, "patch", 1))
    if any(side % patch for side in shape[1:]):
        at = f"{where}.{'unet' if network.unet.patch else 'options'}.patch"
        raise ConfigError(f"{at}: patches of {patch} pixels do not fill images of shape {shape}")
    if shape and (channels := getattr(own, "channels", shape[0])) != shape[0]:
        raise ConfigError(f"{where}.options.channels: {channels}, the data set has images of shape {shape}")
    if network.has_own_model and network.unet.given():
        raise ConfigError(f"{where}.unet: kind {network.kind} has a network of its own, by its options; leave it out")


def _check_read(network: Network, name: str, where: str) -> None:
    """A kind that reads files of its own needs one, and the packages that run it."""
    if "read" not in plugins.functions("networks", name):
        return
    if not network.weights or network.training:
        raise ConfigError(f"{where}: kind {name} is only loaded: give `weights: FILE`, and no training")
    needs: Any = plugins.constant("networks", name, "NEEDS") or {}
    for package, extra in needs.items():
        if find_spec(package) is None:
            raise ConfigError(f"{where}: kind {name} needs {package}: pip install 'dpmot[{extra}]'")


def _check_student(experiment: Experiment, network: Network, where: str) -> None:
    name, training = str(network.distillation), network.training
    known = plugins.arguments("distillation", name, "train")  # importing it would cost torch
    check_names(known, network.options, f"{where}.options", skip=DISTILLATION_ARGUMENTS)
    least: Any = plugins.constant("distillation", name, "LEAST") or {}
    for key, value in network.options.items():
        if key in least and not (isinstance(value, int) and not isinstance(value, bool) and value >= least[key]):
            raise ConfigError(f"{where}.options.{key}: {value!r} is no integer of at least {least[key]}")
    counts = network.step_counts or ()
    if ("step_counts" in known) != bool(counts):
        told = "for all step counts; leave the key out" if counts else "a step count, name them, e.g. [8, 4, 2, 1]"
        raise ConfigError(f"{where}.step_counts: {name} makes one network {told}")
    teacher = experiment.networks.get(str(network.teacher))
    if teacher is None or not teacher.kind:
        names = [name for name, other in experiment.networks.items() if other.kind]
        raise ConfigError(f'{where}.teacher: "{network.teacher}" is no network here; allowed: {", ".join(names)}')
    if not hasattr(plugins.find("networks", teacher.kind).Parametrisation, "loss"):
        raise ConfigError(f"{where}.teacher: {network.teacher} is exact, there is nothing in it to train further")
    if any(first != 2 * second for first, second in pairwise(counts)):
        told = f"each stage halves the one before, e.g. [16, 8, 4]; got {list(counts)}"
        raise ConfigError(f"{where}.step_counts: {told}")
    if given := [key for key in ALONE if training and key in training.model_fields_set]:
        raise ConfigError(f"{where}.training.{given[0]}: a student is trained without it; leave it out")
