"""The scale of a run: ``core``, as it is written, ``full``, or ``smoke``, which shows that it runs and nothing else.

A smoke run goes through every stage of an experiment in minutes: stand-in images in the shape of the data, tiny
networks, few steps, samples, seeds and levels. Of the methods it keeps a few that together have every start, sampler,
network and option, and of each the smallest budget that it can meet. Its results lie in
``results/<experiment>_smoke/``; its fingerprint, tables and figures say that its numbers mean nothing.
"""

import inspect
import math
from typing import Any

from dpmot import plugins
from dpmot.experiment import grid
from dpmot.experiment.networks import Network, Training, Unet
from dpmot.experiment.plan import Experiment, Given, Method

SUFFIX = "_smoke"
SAMPLES = 200  # of a data set that needs no files and keeps its own size
STAND_INS = 60, 100  # samples, and images of each of A, B and C, in the place of others
LARGE_STAND_INS = 24, 24  # the same of large images: C_T asks for 20 of both when one of 20 groups is left out
LARGE = 3 * 128 * 128  # numbers of an image
STEPS, BATCH, EPOCHS, PAIRS, CHI2 = 2, 4, 2, 4, 1.0
PROCESSES = 2  # that share a batch
UNET: dict[str, Any] = {"channels": 8, "multipliers": (1, 2), "embedding": 32, "attention": False}
LARGEST = 32  # pixels a side that the network sees; larger images come to it in patches
TELLS_NOTHING = ("label", "nfe_budgets", "sample_seeds", "level", "options")  # of what a method shows; two told apart


def smoke(experiment: Experiment) -> Experiment:
    """The same experiment at the scale of a smoke run; of one that has it already, itself.

    Args:
        experiment: complete, and checked.
    """
    shape = stand_in_shape(experiment)
    samples, images = LARGE_STAND_INS if math.prod(shape or ()) >= LARGE else STAND_INS
    changes: dict[str, Any] = {}
    if shape:
        options = {"of": experiment.dataset, "shape": list(shape), "num_images": [images] * 3}
        changes |= {"dataset": "stand_in", "dataset_options": options, "data_root": None, "download": False}
        changes |= {"features": Experiment.model_fields["features"].default, "feature_options": {}}
    stood = "stand_in" in (experiment.dataset, changes.get("dataset"))
    count = min(experiment.num_samples, samples if stood else SAMPLES)
    budgets = tuple(sorted(experiment.nfe_budgets)[:2])
    transport = experiment.transport  # few rows: no other noise pays off
    changes |= {
        "protocol": None,
        "headline": (),
        "experiment": experiment.experiment.removesuffix(SUFFIX) + SUFFIX,
        "processes": min(experiment.processes, PROCESSES),
        "num_samples": count,
        "sample_seeds": experiment.sample_seeds[:1],
        "nfe_budgets": budgets,
        "transport": transport.but(chi2=max(transport.chi2, CHI2), noise="plain"),
        "networks": {
            name: _network(network, _made(experiment, network, shape)) for name, network in experiment.networks.items()
        },
    }
    if experiment.training_seeds:
        changes["training_seeds"] = experiment.training_seeds[:2]
    if not experiment.classifier.weights:
        changes["classifier"] = experiment.classifier.but(epochs=EPOCHS)
    if selection := experiment.selection:
        changes["selection"] = selection.but(nfe=budgets[0], num_samples=count, sigmas=selection.sigmas[:2])
    if identity := experiment.identity:
        changes["identity"] = identity.but(pairs=identity.pairs[:1])
    if stood and experiment.num_atoms:
        changes["num_atoms"] = min(experiment.num_atoms, images)
    methods = {name: _lowered(method) for name, method in experiment.methods.items()}
    few = experiment.but(**changes, methods=methods)
    kept = telling(few)
    if coupling := few.coupling:
        names = tuple(name for name in coupling.methods if name in kept)
        few = few.but(coupling=coupling.but(methods=names, num_noises=200, num_samples=40))
    return few.but(methods={name: _method(few, method) for name, method in kept.items()})


def telling(experiment: Experiment) -> dict[str, Method | Given]:
    """Those of the identity test, and a few that together show what all do: each adds the most, of equals the first."""
    methods, coupling, identity = experiment.methods, experiment.coupling, experiment.identity
    coupled = coupling.methods if coupling else ()
    shows = {name: _shown(method, coupled=name in coupled) for name, method in methods.items()}
    kept = {name for pair in (identity.pairs if identity else ()) for name in pair}
    seen = set().union(*(shows[name] for name in kept))
    while (name := max(methods, key=lambda name: len(shows[name] - seen))) and not shows[name] <= seen:
        kept.add(name)
        seen |= shows[name]
    return {name: method for name, method in methods.items() if name in kept}


def _shown(method: Method | Given, *, coupled: bool) -> set[tuple[str, str]]:
    """What a method shows: all but label, budgets and seeds; of its level the kind; whether its start is coupled."""
    told = {key: value for key, value in method.given().items() if key not in TELLS_NOTHING}
    if isinstance(method, Given):
        return {(key, str(value)) for key, value in told.items()}
    told |= {"start": method.start, **method.options}
    told["level"] = "star" if method.level == "star" else type(method.level).__name__
    told |= {"coupled": method.start} if coupled else {}
    return {(key, str(value)) for key, value in told.items()}


def stand_in_shape(experiment: Experiment) -> tuple[int, ...] | None:
    """(C, H, W) of a data set that is read from files; None of one that needs none and stays."""
    module = plugins.find("data", experiment.dataset)
    of_files = hasattr(module, "SHAPE") or "size" in inspect.signature(module.load).parameters
    return experiment.image_shape if of_files else None


def _made(experiment: Experiment, network: Network, shape: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """The shape for which a network gets a tiny U-Net; None where it goes on from a loaded one, whose layers it has."""
    while network.rewires:
        network = experiment.networks[network.rewires]
        if network.how == "loaded":
            return None
    return shape


def _network(network: Network, shape: tuple[int, ...] | None) -> Network:
    changes: dict[str, Any] = {}
    if training := network.training:
        few: dict[str, Any] = {"steps": min(training.steps, STEPS), "batch": min(training.batch or BATCH, BATCH)}
        kept = {key: value for key, value in training.given().items() if key not in ("snapshots", "compile")}
        few |= {"chi2": max(training.chi2, CHI2)} if training.chi2 else {}
        changes["training"] = Training(**{**kept, **few})
    if shape and network.how == "trained" and not network.has_own_model:
        unet = Unet(**UNET, patch=patch(*shape[1:]))
        changes["unet"] = unet.but(classes=network.unet.classes) if network.unet.classes else unet
    if network.step_counts and not network.weights:
        changes["step_counts"] = network.step_counts[-1:]
    if network.distillation and "pairs" in plugins.arguments("distillation", network.distillation, "train"):
        counts = changes.get("step_counts", network.step_counts)
        changes["options"] = {**network.options, "pairs": PAIRS, "teacher_steps": max(counts or (1,))}
    return network.but(**changes)


def patch(height: int, width: int) -> int:
    """The smallest power of two in whose patches both sides are at most ``LARGEST``, as far as it divides them."""
    side = 1
    while max(height, width) > LARGEST * side and not (height % (2 * side) or width % (2 * side)):
        side *= 2
    return side


def _lowered(method: Method | Given) -> Method | Given:
    """One method whose start has no more of its options than stand-in images bear, as its file says (AT_MOST).

    Its prior is not balanced: a network of a few steps draws some classes never.
    """
    if isinstance(method, Given):
        return method
    most: Any = plugins.constant("starts", method.start, "AT_MOST") or {}
    options = {key: value for key, value in method.start_options.items() if key != "balanced"}
    few = options | {key: min(value, most[key]) for key, value in options.items() if key in most and value}
    return method if few == method.start_options else method.but(start_options=few)


def _method(experiment: Experiment, method: Method | Given) -> Method | Given:
    """One method with few seeds and levels, and the smallest budget that it can meet; few of given samples."""
    if isinstance(method, Given):
        return method.but(num_samples=min(method.num_samples or experiment.num_samples, experiment.num_samples))
    changes: dict[str, Any] = {"sample_seeds": method.sample_seeds[: 2 if method.group == "identity" else 1]}
    if isinstance(method.level, tuple):
        changes["level"] = tuple(sorted({method.level[0], method.level[-1]}))
    budgets = {max(experiment.nfe_budgets) if budget == "full" else budget for budget in method.nfe_budgets}
    for budget in sorted(budgets):
        few = method.but(**changes, nfe_budgets=(budget,))
        if not all(cell.reason for cell in grid.cells_of(experiment, few)):
            break
    return few
