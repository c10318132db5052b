"""The configuration of an experiment: YAML, and what the command line changes, read into :class:`Experiment`.

Snakefile and command line both call :func:`load`; what is wrong is one clear line, a :class:`ConfigError`. Importing it
imports no torch.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dpmot import plugins
from dpmot.diffusion import hub, weights
from dpmot.experiment import checks, grid, members, pairings, yaml_text
from dpmot.experiment.checks import ConfigError
from dpmot.experiment.plan import Experiment, Given, Network
from dpmot.experiment.refusals import told_as_fault
from dpmot.experiment.selecting import selected
from dpmot.experiment.smoke import SUFFIX, smoke
from dpmot.experiment.values import PROTOCOLS
from dpmot.runtime.fingerprint import digest

APART = {"scale", "full", "protocol", "extends"}  # keys that have no place under `full`
OF_THE_MACHINE = {"data_root", "download", "device", "threads", "processes", "shards"}
HOW_IT_RUNS = {"experiment", "scale", "tables", "figures"} | OF_THE_MACHINE
LONGEST = 40  # letters of what an override adds to the name of an experiment


def load(files: Sequence[Path | str], overrides: Sequence[str] | Mapping[str, Any] = ()) -> Experiment:
    """Read a configuration file, and overrides: further files, then ``key=value`` (in YAML) or values."""
    config, *more = [_read(Path(file)) for file in files] or [{}]
    given: dict[str, Any] = reduce(_over, more, {})
    values: dict[str, Any] = dict(overrides) if isinstance(overrides, Mapping) else {}
    for text in () if isinstance(overrides, Mapping) else overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f'--config takes key=value, got "{text}"')
        if key in values:
            raise ConfigError(f'--config gives "{key}" twice; give it once')
        values[key] = typed(value, key)
    return resolved(config, _over(given, values))


def _read(file: Path) -> dict:
    try:
        content = yaml_text.read(file.read_bytes(), f"{file} is not valid YAML")
    except OSError as error:
        there = [path.as_posix() for path in sorted(Path("config").glob("*.yaml"))]
        hint = plugins.did_you_mean(file.as_posix(), there).strip()
        told = f"{error.strerror}; {hint}" if hint else error.strerror
        raise ConfigError(f"Cannot read the configuration {file}: {told}") from None
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        raise ConfigError(f"{file} must hold a mapping of keys to values, found {found}")
    if "extends" in content and "experiment" not in content:  # lest it write over what it extends
        content["experiment"] = re.sub("[^a-z0-9]+", "_", file.stem.lower())
        if content["experiment"] == "_" or file.stem.lower() == Path(str(content["extends"])).stem.lower():
            raise ConfigError(f"{file}: its name is no name of an experiment of its own; give it `experiment:`")
    return content


def typed(value: Any, key: str = "") -> Any:
    """A value of ``--config``: YAML in a text; what Snakemake has read already is read again in its parts."""
    if isinstance(value, Mapping):
        return {name: typed(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [typed(inner, key) for inner in value]
    try:
        return yaml_text.read_override(value, f"--config {key}".rstrip()) if isinstance(value, str) else value
    except ValueError as error:
        raise ConfigError(str(error)) from None


def resolved(config: Mapping, overrides: Mapping) -> Experiment:
    """Files and overrides as one experiment: what it extends, what it keeps for ``scale: full``, overrides last.

    An experiment whose values were overridden has a name, and so a folder, of its own, unless the overrides name it.
    """
    scale, under_full = overrides.get("scale", config.get("scale")), overrides.get("full")
    overrides = {key: value for key, value in overrides.items() if key != "full"}
    whole, core = _extended(config, scale="full"), _extended(config)
    kept = merged(whole, _under_full(under_full))
    asked = _over(overrides, _under_full(under_full) if scale == "full" else {})
    if kept != core:
        selected(merged(kept, overrides), asked)
    elif overrides.get("scale") == "full":
        raise ConfigError("scale: this experiment keeps nothing under `full`; leave it out: it is whole as it is")
    written = whole if scale == "full" else core
    experiment = validate(merged(kept if scale == "full" else core, overrides), asked)
    changes = {**overrides, **({"full": under_full} if under_full and scale == "full" else {})}
    changed = {key: value for key, value in changes.items() if key not in HOW_IT_RUNS}
    named = "experiment" in overrides or "experiment" in (under_full or {})
    return _named(experiment, written, changed) if changed and not named else experiment


def _under_full(given: Any) -> Mapping:
    if given is not None and (not isinstance(given, Mapping) or APART & set(given)):
        raise ConfigError(f"full: {given!r}; give keys and values, and none of {', '.join(sorted(APART))}")
    return given or {}


def _named(experiment: Experiment, written: Mapping, changed: Mapping[str, Any]) -> Experiment:
    """The experiment under a name that says what was changed, where that makes another of what was written."""
    try:
        if validate(merged(written, {"scale": experiment.scale})).scientific() == experiment.scientific():
            return experiment
    except ConfigError:
        pass  # what was written needs the changes
    stem = experiment.experiment.removesuffix(SUFFIX)
    slug = "_".join(f"{key}_{_word(value)}" for key, value in changed.items())
    exact = re.fullmatch("[a-z0-9_]+", slug) and len(slug) <= LONGEST
    name = f"{stem}_{slug if exact else digest(changed)[:8]}"
    told = f"{', '.join(changed)} overridden: results go to {name}; experiment={stem} writes over {stem}"
    suffix = SUFFIX if experiment.scale == "smoke" else ""
    return experiment.but(experiment=name + suffix, notes=(*experiment.notes, told))


def _word(value: Any) -> str:
    return "__".join(map(str, value)) if isinstance(value, list) else str(value)


def merged(config: Mapping, overrides: Mapping) -> dict:
    """The configuration with overrides merged into it, mappings key by key; null takes a method away."""
    methods, gone = config.get("methods"), overrides.get("methods")
    if isinstance(methods, Mapping) and isinstance(gone, Mapping):
        for name in [name for name, method in gone.items() if method is None and name not in methods]:
            known = list(map(str, methods))
            hint = plugins.did_you_mean(str(name), known)
            raise ConfigError(f'methods: no method "{name}" to take away: {hint}found {", ".join(known)}')
    return _over(config, overrides)


def _over(base: Any, update: Any) -> Any:
    """What stands in ``update`` instead of ``base``; of mappings key by key, in a copy, for YAML's anchors share."""
    if not (isinstance(base, Mapping) and isinstance(update, Mapping)):
        return update
    return {**base, **{key: _over(base.get(key), value) for key, value in update.items()}}


def validate(config: Mapping, asked: Mapping = MappingProxyType({})) -> Experiment:
    """The experiment that a configuration describes, complete; ``asked`` is what of it the command line gave."""
    experiment = selected(_extended(config, scale=config.get("scale")), asked)
    if experiment.experiment.endswith(SUFFIX) and experiment.scale != "smoke":
        raise ConfigError(f"experiment: {experiment.experiment} is the folder of a smoke run; choose another name")
    networks = {name: _described(network, f"networks.{name}") for name, network in experiment.networks.items()}
    with told_as_fault():
        networks = pairings.inherited(networks)
    checks.names(experiment)
    experiment = experiment.but(networks=networks).completed()
    experiment = experiment.but(notes=tuple(dict.fromkeys((*experiment.notes, *_twins(experiment)))))
    if experiment.weights == "train":
        experiment = _untrained(experiment)
    checks.complete(experiment)
    experiment = experiment.but(notes=tuple(dict.fromkeys((*experiment.notes, *grid.far(experiment)))))
    if experiment.scale == "smoke":
        experiment = smoke(experiment)
        checks.complete(experiment)
    return experiment


def _twins(experiment: Experiment) -> Iterator[str]:
    first: dict[str, str] = {}
    for name, method in experiment.methods.items():
        other = first.setdefault(digest(method.but(label=None, group=None).plain()), name)
        if other != name:
            yield f"methods {other} and {name} are one method under two names: tables show the same samples twice"


def _untrained(experiment: Experiment) -> Experiment:
    """Without the files that are loaded by default, where the configuration can train what they hold."""
    networks = {}
    for name, network in experiment.networks.items():
        if network.how == "loaded" and not network.training:
            raise ConfigError(f"weights: networks.{name} has no `training`, it can only be loaded; choose load")
        networks[name] = network.but(weights=None, sha256=None) if network.training else network
    return experiment.but(networks=networks, classifier=experiment.classifier.but(weights=None, sha256=None))


def _extended(config: Mapping, seen: tuple[str, ...] = (), *, scale: str | None = None) -> dict:
    """The configuration over the one that it extends, if it names one, each with its ``full`` over it at that scale.

    A path is from here, or from the project's root.
    """
    config = dict(config)
    if isinstance(config.get("protocol"), str):
        config = {**PROTOCOLS.get(config["protocol"], PROTOCOLS["edm"]), **config}  # the types refuse others
    more = _under_full(config.pop("full", None))
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


def _described(network: Network, where: str) -> Network:
    """A network with what its card says filled in."""
    if network.card is None:
        return network
    try:
        card = _of_repository(network.card) if network.card.startswith("hf:") else weights.card(network.card)
    except ValueError as error:
        raise ConfigError(f"{where}.card: {error}") from None
    if "needs" in card and network.kind is None:
        told = "give as kind a file of dpmot/diffusion/networks/ that builds it (docs/extending.md)"
        lacking = f"{network.card} needs {card['needs']}, which this project does not contain"
        raise ConfigError(f"{where}.card: {lacking}: {told}")
    known = {key: card[key] for key in ("kind", "options", "sha256") if card.get(key) is not None}
    network = network.but(**{key: value for key, value in known.items() if key not in network.model_fields_set})
    if network.kind is None:
        raise ConfigError(f"{where}.kind: say what {network.card} is: ddpm, edm, flow or ve, and its options")
    return network


def _of_repository(name: str) -> dict:
    """The card of weights at a repository, if there is one; a repository that no card has says nothing of itself."""
    repository, _ = hub.parsed(name)
    address = f"https://huggingface.co/{repository}"
    return next((card for card in weights.cards().values() if card["address"] == address), {})


def describe(experiment: Experiment) -> Iterator[str]:
    """Lines of the plan: every method, its budgets with counted evaluations, and what is skipped and why."""
    yield from (*experiment.notes, *experiment.left_out)
    yield from members.told(experiment)
    yield from pairings.told(experiment)
    for name, method in experiment.methods.items():
        if isinstance(method, Given):
            yield f"{name}: {method.label or name}, samples of {', '.join(method.paths)}"
            yield f"  NFE {method.nfe}: as stated, not drawn or counted here"
            continue
        guided = f", guided by w = {method.guidance:g}" if method.guidance is not None else ""
        guided += f": a guided evaluation is {method.cost} of the network" if method.cost > 1 else ""
        guided += ", kept by class: a sample costs all draws over those kept" if method.balanced else ""
        yield f"{name}: {method.label or name} on {method.network}{guided}"
        for cell in grid.cells_of(experiment, method.but(sample_seeds=method.sample_seeds[:1])):
            sigma = "sigma_M*" if cell.sigma_start is None else f"sigma {cell.sigma_start:.4g}"
            outcome = f"skipped: {cell.reason}" if cell.reason else f"{cell.nfe} evaluations from {sigma}"
            yield f"  NFE {cell.nfe_budget}: {outcome}"
