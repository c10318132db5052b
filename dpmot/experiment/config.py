"""The configuration of an experiment: read, completed with defaults, and refused in one clear line if wrong.

The Snakefile calls :func:`validate` before the workflow is built, the command line calls :func:`load`; both see the
same rules. Importing it imports no torch.
"""

import copy
import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from dpmot import plugins
from dpmot.data import MissingData, data_root, require
from dpmot.diffusion import weights
from dpmot.experiment import checks, grid
from dpmot.experiment.checks import ConfigError
from dpmot.experiment.smoke import smoke

DEFAULTS = {
    "scale": "core",
    "weights": "load",
    "dataset_options": {},
    "threads": 1,
    "device": "cpu",
    "training_seed": 0,
    "atom_seed": 0,
    "num_atoms": None,
    "fit_seed": 0,
    "features": ["classifier"],
    "download": False,
    "classifier": {},
    "transport": {"chi2": 0.01},
    "tables": ["table_1_quality", "table_2_mode_mixture"],
    "figures": [],
}
# How the field's tables are made. A key that the configuration gives itself wins, and tables say that it was altered.
PROTOCOLS = {
    "edm": {"num_samples": 50_000, "sample_seeds": [0, 1, 2]},  # Karras et al. 2022: 50,000, the least of three runs
    "dpm-ot": {"num_samples": 40_000, "sample_seeds": [0]},  # Li et al. 2023 on CIFAR-10
    "adm": {"num_samples": 50_000, "sample_seeds": [0]},  # Dhariwal & Nichol 2021
}
APART = {"scale", "full", "protocol", "extends"}  # keys that have no place under `full`


def load(files: Sequence[Path], overrides: Sequence[str] = ()) -> dict:
    """Read configuration files, later ones over earlier ones, then ``key=value`` overrides (values in YAML).

    Raises:
        ConfigError: a file is missing or no YAML mapping, an override has no ``=``, or :func:`validate` refuses.
    """
    config: dict = {}
    for file in files:
        _merge(config, _read(Path(file)))
    given: dict = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f'--config takes key=value, got "{text}"')
        try:
            _merge(given, {key: yaml.safe_load(value)})
        except yaml.YAMLError as error:
            raise ConfigError(f"--config {key}: {' '.join(str(error).split())}") from None
    return validate(combined(config, given))


def _read(file: Path) -> dict:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read the configuration {file}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{file} must hold a mapping of keys to values, found {type(content).__name__}")
    return _apart(content)


def typed(value: object) -> object:
    """A value of Snakemake's ``--config``, which reads nested values as text: every text is read as YAML again."""
    if isinstance(value, Mapping):
        return {key: typed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [typed(one) for one in value]
    return yaml.safe_load(value) if isinstance(value, str) else value


def combined(config: Mapping, overrides: Mapping) -> dict:
    """Files and overrides as one configuration: what it extends, what it keeps for ``scale: full``, overrides last.

    Raises:
        ConfigError: ``scale: full`` is asked for and there is nothing to it, or that is no configuration.
    """
    config, overrides = _apart(config), _apart(overrides)
    if isinstance(overrides.get("full"), dict):
        _merge(config, {"full": overrides.pop("full")})
    whole, core = _extended(config, scale="full"), _extended(config)
    if whole != core:
        checks.against_schema(merged(whole, overrides))
    elif overrides.get("scale") == "full":
        raise ConfigError("scale: this experiment keeps nothing under `full`; leave it out: it is whole as it is")
    return merged(whole if overrides.get("scale", config.get("scale")) == "full" else core, overrides)


def merged(config: Mapping, overrides: Mapping) -> dict:
    """The configuration with overrides merged into it, mappings key by key."""
    result = _apart(config)
    _merge(result, overrides)
    return result


def _apart(value: object) -> object:
    """A copy in which what YAML's anchors share is no longer one object: a change of one is none of the others."""
    if isinstance(value, Mapping):
        return {key: _apart(one) for key, one in value.items()}
    return [_apart(one) for one in value] if isinstance(value, list) else value


def _merge(base: dict, update: Mapping) -> None:
    for key, value in update.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def validate(config: Mapping) -> dict:
    """Check a configuration and fill in the defaults.

    Returns:
        A new, complete configuration of plain values.

    Raises:
        ConfigError: the first thing that is wrong.
    """
    config = _extended(config, scale=config.get("scale"))
    checks.against_schema(config)
    config = {**copy.deepcopy(DEFAULTS), **config}
    config["networks"] = {name: _described(card, f"networks.{name}") for name, card in config["networks"].items()}
    if left_out := config.pop("metrics_except", []):
        known = plugins.names("metrics")
        if foreign := sorted({*left_out} - {*known}):
            raise ConfigError(f"metrics_except: there is no {', '.join(foreign)}; choose among {', '.join(known)}")
        config["metrics"] = [name for name in config.get("metrics", known) if name not in left_out]
        if not config["metrics"]:
            raise ConfigError(f"metrics_except: {', '.join(left_out)} are all metrics that are asked for; leave one")
    if "vit" in config:
        config["vit"] = _pinned(config["vit"])
    if config["weights"] == "train":
        config |= _untrained(config)
    checks.complete(config)
    if config["scale"] == "smoke":
        config = smoke(config)
        checks.complete(config)
    return config


def _pinned(vit: Mapping) -> dict:
    """The classifier with the hash of its card, where that is known."""
    try:
        known = weights.card(vit["card"], weights.CLASSIFIERS)["sha256"] if "card" in vit else None
    except ValueError as error:
        raise ConfigError(f"vit.card: {error}") from None
    return {**({"sha256": known} if known else {}), **vit}


def _untrained(config: Mapping) -> dict:
    """Networks and classifier without the files that are loaded by default, where the configuration can train them."""
    pinned = ("weights", "sha256")
    classifier = {k: v for k, v in config["classifier"].items() if k not in pinned}
    for name, card in config["networks"].items():
        if "weights" in card and "training" not in card:
            raise ConfigError(f"weights: networks.{name} has no `training`, it can only be loaded; choose load")
    networks = {
        name: {k: v for k, v in card.items() if "training" not in card or k not in pinned}
        for name, card in config["networks"].items()
    }
    return {"networks": networks, "classifier": classifier}


def _extended(config: Mapping, seen: tuple[str, ...] = (), *, scale: str | None = None) -> dict:
    """The configuration over the one that it extends, if it names one, each with its ``full`` over it at that scale.

    A path is from here, or from the project's root.
    """
    config = dict(config)
    if isinstance(config.get("protocol"), str):
        config = {**PROTOCOLS.get(config["protocol"], PROTOCOLS["edm"]), **config}  # the schema refuses others
    more = config.pop("full", {})
    if not isinstance(more, Mapping) or APART & set(more):
        raise ConfigError(f"full: {more!r}; give keys and values, and none of {', '.join(sorted(APART))}")
    base = config.pop("extends", None)
    if base is not None and not isinstance(base, str):
        raise ConfigError(f"extends: {base!r} is no path of a configuration, e.g. config/digits.yaml")
    if base in seen:
        raise ConfigError(f"extends: {' extends '.join([*seen, base])}: a configuration cannot extend itself")
    if base is not None:
        here = Path(base) if Path(base).exists() else plugins.ROOT / base
        below = _read(here if here.exists() else Path(base))
        config = merged(_extended(below, (*seen, base), scale=scale), config)
    return merged(config, more) if scale == "full" else config


def missing_data(config: Mapping) -> str | None:
    """What files of data set and features are not there and where to put them; None where nothing is missing.

    Plans are made without them.
    """
    module, root = plugins.find("data", config["dataset"]), config.get("data_root")
    choosing = [name for name in inspect.signature(module.expected).parameters if name in config["dataset_options"]]
    try:
        paths = module.expected(
            Path(root) if root else None, **{key: config["dataset_options"][key] for key in choosing}
        )
        fetched = hasattr(module, "download")
        if not (config["download"] and fetched):
            require(paths, remedy="set download: true to fetch it" if fetched else "")
        for name in config["features"]:
            if files := plugins.constant("features", name, "EXPECTED"):
                require([data_root(root, files=files) / file for file in files])
    except MissingData as error:
        return str(error)
    return None


def missing_weights(config: Mapping) -> str | None:
    """What weights of features are not there that lie in no data root; None where none is missing, or it is fetched.

    Imports torch where such features are asked for: for the start of a run, before hours of training.
    """
    given = {"inception": {"weights": config.get("inception_weights")}, "clip": {}}
    try:
        for name in given if not config["download"] else ():
            if name in config["features"]:
                plugins.find("features", name).resolve_weights(**given[name])
    except (OSError, ValueError) as error:
        return str(error)
    return None


def _described(network: Mapping, where: str) -> dict:
    """A network with what its card says filled in."""
    if "card" not in network:
        return dict(network)
    try:
        card = weights.card(network["card"])
    except ValueError as error:
        raise ConfigError(f"{where}.card: {error}") from None
    if "needs" in card and "kind" not in network:
        raise ConfigError(
            f"{where}.card: {network['card']} needs {card['needs']}, which this project does not contain: give as "
            f"kind a file of dpmot/diffusion/networks/ that builds it (docs/extending.md)"
        )
    known = {key: card[key] for key in ("kind", "options", "sha256") if card[key] is not None}
    return {**known, **network}


def describe(config: Mapping) -> Iterator[str]:
    """Lines of the plan: every method, its budgets with counted evaluations, and what is skipped and why."""
    for name, method in config["methods"].items():
        yield f"{name}: {method.get('label', name)} on {method['network']}"
        seen = set()
        for cell in grid.cells(config, name):
            key = (cell["nfe_budget"], cell["sigma_start"])
            if key in seen:
                continue
            seen.add(key)
            sigma = "sigma_M*" if cell["sigma_start"] is None else f"sigma {cell['sigma_start']:.4g}"
            outcome = f"skipped: {cell['reason']}" if cell["reason"] else f"{cell['nfe']} evaluations from {sigma}"
            yield f"  NFE {cell['nfe_budget']}: {outcome}"
