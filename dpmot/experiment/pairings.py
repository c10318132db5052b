"""Networks whose noise and images are coupled in training, as a plan knows them, and networks that go on from others.

A network is the posterior mean under independent noise, or it is *coupled* (:mod:`dpmot.couplings`): then the only
trajectories that it knows are those of its own flow, from the prior. No torch is imported, but where a sampler has to
be tried out.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpmot import plugins
from dpmot.diffusion import weights
from dpmot.diffusion.schedule import Schedule
from dpmot.experiment.cells import Problem
from dpmot.experiment.methods import Method
from dpmot.experiment.networks import Network, Training
from dpmot.runtime import seals

if TYPE_CHECKING:
    from dpmot.experiment.plan import Experiment, Transport

DRAWN = ("minibatch", "semidiscrete")  # couplings from which batches can be drawn
NOT_A_MEAN = "is no posterior mean under independent noise"


@dataclass(frozen=True)
class Pair:
    """Solve the map from noise to the clean images of split A, by which trainings are coupled.

    Attributes:
        problem: its law and level, 0; one map a class for networks with labels.
        solver: with the coupling's own chi2.
        solved: whether heights are; those of the control are 0.
    """

    problem: Problem
    solver: "Transport"
    fit_seed: int
    solved: bool = True

    @property
    def name(self) -> str:
        """Of its file, in letters, digits and underscores."""
        per_class = "_per_class" if self.problem.per_class else ""
        chi2 = re.sub("[^a-z0-9]+", "_", str(self.solver.chi2).removesuffix(".0"))
        return f"clean_{f'chi2_{chi2}' if self.solved else 'zero'}{per_class}"

    @property
    def told(self) -> str:
        """How well it is solved, in words."""
        return f"chi2 {self.solver.chi2:g}" if self.solved else "heights 0"


def inherited(networks: Mapping[str, Network]) -> dict[str, Network]:
    """The networks with what those that rewire others have of these: kind, U-Net, and options that they do not state.

    Raises:
        ValueError: there is no such network, or none that can be trained further.
    """

    def whole(name: str, seen: tuple[str, ...] = ()) -> Network:
        network = networks[name]
        if not network.rewires:
            return network
        where, origin = f"networks.{name}.rewires", networks.get(network.rewires)
        if network.rewires in (*seen, name):
            raise ValueError(f"{where}: {' rewires '.join((*seen, name, network.rewires))}: none of them is the first")
        known = [other for other, one in networks.items() if other != name and (one.kind or one.rewires)]
        if origin is None or network.rewires not in known:
            hint = plugins.did_you_mean(network.rewires, known)
            told = "a student, which knows its own steps only" if origin else "no network here"
            raise ValueError(f'{where}: "{network.rewires}" is {told}: {hint}allowed: {", ".join(known) or "none"}')
        first = whole(network.rewires, (*seen, name))
        if first.how == "exact" or not hasattr(plugins.find("networks", str(first.kind)).Parametrisation, "loss"):
            raise ValueError(f"{where}: {network.rewires} is exact or only loaded; there is nothing in it to train")
        if network.kind not in (None, first.kind):
            told = f"{network.rewires} is of kind {first.kind}, so this one is, too"
            raise ValueError(f"networks.{name}.kind: {network.kind}; {told}: leave it out")
        _check_unet(name, network, first)
        _check_options(name, network, first)
        own = {"kind": first.kind, "options": {**first.options, **network.options}}
        return network.but(**own, **({} if network.unet.given() else {"unet": first.unet}))

    return {name: whole(name) for name in networks}


def _check_unet(name: str, network: Network, first: Network) -> None:
    """It has the layers of the first; what a file alone says of these, a configuration may say again."""
    own, there = network.unet.given(), first.unet.given()
    loaded = first.how == "loaded"
    if other := [key for key in own if (key in there or not loaded) and own[key] != there.get(key)]:
        told = f"{own[other[0]]}, and {network.rewires} has {there.get(other[0], 'the default')}"
        raise ValueError(f"networks.{name}.unet.{other[0]}: {told}, whose weights it goes on from: leave it out")


def _check_options(name: str, network: Network, first: Network) -> None:
    """It has the options of the first, but for those of levels and training: others would change what weights mean."""
    kind = plugins.find("networks", str(first.kind)).Parametrisation
    had = {key: one.default for key, one in signature(kind).parameters.items()} | first.options
    free: tuple[str, ...] = getattr(kind, "of_levels", ())
    for key, value in network.options.items():
        if key in had and key not in free and value != had[key]:
            told = f"{value!r}, and {network.rewires} has {had[key]!r}, whose weights it goes on from: leave it out"
            raise ValueError(f"networks.{name}.options.{key}: {told}; allowed: {', '.join(free) or 'none'}")


def law_of(experiment: "Experiment", name: str) -> str | None:
    """The coupling under which a network was trained, here or before; None where its noise was independent."""
    network = experiment.networks[name]
    if network.how == "loaded" and network.weights:
        files = [str(network.of_seed(seed).weights) for seed in experiment.trainings]
        return next(filter(None, (_said(Path(file)) for file in files)), None)
    return _stated(experiment, network)


def _stated(experiment: "Experiment", network: Network) -> str | None:
    """The same as the configuration says it, whatever a file of weights says."""
    if network.distillation and (own := plugins.constant("distillation", network.distillation, "COUPLING")):
        return str(own)
    if network.training and network.training.couples:
        return network.training.coupling
    origin = network.rewires or network.teacher
    return law_of(experiment, origin) if origin in experiment.networks else None


def _said(path: Path) -> str | None:
    """What the file of a network says of its coupling."""
    try:
        file = weights.files(path)[0]
        said = json.loads(seals.header(file).get("card", "{}")) if file.suffix == ".safetensors" else {}
        return (said.get("coupling") or {}).get("kind")
    except (ValueError, OSError, TypeError, AttributeError):
        return None  # what is wrong with a file is said elsewhere


def drawn_from(experiment: "Experiment", name: str) -> Training | None:
    """The training whose coupling the batches of a network come from; a student's are its teacher's, unless it says."""
    network = experiment.networks[name]
    if network.how not in ("trained", "student"):
        return None
    if network.training and network.training.couples:
        return network.training
    before = experiment.networks.get(str(network.teacher))  # a network that rewires draws by its own training alone
    while before and not (before.training and before.training.couples):
        before = experiment.networks.get(str(before.rewires))
    return before.training if before else None


def pairing(experiment: "Experiment", name: str) -> Pair | None:
    """The map that the training of a network needs; None where it needs none."""
    training = drawn_from(experiment, name)
    if training is None or training.coupling != "semidiscrete":
        return None
    network = experiment.networks[name]
    classes = network.classes or (experiment.networks[network.teacher].classes if network.teacher else 0)
    solver = experiment.transport.but(chi2=training.chi2) if training.chi2 else experiment.transport
    return Pair(Problem("A", "normal", 0.0, 1, bool(classes)), solver, experiment.fit_seed, training.heights is None)


def pairings(experiment: "Experiment") -> dict[str, Pair]:
    """All of them, by name."""
    found = (pairing(experiment, name) for name in experiment.networks)
    return {one.name: one for one in found if one}


def drawing(experiment: "Experiment", name: str) -> tuple[dict[str, Any] | None, str | None]:
    """What the training of a network is told of its coupling, and the name of the map that it needs; None for none."""
    training, pair = drawn_from(experiment, name), pairing(experiment, name)
    return _options(training) if training else None, pair.name if pair else None


def _options(training: Training) -> dict[str, Any]:
    """What a configuration says of a coupling; ``rounded`` is a wish: see :func:`dpmot.couplings.paired`."""
    stated = {key: getattr(training, key) for key in ("tau", "mirrored", "noises")}
    rounded = training.coupling == "semidiscrete" and training.precision == "bfloat16"
    known = {key: value for key, value in stated.items() if value is not None}
    return {"kind": training.coupling, **known, **({"rounded": True} if rounded else {})}


def check_networks(experiment: "Experiment") -> None:
    """What students and other networks do with a coupling.

    Raises:
        ValueError: a file that was coupled otherwise than its training says; a student that is coupled otherwise than
            its teacher, or not at all; a batch of more pairs than are assigned together.
    """
    for name, network in experiment.networks.items():
        training, where = network.training, f"networks.{name}.training"
        _check_noises(experiment, name, where)
        if training and network.weights and (said := law_of(experiment, name)) != _stated(experiment, network):
            told = f"{network.weights} was trained with coupling {said or 'independent'}"
            raise ValueError(f"{where}: its coupling is {_stated(experiment, network) or 'independent'}, {told}")
        if network.how != "student":
            continue
        law, own = law_of(experiment, str(network.teacher)), training.coupling if training else None
        if own is not None and own != (law or "independent"):
            told = f"a student follows its teacher {network.teacher}, whose coupling is {law or 'independent'}"
            raise ValueError(f"{where}.coupling: {own}; {told}: leave it out")
        taught = drawn_from(experiment, str(network.teacher))
        if training and training.couples and taught and training.heights != taught.heights:
            told = f"a student follows its teacher {network.teacher}, whose are {taught.heights or 'solved'}"
            raise ValueError(f"{where}.heights: {training.heights or 'solved'}; {told}: leave coupling and heights out")
        if law and law not in DRAWN:
            told = f"teacher {network.teacher} was trained with the {law} coupling, whose pairs are not kept"
            raise ValueError(f"networks.{name}.teacher: {told}: choose the network before it")
        if law and drawn_from(experiment, name) is None:
            told = f"teacher {network.teacher} was loaded, and trained with the {law} coupling"
            raise ValueError(f"{where}: {told}: say coupling: {law}, from which the student's batches are to be drawn")


def _check_noises(experiment: "Experiment", name: str, where: str) -> None:
    """Of the pairs that are assigned together a batch is taken, a student's too."""
    network, drawn = experiment.networks[name], drawn_from(experiment, name)
    batch = (network.training and network.training.batch) or Schedule.batch
    if drawn and drawn.noises and drawn.noises < batch:
        of = "" if drawn is network.training else f" of teacher {network.teacher}"
        told = f"of which no batch of {batch} can be taken; give at least {batch}, a smaller batch, or leave it out"
        raise ValueError(f"{where}.noises: {drawn.noises}{of}, {told}")


def check_methods(experiment: "Experiment") -> None:
    """Coupled networks serve deterministic samplers that begin at the prior, and nothing else.

    Raises:
        ValueError: a method, or the search for sigma_M*, does something else with one.
    """
    selection = experiment.selection
    if selection and (law := law_of(experiment, selection.network)):
        because = f"network {selection.network} is trained with the {law} coupling and {NOT_A_MEAN}"
        raise ValueError(f"selection.network: {because}, so it has no sigma_M*: choose another network")
    for name, method in experiment.drawn.items():
        if (law := law_of(experiment, method.network)) and (told := _refused(experiment, method)):
            because = f"network {method.network} is trained with the {law} coupling and {NOT_A_MEAN}"
            raise ValueError(f"methods.{name}: {told}: {because}")


def _refused(experiment: "Experiment", method: Method) -> str | None:
    """What a method on a coupled network must not do."""
    if told := unfit(method):
        return told
    if _stochastic(experiment, method):
        stated = ", ".join(f"{key} {value}" for key, value in method.options.items())
        told = f"sampler {method.sampler}{f' with {stated}' if stated else ''} draws noise on its way"
        return f"{told}; use a deterministic one, such as ddim, edm, ipndm, dpm_solver_pp"
    return None


def unfit(method: Method) -> str | None:
    """What a method does that no coupled network serves, whatever its sampler: its start, its guidance."""
    if method.start != "prior":
        at = "begins with noise that is independent of the image, where the network knows T(noise) + sigma noise"
        return f"start {method.start} {at}; use start prior, or the network before its coupling"
    if method.guidance not in (None, 0, 1):
        return f"guidance {method.guidance:g} adds up scores, which it does not have; leave it out, or give 0 or 1"
    if "law" in method.start_arguments:
        return f"sampler {method.sampler} starts from {method.start_arguments['law']} noise; choose another"
    return None


def _stochastic(experiment: "Experiment", method: Method) -> bool:
    """Whether a sampler draws noise on its way, at any of its budgets."""
    import torch  # of plans, only those with a coupled network pay for it

    from dpmot.diffusion import metering
    from dpmot.experiment import grid

    chain = grid.chain_of(experiment, method.network)
    steps = {cell.steps for cell in grid.cells_of(experiment, method) if not cell.reason}
    if chain.step_counts is None:
        steps = {min(steps), max(steps)} if steps else set()
    x = torch.zeros(1, *(experiment.image_shape or (2,)), dtype=torch.float64)
    for cell in grid.cells_of(experiment, method.but(sample_seeds=method.sample_seeds[:1])):
        if not cell.reason and cell.steps in steps:
            sigmas = torch.from_numpy(grid.sigmas(chain, cell).copy())
            if metering.draws_noise(method.sampler, x, sigmas, method.options):
                return True
    return False


def told(experiment: "Experiment") -> Iterator[str]:
    """What a plan says of coupled networks, and of the maps that they are trained with."""
    for name, network in experiment.networks.items():
        if not (law := law_of(experiment, name)):
            continue
        of = (
            f"rewires {network.rewires} in {network.training.steps} steps, "
            if network.rewires and network.training
            else ""
        )
        yield f"network {name}: {of}{law} coupling: no posterior mean, so deterministic samplers from the prior alone"
    for name, pair in pairings(experiment).items():
        users = ", ".join(
            one for one in experiment.networks if (found := pairing(experiment, one)) and found.name == name
        )
        yield f"pair {name}: the map onto the clean images, {pair.told}, for {users}"
