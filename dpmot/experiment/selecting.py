"""Which methods of a configuration an experiment has: those that ``only`` names and that are not null."""

from collections.abc import Mapping, Sequence
from typing import Literal

from dpmot import plugins
from dpmot.experiment import checks
from dpmot.experiment.checks import ConfigError
from dpmot.experiment.plan import Experiment


def selected(config: Mapping, asked: Mapping) -> Experiment:
    """The experiment with the methods that ``only`` names and that are not null, and with what hangs on them.

    What the command line (``asked``) leaves out makes another experiment of it; what its own file does is part of it.
    """
    config = dict(config)
    if "feature_options" in config:
        told = "options of an extractor stand under its own name, e.g. `vit: {weights: ...}`"
        raise ConfigError(f"feature_options: {told}")
    only, methods, removed = config.pop("only", None), config.get("methods"), []
    if isinstance(methods, Mapping):
        removed = [str(name) for name, method in methods.items() if method is None]
        config["methods"] = {name: method for name, method in methods.items() if method is not None}
    experiment = checks.parsed(config)
    wanted = list(experiment.methods) if only is None else only if isinstance(only, list) else [only]
    for name in wanted:
        if not isinstance(name, str) or name not in experiment.methods:
            hint = plugins.did_you_mean(str(name), experiment.methods)
            raise ConfigError(f'only: no method "{name}" here: {hint}found {", ".join(experiment.methods)}')
    if not wanted:
        raise ConfigError(f"only: [] leaves no method; name some of {', '.join(experiment.methods)}")
    unwanted, given = [name for name in experiment.methods if name not in wanted], asked.get("methods")
    now = [name for name in removed if isinstance(given, Mapping) and name in given and given[name] is None]
    now += unwanted if "only" in asked else []
    before = [name for name in (*removed, *unwanted) if name not in now]
    experiment = _without(experiment, now, "notes") if now else experiment  # first: what either may have left unused
    return _without(experiment, before, "left_out") if before else experiment


def _without(experiment: Experiment, removed: Sequence[str], told_in: Literal["notes", "left_out"]) -> Experiment:
    """The experiment without these methods, and without what asked for them alone; ``told_in`` says what went."""
    methods = {name: method for name, method in experiment.methods.items() if name not in removed}
    identity, coupling, selection = experiment.identity, experiment.coupling, experiment.selection
    told = [f"methods {', '.join(removed)}"]
    if identity:
        pairs, number = [pair for pair in identity.pairs if not {*pair} & {*removed}], len(identity.pairs)
        told += [f"{number - len(pairs)} of {number} pairs of the identity test"] if len(pairs) < number else []
        identity = identity.but(pairs=pairs) if pairs else None
    if coupling:
        coupled = [name for name in coupling.methods if name not in removed]
        told += [] if coupled else ["the coupling"]
        coupling = coupling.but(methods=coupled) if coupled else None
    if selection and not any(getattr(method, "level", None) == "star" for method in methods.values()):
        told.append("the search for sigma_M*")
        selection = None
    asked: set[str | None] = {one.network for one in (*methods.values(), *([selection] if selection else ()))}
    while more := {
        other
        for name, network in experiment.networks.items()
        if name in asked
        for other in (network.teacher, network.rewires)
        if other not in asked
    }:
        asked |= more
    networks = {name: network for name, network in experiment.networks.items() if name in asked}
    if unused := [name for name in experiment.networks if name not in asked]:
        told.append(f"networks {', '.join(unused)}")
    headline = [name for name in experiment.headline if name not in removed]
    changes = {"headline": headline, "methods": methods, "networks": networks, "identity": identity}
    said = {told_in: [*getattr(experiment, told_in), f"left out: {'; '.join(told)}"]}
    return experiment.but(**changes, coupling=coupling, selection=selection, **said)
