"""What is refused of a configuration: the first thing that is wrong, in one line.

The types of :mod:`dpmot.experiment.plan` say which keys there are; the functions here say what fits together, by the
plug-ins that the configuration names, and raise a :class:`ConfigError`; those of networks stand in
:mod:`dpmot.experiment.checks_networks`. Nothing here imports torch.
"""

from pathlib import Path
from typing import Any

from dpmot import plugins
from dpmot.data import _given as given_images
from dpmot.experiment import conditional, grid, learning, members, pairings, spans
from dpmot.experiment.checks_networks import check_networks, check_trainings
from dpmot.experiment.fits import PARTS
from dpmot.experiment.plan import Experiment, Given, Method
from dpmot.experiment.refusals import (
    ConfigError,
    check_known,
    check_names,
    check_options,
    check_values,
    parsed,  # noqa: F401 - imported from here too
    told_as_fault,
)
from dpmot.experiment.smoke import stand_in_shape
from dpmot.features import Extractor, Offer

OF_STARTS = ("source_measure", "heights", "noises", "singular", "angle", "tau", "top_k")  # keys of a method
SAMPLER_ARGUMENTS = ("denoiser", "x", "sigmas", "noise", "callback")


def complete(experiment: Experiment) -> None:
    """What a whole experiment says together: plug-ins, options, levels, budgets, pages."""
    for name, method in experiment.drawn.items():
        check_known("network", method.network, experiment.networks, f"methods.{name}")
    if experiment.selection:
        check_known("network", experiment.selection.network, experiment.networks, "selection")
    for name in experiment.coupling.methods if experiment.coupling else ():
        _check_drawn(experiment, name, "coupling.methods")
    if experiment.shards > experiment.num_samples:
        told = f"{experiment.shards} are more than num_samples = {experiment.num_samples}, the samples of a cell"
        raise ConfigError(f"shards: {told}; give at most as many")
    with told_as_fault():
        check_trainings(experiment)
        experiment = members.members(experiment).experiment
        load = plugins.find("data", experiment.dataset).load
        check_options(load, experiment.dataset_options, "dataset_options", skip=("root",))
        check_values("data", experiment.dataset, experiment.dataset_options, "dataset_options.")
        check_networks(experiment)
        _check_features(experiment)
        for name, method in experiment.drawn.items():
            _check_method(experiment, method, f"methods.{name}")
        for name, samples in experiment.elsewhere.items():
            _check_given(samples, f"methods.{name}")
        for name in experiment.metrics:
            plugins.path("metrics", name)
        pairings.check_networks(experiment)
        _check_selection(experiment)
        _check_identity(experiment)
        conditional.check_balanced(experiment)
        _check_coupling(experiment)
        _check_pages(experiment)
        for name, method in experiment.drawn.items():
            _check_levels(experiment, name, method)
        pairings.check_methods(experiment)


def names(experiment: Experiment) -> None:
    """Starts, by which the experiment is completed, must exist; metrics that are left out too, and some be left."""
    with told_as_fault():
        for method in experiment.drawn.values():
            plugins.path("starts", method.start)
    known, left_out = plugins.names("metrics"), experiment.metrics_except
    if foreign := sorted({*left_out} - {*known}):
        raise ConfigError(f"metrics_except: there is no {', '.join(foreign)}; choose among {', '.join(known)}")
    if {*(experiment.metrics or known)} <= {*left_out}:
        raise ConfigError(f"metrics_except: {', '.join(left_out)} are all metrics that are asked for; leave one")


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
    check_known("network", method.network, experiment.networks, where)
    if method.sampler != "none":
        sample = plugins.find("baselines", method.sampler).sample
        check_options(sample, method.options, f"{where}.options", skip=SAMPLER_ARGUMENTS)
        check_values("baselines", method.sampler, method.options, f"{where}.options: ")
    elif method.options or not method.has_level:
        raise ConfigError(f"{where}: sampler none returns the start itself; it takes no options and no prior start")
    if method.nfe == "as_code" and method.sampler == "none":
        raise ConfigError(f"{where}.nfe: sampler none spends no evaluation, so there is none to add")
    _check_start(method, where)
    conditional.check_method(method, experiment.networks[method.network], where)
    learning.check(experiment, method, where)
    spans.check(experiment, method, where)
    if method.level == "star" and not experiment.selection:
        raise ConfigError(f"{where}.level: star needs a selection block that finds sigma_M*")


def _check_given(samples: Given, where: str) -> None:
    """Files of samples must be there; what is in them is read by the job."""
    for key, paths in {"samples": samples.paths, "train_reference": (samples.train_reference,)}.items():
        for path in filter(None, paths):
            with told_as_fault(f"{where}.{key}: "):
                given_images.file_state(Path(path))


def _check_drawn(experiment: Experiment, name: str, where: str) -> None:
    """A method whose samples are drawn here."""
    check_known("method", name, experiment.methods, where)
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
    check_names(own, method.start_options, f"{where}.start_options", skip=OF_STARTS)
    if (part := method.start_options.get("part", PARTS[0])) not in PARTS:
        raise ConfigError(f"{where}.part: {part!r} is not one of these; allowed: {', '.join(PARTS)}")
    options = {**{key: getattr(method, key) for key in own if key in given}, **method.start_options}
    check_values("starts", method.start, options, f"{where}.")


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
