"""What is refused of a configuration: the first thing that is wrong, in one line.

The types of :mod:`dpmot.experiment.plan` say which keys there are; the functions here say what fits together, by the
plug-ins that the configuration names, and raise a :class:`ConfigError`. Nothing here imports torch.
"""

import inspect
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from dpmot import plugins
from dpmot.data import _given as given_images
from dpmot.diffusion import weights
from dpmot.diffusion.networks import of_card
from dpmot.experiment import conditional, grid, learning, members
from dpmot.experiment.fits import PARTS
from dpmot.experiment.plan import Experiment, Given, Method, Network
from dpmot.experiment.smoke import stand_in_shape
from dpmot.features import Extractor, Offer
from dpmot.runtime import seals

FITS = "points of a mixture have kind mixture, images have the kinds that are trained"
KINDS = {float: "number", int: "integer", bool: "boolean", str: "text", type(None): "null"}
DISTILLATION_ARGUMENTS = ("teacher", "chain", "images", "schedule", "seed", "labels", "step_counts", "checkpoint")
ALONE = ("snapshots", "precision", "channels_last", "compile")  # keys of `training` that students do not take
OF_STARTS = ("source_measure", "heights", "noises", "singular", "angle", "tau", "top_k")  # keys of a method
MOST_LEVELS = 100_000  # of a network's chain: more are a mistake, and memory's limit
SAMPLER_ARGUMENTS = ("denoiser", "x", "sigmas", "noise", "callback")


class ConfigError(ValueError):
    """The configuration cannot be run; the message is one line that says where, what and what is allowed."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def parsed(config: Mapping) -> Experiment:
    """Keys and types."""
    try:
        _check_finite(config)
        return Experiment.model_validate(dict(config))
    except RecursionError:
        raise ConfigError("config: a part of it holds itself, by an anchor; write it out") from None
    except ValidationError as error:
        raise ConfigError(_sentence(error.errors()[0])) from None


def _check_finite(value: Any, where: str = "") -> None:
    """No NaN and no infinity anywhere, in options neither."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: {value} should be a finite number")
    inside = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    )
    for key, inner in inside:
        _check_finite(inner, f"{where}.{key}" if where else str(key))


def _sentence(error: ErrorDetails) -> str:
    where = ".".join(str(part) for part in error["loc"] if not str(part).startswith("[")) or "config"
    if error["type"] == "missing" and isinstance(error["loc"][-1], int):
        return f"{where.rpartition('.')[0]}: {error['input']!r} has too few entries"
    if error["type"] == "missing":
        return f'{where.rpartition(".")[0] or "config"}: the key "{error["loc"][-1]}" is missing'
    if error["type"] == "literal_error":
        allowed = error["ctx"]["expected"].replace(" or ", ", ").replace("'", "")
        return f"{where}: {error['input']!r} is not one of these; allowed: {allowed}"
    if error["type"] in ("tuple_type", "dict_type", "model_type"):
        return f"{where}: {error['input']!r} is no {'list' if error['type'] == 'tuple_type' else 'mapping'}"
    if error["type"] == "bool_type":
        return f"{where}: {error['input']!r} should be true or false"
    if error["type"] == "too_short":
        return f"{where}: {error['input']!r} has too few entries; give {error['ctx']['min_length']} or more"
    what, _, told = error["msg"].partition(" should ")  # "Input should be ...", "String should match ..."
    return f"{where}: {error['input']!r} should {told}" if " " not in what else f"{where}: {error['msg']}"


@contextmanager
def _told(prefix: str = "", then: str = "") -> Iterator[None]:
    """What a plug-in refuses is a fault of the configuration; the prefix says where it stands."""
    try:
        yield
    except (ValueError, OSError, OverflowError, MemoryError) as error:
        raise ConfigError(f"{prefix}{error or 'too large'}{then}") from None


def complete(experiment: Experiment) -> None:
    """What a whole experiment says together: plug-ins, options, levels, budgets, pages."""
    for name, method in experiment.drawn.items():
        _check_known("network", method.network, experiment.networks, f"methods.{name}")
    if experiment.selection:
        _check_known("network", experiment.selection.network, experiment.networks, "selection")
    for name in experiment.coupling.methods if experiment.coupling else ():
        _check_drawn(experiment, name, "coupling.methods")
    with _told():
        _check_trainings(experiment)
        experiment = members.members(experiment).experiment
        load = plugins.find("data", experiment.dataset).load
        _check_options(load, experiment.dataset_options, "dataset_options", skip=("root",))
        _check_values("data", experiment.dataset, experiment.dataset_options, "dataset_options.")
        _check_networks(experiment)
        _check_features(experiment)
        for name, method in experiment.drawn.items():
            _check_method(experiment, method, f"methods.{name}")
        for name, samples in experiment.elsewhere.items():
            _check_given(samples, f"methods.{name}")
        for name in experiment.metrics:
            plugins.path("metrics", name)
        _check_selection(experiment)
        _check_identity(experiment)
        conditional.check_balanced(experiment)
        _check_coupling(experiment)
        _check_pages(experiment)
        for name, method in experiment.drawn.items():
            _check_levels(experiment, name, method)


def _check_trainings(experiment: Experiment) -> None:
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


def names(experiment: Experiment) -> None:
    """Starts, by which the experiment is completed, must exist; metrics that are left out too, and some be left."""
    with _told():
        for method in experiment.drawn.values():
            plugins.path("starts", method.start)
    known, left_out = plugins.names("metrics"), experiment.metrics_except
    if foreign := sorted({*left_out} - {*known}):
        raise ConfigError(f"metrics_except: there is no {', '.join(foreign)}; choose among {', '.join(known)}")
    if {*(experiment.metrics or known)} <= {*left_out}:
        raise ConfigError(f"metrics_except: {', '.join(left_out)} are all metrics that are asked for; leave one")


def _check_known(noun: str, name: str, known: Collection[str], where: str) -> None:
    if name not in known:
        raise ConfigError(f'{where}: no {noun} "{name}" under {noun}s: found {", ".join(known) or "none"}')


def _check_options(function: Any, options: Mapping, where: str, *, skip: Sequence[str]) -> None:
    """Names and types of options, as a function's signature has them."""
    parameters = inspect.signature(function).parameters
    _check_names(parameters, options, where, skip=skip)
    for key, value in options.items():
        annotation = parameters[key].annotation
        try:
            TypeAdapter(annotation, config=ConfigDict(strict=True)).validate_json(json.dumps(value))  # lists are tuples
        except ValidationError:
            raise ConfigError(f"{where}.{key}: {value!r} is no {_kind(annotation)}") from None
        except PydanticUserError:
            continue  # the signature has no type that can be checked


def _kind(annotation: Any) -> str:
    """A type in words: "list of number"."""
    inner = [_kind(part) for part in get_args(annotation) if part is not ...]
    if issubclass(get_origin(annotation) or object, Mapping):
        return f"mapping of {inner[0]} to {inner[1]}"
    if issubclass(get_origin(annotation) or object, Collection):
        return f"list of {inner[0]}"
    return " or ".join(inner) or KINDS.get(annotation, str(annotation))


def _check_names(known: Iterable[str], options: Mapping, where: str, *, skip: Sequence[str]) -> None:
    allowed = [name for name in known if name not in skip]
    for key in options:
        if key not in allowed:
            raise ConfigError(f'{where}: unknown option "{key}"; allowed: {", ".join(allowed) or "none"}')


def _check_values(kind: str, name: str, options: Mapping, prefix: str) -> None:
    """Values of a plug-in's options, by its own ``check`` where it has one."""
    taken = plugins.arguments(kind, name, "check") if "check" in plugins.functions(kind, name) else ()
    if asked := {key: options[key] for key in taken if key in options}:
        with _told(prefix):
            plugins.find(kind, name).check(**asked)


def _check_networks(experiment: Experiment) -> None:
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
        if network.weights:
            at = f"; download {_address(network.card)}" if network.card else ""
            with _told(f"{where}.weights: ", at):
                file = weights.files(Path(network.weights))[0]
            _check_file(experiment, network, file, where)
            if file.suffix == ".safetensors":
                _check_card(experiment, network, file, f"{where}.weights")
    trained = experiment.classifier.weights
    if trained and not Path(trained).is_file():
        raise ConfigError(f"classifier.weights: no file {trained}")


def _address(card: str) -> str:
    return card.removeprefix("hf:") if card.startswith("hf:") else weights.card(card)["address"]


def _check_file(experiment: Experiment, network: Network, file: Path, where: str) -> None:
    """What the kind of a network itself refuses of a file of weights; one of this project says what it is."""
    if network.kind and file.suffix != ".safetensors" and "check" in plugins.functions("networks", network.kind):
        with _told(f"{where}: "):
            shape = experiment.image_shape
            plugins.find("networks", network.kind).check(file, options=network.options, shape=shape)


def _check_card(experiment: Experiment, network: Network, file: Path, where: str) -> None:
    """What a file of this project says of its network must be what the configuration says; others say nothing."""
    with _told(f"{where}: "):
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
    _check_options(kind, network.options, f"{where}.options", skip=())
    with _told(f"{where}.options: "):
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
    _check_names(known, network.options, f"{where}.options", skip=DISTILLATION_ARGUMENTS)
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


def _check_features(experiment: Experiment) -> None:
    stood = experiment.scale == "smoke" and stand_in_shape(experiment)  # a smoke run takes other features
    for name in (*experiment.features, *(set(experiment.feature_options) - set(experiment.features))):
        given, trained = experiment.feature_options.get(name, {}), experiment.classifier.weights
        classifier = Path(trained) if trained else None
        offer = Offer(download=experiment.download, given=given, classifier=classifier, shape=experiment.image_shape)
        extractor, asked = Extractor(name, offer), name in experiment.features and not stood
        fits = extractor.trained or extractor.domain in ("any", "mixture" if experiment.has_mixture else "images")
        if asked and not fits:
            looks = "points of a mixture" if extractor.domain == "mixture" else "images"
            raise ConfigError(f"features: {name} looks at {looks}, which {experiment.dataset} does not have")
        extractor.check() if asked else extractor.check_given()


def _check_method(experiment: Experiment, method: Method, where: str) -> None:
    _check_known("network", method.network, experiment.networks, where)
    if method.sampler != "none":
        sample = plugins.find("baselines", method.sampler).sample
        _check_options(sample, method.options, f"{where}.options", skip=SAMPLER_ARGUMENTS)
        _check_values("baselines", method.sampler, method.options, f"{where}.options: ")
    elif method.options or not method.has_level:
        raise ConfigError(f"{where}: sampler none returns the start itself; it takes no options and no prior start")
    if method.nfe == "as_code" and method.sampler == "none":
        raise ConfigError(f"{where}.nfe: sampler none spends no evaluation, so there is none to add")
    _check_start(method, where)
    conditional.check_method(method, experiment.networks[method.network], where)
    learning.check(experiment, method, where)
    if method.level == "star" and not experiment.selection:
        raise ConfigError(f"{where}.level: star needs a selection block that finds sigma_M*")


def _check_given(samples: Given, where: str) -> None:
    """Files of samples must be there; what is in them is read by the job."""
    for key, paths in {"samples": samples.paths, "train_reference": (samples.train_reference,)}.items():
        for path in filter(None, paths):
            with _told(f"{where}.{key}: "):
                given_images.file_state(Path(path))


def _check_drawn(experiment: Experiment, name: str, where: str) -> None:
    """A method whose samples are drawn here."""
    _check_known("method", name, experiment.methods, where)
    if name in experiment.elsewhere:
        raise ConfigError(f"{where}: the samples of {name} come from elsewhere; name methods that are drawn here")


def _check_start(method: Method, where: str) -> None:
    """Level and options of a start, by the constants of its file."""
    if not method.has_level and method.level is not None:
        raise ConfigError(f"{where}: a {method.start} start has no level; it begins at the network's sigma_max")
    if not method.has_level and "targets" in method.model_fields_set:
        raise ConfigError(f"{where}.targets: a {method.start} start has no atoms")
    own, given = _options_of(method.start), method.model_fields_set
    for key in OF_STARTS:
        if key in given and key not in own:
            takers = [name for name in plugins.names("starts") if key in _options_of(name)]
            raise ConfigError(f"{where}.{key}: only for start {', '.join(takers)}, not for {method.start}")
    _check_names(own, method.start_options, f"{where}.start_options", skip=OF_STARTS)
    if (part := method.start_options.get("part", PARTS[0])) not in PARTS:
        raise ConfigError(f"{where}.part: {part!r} is not one of these; allowed: {', '.join(PARTS)}")
    options = {**{key: getattr(method, key) for key in own if key in given}, **method.start_options}
    _check_values("starts", method.start, options, f"{where}.")


def _options_of(start: str) -> tuple[str, ...]:
    """Keys of a method that a start takes."""
    options: Any = plugins.constant("starts", start, "OPTIONS") or ()
    part = ("part",) if plugins.constant("starts", start, "FITS") else ()
    return (*options, *(("noises",) if plugins.constant("starts", start, "TAKES_NOISES") else ()), *part)


def _check_selection(experiment: Experiment) -> None:
    selection = experiment.selection
    if selection is None:
        return
    plugins.path("baselines", selection.sampler)
    if selection.trial().learns:
        raise ConfigError(f"selection.sampler: {selection.sampler} is learned for methods; choose one that is not")
    for sigma in selection.sigmas:
        _check_sigma(experiment, selection.network, sigma, "selection.sigmas")
    _check_met(experiment, selection.trial(), "selection")
    reported = {seed for method in experiment.drawn.values() for seed in method.sample_seeds}
    if selection.sample_seed in reported | {*experiment.sample_seeds}:
        told = f"{selection.sample_seed} is also a reported seed; choose another, e.g. 1000"
        raise ConfigError(f"selection.sample_seed: {told}")


def _check_identity(experiment: Experiment) -> None:
    identity = experiment.identity
    if identity is None:
        return
    for pair in identity.pairs:
        for name in pair:
            _check_drawn(experiment, name, "identity.pairs")
        one, other = (experiment.methods[name].but(label=None, group=None) for name in pair)
        if one.plain() == other.plain():
            raise ConfigError(
                f"identity.pairs: {pair[0]} and {pair[1]} are one method, equal whatever its law; name two"
            )
        sides = (grid.cells(experiment, name) for name in pair)
        cells = [[(cell.nfe, cell.sample_seed) for cell in side if not cell.reason] for side in sides]
        if cells[0] != cells[1] or len(set(cells[0])) != len(cells[0]):
            told = "must have the same seeds and evaluations, one level"
            raise ConfigError(f"identity.pairs: {pair[0]} and {pair[1]} {told}")
    stems = {stem for name in experiment.metrics for stem in plugins.find("metrics", name).FACTS}
    for metric in [*identity.margins, *identity.relative_margins]:
        if metric.rpartition("_")[0] not in stems:
            allowed = ", ".join(sorted(stems))
            raise ConfigError(f'identity: no metric "{metric}"; allowed are {allowed} with their suffix')


def _check_coupling(experiment: Experiment) -> None:
    coupling = experiment.coupling
    if coupling is None:
        return
    for name in coupling.methods:
        method, where = experiment.drawn[name], f"coupling.methods: {name}"
        if method.sampler == "none" or isinstance(method.level, tuple) or method.level == "star":
            raise ConfigError(f"{where} must have a sampler and one level, no list and no star")
        if method.learns:
            raise ConfigError(f"{where} is learned for its own budgets; name a method that is not")
        if method.law != "normal":
            raise ConfigError(f"{where} must start from normal noise, not from the authors' uniform one")
        _check_met(experiment, coupling.of(method), where)


def _check_met(experiment: Experiment, method: Method, where: str) -> None:
    """Every budget of a method must be met."""
    if reasons := [cell.reason for cell in grid.cells_of(experiment, method) if cell.reason]:
        raise ConfigError(f"{where}: {reasons[0]}")


def _check_pages(experiment: Experiment) -> None:
    for kind, prefix in (("tables", "table_"), ("figures", "figure_")):
        known = [name for name in plugins.names("pages") if name.startswith(prefix)]
        for name in getattr(experiment, kind):
            if name not in known:
                hint = plugins.did_you_mean(name, known)
                raise ConfigError(f'{kind}: no "{name}" in paper_figures/: {hint}found {", ".join(known)}')


def _check_sigma(experiment: Experiment, network: str, sigma: float, where: str) -> None:
    chain = grid.chain_of(experiment, network)
    if not chain.sigma_min <= sigma <= chain.sigma_max:
        levels = f"the levels of network {network}, [{chain.sigma_min:.4g}, {chain.sigma_max:.4g}]"
        raise ConfigError(f"{where}: sigma_M = {sigma:g} lies outside {levels}")


def _check_levels(experiment: Experiment, name: str, method: Method) -> None:
    for sigma in grid.numeric_levels(experiment, method):
        _check_sigma(experiment, method.network, sigma, f"methods.{name}.level")
    cells = list(grid.cells(experiment, name))
    if all(cell.reason for cell in cells):
        raise ConfigError(f"methods.{name}: no budget can be met: {cells[0].reason}")
