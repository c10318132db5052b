"""What is refused of a configuration: the first thing that is wrong, in one line.

The schema says which keys there are and of what type; the functions here say what fits together, by the plugins that
the configuration names. Nothing here imports torch.
"""

import inspect
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import get_args, get_origin

import jsonschema
import yaml

from dpmot import plugins
from dpmot.diffusion import weights
from dpmot.experiment import grid
from dpmot.experiment.smoke import stand_in_shape

SCHEMA = Path(__file__).with_name("schema.yaml")
FITS = "points of a mixture have kind mixture, images have the kinds that are trained"
NUMBERS = {float: int | float}
KINDS = {float: "number", int: "integer", bool: "boolean", str: "text", list: "list", type(None): "null"}
LEAST_SAMPLES = 200  # what the copying test C_T needs, except of the stand-ins of a smoke run
DISTILLATION_ARGUMENTS = ("teacher", "chain", "images", "schedule", "seed", "labels", "step_counts", "checkpoint")
ALONE = ("snapshots", "precision", "channels_last", "compile")  # keys of `training` that students do not take
SINGULAR_OPTIONS = {  # option -> the values of singular that take it
    "angle": ("discard", "treat", "as_code"),
    "top_k": ("discard", "treat", "as_code"),
    "tau": ("treat", "smooth"),
}
SAMPLER_ARGUMENTS = ("denoiser", "x", "sigmas", "noise", "callback")


class ConfigError(ValueError):
    """The configuration cannot be run; the message is one line that says where, what and what is allowed."""


def against_schema(config: Mapping) -> None:
    """Keys and types, by schema.yaml.

    Raises:
        ConfigError: the first thing that is wrong.
    """
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    errors = list(jsonschema.Draft202012Validator(schema).iter_errors(config))
    if errors:
        raise ConfigError(_sentence(jsonschema.exceptions.best_match(errors)))


def complete(config: Mapping) -> None:
    """What a configuration with every default filled in says together: plugins, options, levels, budgets, pages.

    Raises:
        ConfigError: the first thing that is wrong.
    """
    try:
        _check_dataset(config)
        _check_samples(config)
        _check_networks(config)
        for name, method in config["methods"].items():
            _check_method(config, method, f"methods.{name}")
        for name in config.get("metrics", []):
            plugins.path("metrics", name)
        _check_selection(config)
        _check_identity(config)
        _check_coupling(config)
        _check_pages(config)
        for name in config["methods"]:
            _check_levels(config, name)
    except plugins.UnknownPlugin as error:
        raise ConfigError(str(error)) from None


def _sentence(error: jsonschema.ValidationError) -> str:
    where = ".".join(str(part) for part in error.absolute_path) or "config"
    if error.validator == "additionalProperties":
        allowed = sorted(error.schema["properties"])
        unknown = sorted(set(error.instance) - set(allowed))[0]
        close = get_close_matches(unknown, allowed, 1)
        hint = f'did you mean "{close[0]}"?' if close else f"allowed: {', '.join(allowed)}"
        return f'{where}: unknown key "{unknown}"; {hint}'
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f'{where}: the key "{missing[0]}" is missing'
    allowed = ""
    if error.validator == "enum":
        allowed = f"; allowed: {', '.join(map(str, error.validator_value))}"
    elif error.validator in ("oneOf", "not"):
        allowed = f"; {error.schema.get('description', 'see dpmot/experiment/schema.yaml for what is allowed')}"
    text = error.message.split(" is not valid under")[0] + (
        " is not allowed here" if allowed and "oneOf" in error.validator else ""
    )
    return f"{where}: {text}{allowed}"


def _check_dataset(config: Mapping) -> None:
    module = plugins.find("data", config["dataset"])
    _check_options(module.load, config["dataset_options"], "dataset_options", skip=("root",))


def _check_samples(config: Mapping) -> None:
    for where, given in (("num_samples", config), ("selection.num_samples", config.get("selection", {}))):
        count = given.get("num_samples", LEAST_SAMPLES)
        if count < LEAST_SAMPLES and config["scale"] != "smoke":
            raise ConfigError(f"{where}: {count} is less than {LEAST_SAMPLES}, which the copying test C_T needs")


def _check_options(function, options: Mapping, where: str, *, skip: Sequence[str]) -> None:
    """Names and types of options, as a function's signature has them."""
    parameters = inspect.signature(function).parameters
    _check_names(list(parameters), options, where, skip=skip)
    for key, value in options.items():
        annotation = parameters[key].annotation
        listed = get_origin(annotation) is Sequence
        allowed = (list,) if listed else get_args(annotation) or (annotation,)
        known = [NUMBERS.get(one, one) for one in allowed if isinstance(one, type)]
        if known and not any(isinstance(value, one) and isinstance(value, bool) <= (one is bool) for one in known):
            names = " or ".join(KINDS.get(one, one.__name__) for one in allowed)
            raise ConfigError(f"{where}.{key}: {value!r} is no {names}")


def _check_names(known: Sequence[str], options: Mapping, where: str, *, skip: Sequence[str]) -> None:
    allowed = [name for name in known if name not in skip]
    for key in options:
        if key not in allowed:
            raise ConfigError(f'{where}: unknown option "{key}"; allowed: {", ".join(allowed) or "none"}')


def _check_networks(config: Mapping) -> None:
    for name, network in config["networks"].items():
        where = f"networks.{name}"
        if "kind" in network:
            kind = plugins.find("networks", network["kind"]).Parametrisation
            options = network.get("options", {})
            _check_options(kind, options, f"{where}.options", skip=())
            try:
                kind(**options)
            except ValueError as error:
                raise ConfigError(f"{where}.options: {error}") from None
            mixture = getattr(plugins.find("data", config["dataset"]), "MIXTURE", False)
            if hasattr(kind, "split"):  # the images of a split, of whatever data set
                given = sorted({"training", "weights", "unet"} & set(network))
                if given:
                    raise ConfigError(f"{where}.{given[0]}: kind {network['kind']} is the data itself; leave it out")
            elif mixture != (hasattr(kind, "model") and "weights" not in network):
                raise ConfigError(
                    f"{where}.kind: {network['kind']} does not fit the data set {config['dataset']}: {FITS}"
                )
            if hasattr(kind, "loss") and not {"training", "weights"} & set(network):
                raise ConfigError(f'{where}: give "training" to train it or "weights" to load it')
        else:
            _check_distillation(network, where)
            _check_teacher(config, network, where)
        _check_training(network, where)
        if "weights" in network:
            try:
                weights.weights_file(Path(network["weights"]))
            except ValueError as error:
                raise ConfigError(f"{where}.weights: {error}{_address(network)}") from None
    if "inception_weights" in config and not Path(config["inception_weights"]).is_file():
        raise ConfigError(f"inception_weights: no file {config['inception_weights']}")
    if "vit" in config["features"] and not (config["scale"] == "smoke" and stand_in_shape(config)):
        _check_vit(config)
    if "weights" in config["classifier"] and not Path(config["classifier"]["weights"]).is_file():
        raise ConfigError(f"classifier.weights: no file {config['classifier']['weights']}")


def _check_vit(config: Mapping) -> None:
    if "vit" not in config:
        raise ConfigError("vit: the feature vit needs `vit: {weights: FOLDER}`, a classifier for this data set")
    if find_spec("transformers") is None:
        raise ConfigError("features: vit needs transformers: pip install 'dpmot[vit]'")
    try:
        plugins.find("features", "vit").files(Path(config["vit"]["weights"]))
    except OSError as error:
        card = config["vit"].get("card")
        where = f"; download {weights.card(card, weights.CLASSIFIERS)['address']}" if card else ""
        raise ConfigError(f"vit.weights: {error}{where}") from None


def _address(network: Mapping) -> str:
    return f"; download {weights.card(network['card'])['address']}" if "card" in network else ""


def _check_training(network: Mapping, where: str) -> None:
    training = network.get("training", {})
    if "kind" not in network:
        given = [key for key in ALONE if key in training]
        if given:
            raise ConfigError(f"{where}.training.{given[0]}: a student is trained without it; leave it out")
    late = [step for step in training.get("snapshots", []) if step > training["steps"]]
    if late:
        last = training["steps"]
        raise ConfigError(f"{where}.training.snapshots: {late[0]} is no step of this training; allowed: 1 to {last}")


def _check_distillation(network: Mapping, where: str) -> None:
    known = plugins.arguments("distillation", network["distillation"], "train")  # importing it would cost torch
    _check_names(known, network.get("options", {}), f"{where}.options", skip=DISTILLATION_ARGUMENTS)
    least = plugins.constant("distillation", network["distillation"], "LEAST") or {}
    for key, value in network.get("options", {}).items():
        if key in least and not (isinstance(value, int) and not isinstance(value, bool) and value >= least[key]):
            raise ConfigError(f"{where}.options.{key}: {value!r} is no integer of at least {least[key]}")
    counted = "step_counts" in known
    if counted != ("step_counts" in network):
        name = network["distillation"]
        raise ConfigError(
            f"{where}.step_counts: {name} makes one network a step count, name them, e.g. [8, 4, 2, 1]"
            if counted
            else f"{where}.step_counts: {name} makes one network for all step counts; leave the key out"
        )


def _check_teacher(config: Mapping, network: Mapping, where: str) -> None:
    teacher = config["networks"].get(network["teacher"], {})
    if "kind" not in teacher:
        names = [name for name, other in config["networks"].items() if "kind" in other]
        raise ConfigError(f'{where}.teacher: "{network["teacher"]}" is no network here; allowed: {", ".join(names)}')
    if not hasattr(plugins.find("networks", teacher["kind"]).Parametrisation, "loss"):
        raise ConfigError(f"{where}.teacher: {network['teacher']} is exact, there is nothing in it to train further")
    counts = network.get("step_counts", [])
    if any(first != 2 * second for first, second in pairwise(counts)):
        raise ConfigError(f"{where}.step_counts: each stage halves the one before, e.g. [16, 8, 4]; got {counts}")


def _check_method(config: Mapping, method: Mapping, where: str) -> None:
    if method["network"] not in config["networks"]:
        raise ConfigError(
            f'{where}: no network "{method["network"]}" under networks: found {", ".join(config["networks"])}'
        )
    start, options = method.get("start", "prior"), method.get("options", {})
    plugins.path("starts", start)
    if method["sampler"] != "none":
        sampler = plugins.find("baselines", method["sampler"])
        _check_options(sampler.sample, options, f"{where}.options", skip=SAMPLER_ARGUMENTS)
        _check_values(sampler, options, f"{where}.options")
    elif options or start == "prior":
        raise ConfigError(f"{where}: sampler none returns the start itself; it takes no options and no prior start")
    if start == "prior" and "level" in method:
        raise ConfigError(f"{where}: a prior start has no level; it begins at the network's sigma_max")
    if "targets" in method and start == "prior":
        raise ConfigError(f"{where}.targets: a prior start has no atoms")
    if method.get("nfe") == "as_code" and method["sampler"] == "none":
        raise ConfigError(f"{where}.nfe: sampler none spends no evaluation, so there is none to add")
    for key in ("source_measure", "heights", "noises", "singular", *SINGULAR_OPTIONS):
        if key in method and start != "transport":
            raise ConfigError(f"{where}.{key}: only for start transport, not for {start}")
    _check_singular(method, where)
    if method.get("level") == "star" and "selection" not in config:
        raise ConfigError(f"{where}.level: star needs a selection block that finds sigma_M*")


def _check_singular(method: Mapping, where: str) -> None:
    kind = method.get("singular", "plain")
    for key, kinds in SINGULAR_OPTIONS.items():
        if key in method and kind not in kinds:
            raise ConfigError(f"{where}.{key}: singular {kind} takes none; only {', '.join(kinds)} do")
    if kind in SINGULAR_OPTIONS["tau"] and "tau" not in method:
        raise ConfigError(
            f"{where}.tau: singular {kind} needs it: the width of the smoothing in units of <x, y>, e.g. 0.5"
        )
    if kind == "as_code" and method.get("angle", 0) > 1:
        raise ConfigError(
            f"{where}.angle: {method['angle']} is no share of the range of angles, which as_code takes: 0..1"
        )


def _check_values(sampler, options: Mapping, where: str) -> None:
    """Values of a sampler's options, by its own ``check`` where it has one."""
    if not hasattr(sampler, "check"):
        return
    checked = inspect.signature(sampler.check).parameters
    try:
        sampler.check(**{key: value for key, value in options.items() if key in checked})
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def _check_selection(config: Mapping) -> None:
    if "selection" not in config:
        return
    selection = config["selection"]
    if selection["network"] not in config["networks"]:
        raise ConfigError(f'selection: no network "{selection["network"]}": found {", ".join(config["networks"])}')
    plugins.path("baselines", selection["sampler"])
    for sigma in selection["sigmas"]:
        _check_sigma(config, selection["network"], sigma, "selection.sigmas")
    trial = {"network": selection["network"], "sampler": selection["sampler"], "start": "transport"}
    trial |= {"level": selection["sigmas"], "nfe_budgets": [selection["nfe"]]}
    for cell in grid.cells({**config, "methods": {"selection": trial}}, "selection"):
        if cell["reason"]:
            raise ConfigError(f"selection: {cell['reason']}")
    seed = selection.get("sample_seed", grid.SELECTION_SEED)
    reported = {seed for method in config["methods"].values() for seed in method.get("sample_seeds", [])}
    if seed in reported | set(config["sample_seeds"]):
        raise ConfigError(f"selection.sample_seed: {seed} is also a reported seed; choose another, e.g. 1000")


def _check_identity(config: Mapping) -> None:
    for pair in config.get("identity", {}).get("pairs", []):
        for name in pair:
            if name not in config["methods"]:
                raise ConfigError(f'identity.pairs: no method "{name}" under methods')
        one, two = (list(grid.cells(config, name)) for name in pair)
        cells = [[(cell["nfe"], cell["sample_seed"]) for cell in side if not cell["reason"]] for side in (one, two)]
        if cells[0] != cells[1] or len(set(cells[0])) != len(cells[0]):
            raise ConfigError(
                f"identity.pairs: {pair[0]} and {pair[1]} must have the same seeds and evaluations, one level"
            )
    asked = config.get("metrics", plugins.names("metrics"))
    stems = {stem for name in asked for stem in plugins.find("metrics", name).DIRECTION}
    for metric in [name for key in ("margins", "relative_margins") for name in config.get("identity", {}).get(key, {})]:
        if metric.rpartition("_")[0] not in stems:
            raise ConfigError(
                f'identity: no metric "{metric}"; allowed are {", ".join(sorted(stems))} with their suffix'
            )


def _check_coupling(config: Mapping) -> None:
    for name in config.get("coupling", {}).get("methods", []):
        if name not in config["methods"]:
            raise ConfigError(f'coupling.methods: no method "{name}" under methods')
        method, where = config["methods"][name], f"coupling.methods: {name}"
        if method["sampler"] == "none" or isinstance(method.get("level"), list) or method.get("level") == "star":
            raise ConfigError(f"{where} must have a sampler and one level, no list and no star")
        if grid.transport_options(method)[1] != "normal" or method.get("start") == "gaussian":
            raise ConfigError(f"{where} must start from normal noise by transport, copy, fresh_noise or prior")
        for cell in grid.cells(grid.coupled(config, name), name):
            if cell["reason"]:
                raise ConfigError(f"{where}: {cell['reason']}")


def _check_pages(config: Mapping) -> None:
    folder = plugins.ROOT / "paper_figures"
    for kind, prefix in (("tables", "table_"), ("figures", "figure_")):
        found = sorted(path.stem for path in folder.glob(f"{prefix}*.py"))
        for name in config[kind]:
            if name not in found:
                raise ConfigError(f'{kind}: no "{name}" in paper_figures/: found {", ".join(found)}')


def _check_sigma(config: Mapping, network: str, sigma: float, where: str) -> None:
    chain = grid.chain_of(config, network)
    if not chain.sigma_min <= sigma <= chain.sigma_max:
        raise ConfigError(
            f"{where}: sigma_M = {sigma:g} lies outside the levels of network {network}, "
            f"[{chain.sigma_min:.4g}, {chain.sigma_max:.4g}]"
        )


def _check_levels(config: Mapping, name: str) -> None:
    method = config["methods"][name]
    for sigma in grid.numeric_levels(config, method):
        _check_sigma(config, method["network"], sigma, f"methods.{name}.level")
    cells = list(grid.cells(config, name))
    if all(cell["reason"] for cell in cells):
        raise ConfigError(f"methods.{name}: no budget can be met: {cells[0]['reason']}")
