"""What an experiment spends, said before it starts: counted from the configuration, timed where it was run before."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from dpmot import plugins
from dpmot.diffusion import weights
from dpmot.diffusion.schedule import Schedule
from dpmot.experiment import grid, learning
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.measuring_jobs import parts as measured_parts
from dpmot.experiment.members import members
from dpmot.experiment.pairings import pairings
from dpmot.experiment.plan import Experiment, Network
from dpmot.experiment.smoke import stand_in_shape
from dpmot.runtime import seals
from dpmot.runtime.files import read_json

RATE = 6e10  # operations a second of two cores: 19.8 billion a step of Fashion-MNIST's network, .66 s on each of them
ASKED = " (students ask their teachers besides)"
THROWN_AWAY = " (besides samples that are thrown away)"


def cost(experiment: Experiment) -> str:
    """What a run from empty spends, in one line: images seen in training, network evaluations, transport problems.

    What students ask their teachers is left out; the search for sigma_M* counts whole, and may end sooner. The minutes
    are those of the committed run, if it was of this configuration; else the operations of the networks are counted on
    their shapes and divided by what two cores do.
    """
    written, experiment = experiment, members(experiment).experiment
    trained = {name: network for name, network in experiment.networks.items() if network.how in ("trained", "student")}
    seen, drawn = {name: _seen(network) for name, network in trained.items()}, _drawn(experiment)
    learned = _learned(experiment)
    taught = f", learning what is left open about {sum(learned.values()):,} more" if any(learned.values()) else ""
    taught += THROWN_AWAY if any(one.balanced for one in experiment.drawn.values()) else ""
    students = ASKED if any(network.teacher for network in trained.values()) else ""
    spent = {name: drawn[name] + learned[name] for name in drawn}
    line = (
        f"{experiment.experiment}: {len(trained)} networks see {sum(seen.values()):,} images in training{students}, "
        f"samples take {sum(drawn.values()):,} network evaluations{taught}, "
        f"{len(grid.problems(experiment)) + len(pairings(experiment))} transport problems"
    )
    line += _sharded(written) + _together(written)
    run = committed(written)
    if run is None:
        return f"{line}; how long that takes was not measured{_counted(experiment, seen, spent)}"
    with (run / "timings.csv").open(encoding="utf-8", newline="") as file:
        seconds = sum(float(row["wall_s"]) for row in csv.DictReader(file))
    return f"{line}; the jobs of the committed run took {seconds / 60:.0f} minutes together, several at a time"


def _sharded(experiment: Experiment) -> str:
    """Over how many jobs samples are drawn and measured, where that is more than one a method."""
    if experiment.shards == 1:
        return ""
    jobs, each = Jobs(experiment, Layout(Path())), members(experiment).experiment
    drawing, measuring = sum(len(jobs.shards(name) or [name]) for name in each.methods), len(measured_parts(each))
    return f", {experiment.shards} shards: {drawing} jobs draw or read samples and {measuring} measure them"


def _together(experiment: Experiment) -> str:
    """How many processes train one network, where that is more than one and any network is trained."""
    if experiment.processes == 1 or not any(network.how == "trained" for network in experiment.networks.values()):
        return ""
    each = f"{experiment.threads} thread" + "s" * (experiment.threads > 1)
    but = " but students" if any(network.teacher for network in experiment.networks.values()) else ""
    return f", {experiment.processes} processes of {each} train each network{but}"


def training_cost(experiment: Experiment, name: str) -> str:
    """What one network's training from its start spends, in one line; "" where it is loaded or known exactly."""
    network = experiment.networks[name]
    if network.how not in ("trained", "student"):
        return ""
    seen = _seen(network)
    counted = _counted(experiment, {name: seen}, dict.fromkeys(experiment.networks, 0))
    return f"{name}: sees {seen:,} images{ASKED if network.teacher else ''}{counted}"


def committed(experiment: Experiment) -> Path | None:
    """The folder of the committed and timed run of this configuration; None where there is none."""
    folder = plugins.ROOT / "results" / "reference" / experiment.experiment
    return folder if (folder / "timings.csv").is_file() and _was_of(folder, experiment) else None


def _was_of(folder: Path, experiment: Experiment) -> bool:
    """Whether a committed run was of this configuration, but for pages, later metrics and how keys were chosen."""
    ran = Experiment.model_validate(read_json(folder / "experiment.json")).completed()
    one, other = ({**each.scientific(), "scale": "", "weights": "", "metrics": ""} for each in (ran, experiment))
    return one == other and set(ran.metrics) <= set(experiment.metrics)


def _seen(network: Network) -> int:
    """Images of a training, of all its students."""
    training = network.training
    return len(network.step_counts or (1,)) * training.steps * (training.batch or Schedule.batch) if training else 0


def _drawn(experiment: Experiment) -> dict[str, int]:
    """Evaluations of each network for samples, sigma_M* and the coupling, strips left out."""
    spent, jobs = dict.fromkeys(experiment.networks, 0), Jobs(experiment, Layout(Path()))
    tasks = [jobs.drawings.task(name, method, experiment.num_samples) for name, method in experiment.drawn.items()]
    tasks += [jobs.select().task.drawn] if experiment.selection else []
    for task in tasks:
        spent[task.method.network] += task.num_samples * sum(cell.nfe for cell in task.cells if not cell.reason)
    if experiment.coupling:
        couple = jobs.couple().task
        for task in couple.samples.values():
            each = couple.num_samples * (1 + len(couple.moves))  # each noise and its moves
            spent[task.method.network] += each * sum(cell.nfe for cell in task.cells)
    return spent


def _learned(experiment: Experiment) -> dict[str, int]:
    """Evaluations of each network for what methods learn, about; gradients count as none."""
    spent, jobs = dict.fromkeys(experiment.networks, 0), Jobs(experiment, Layout(Path()))
    for name, method in experiment.drawn.items():
        if method.learns:
            task = jobs.learn(name).task
            each = (learning.evaluations(method, cell) for cell in task.cells if not cell.reason)
            spent[method.network] += task.num_samples * sum(each)
    return spent


def _counted(experiment: Experiment, seen: Mapping[str, int], drawn: Mapping[str, int]) -> str:
    shape = experiment.dataset_options.get("shape") or stand_in_shape(experiment)
    asked = [name for name in experiment.networks if name in seen or drawn[name]]
    if not shape or experiment.device == "cuda" or any(experiment.networks[name].how == "exact" for name in asked):
        return ""
    import torch  # which most plans do without

    if experiment.device == "auto" and torch.cuda.is_available():
        return ""
    work, unknown = _work(experiment, seen, drawn, shape)
    told = " and ".join(f"{_time(operations)} of {what}" for what, operations in work.items() if operations)
    said = (
        f"; its networks' operations are {told} at {RATE / 1e9:.0f} billion a second, as two cores do" if told else ""
    )
    return (
        f"{said}; operations of {', '.join(unknown)} are not counted: the weights do not say what they are of"
        if unknown
        else said
    )


def operations(experiment: Experiment) -> tuple[dict[str, float], list[str]]:
    """Operations of all networks, in training and in sampling, and the networks whose operations are not known.

    Raises:
        ValueError: the shape of the images is not known without the data.
    """
    experiment = members(experiment).experiment
    shape = experiment.dataset_options.get("shape") or stand_in_shape(experiment)
    if not shape:
        raise ValueError(f"{experiment.experiment}: the shape of its images is known from its data only")
    trained = {name: one for name, one in experiment.networks.items() if one.how in ("trained", "student")}
    learned = _learned(experiment)
    spent = {name: number + learned[name] for name, number in _drawn(experiment).items()}
    return _work(experiment, {name: _seen(one) for name, one in trained.items()}, spent, shape)


def _work(
    experiment: Experiment, seen: Mapping[str, int], drawn: Mapping[str, int], shape: Sequence[int]
) -> tuple[dict[str, float], list[str]]:
    from dpmot.diffusion.flops import TRAINING  # imports torch

    asked = [name for name in experiment.networks if name in seen or drawn[name]]
    each = {name: _evaluation(experiment, experiment.networks[name], shape) for name in asked}
    work: dict[str, float] = {"training": sum(TRAINING * (each[name] or 0) * number for name, number in seen.items())}
    work["sampling"] = sum((each[name] or 0) * drawn[name] for name in asked)
    return work, [name for name in asked if each[name] is None]


def _evaluation(experiment: Experiment, network: Network, shape: Sequence[int]) -> int | None:
    """Operations of a network on one image, a student's are its teacher's; None where its file does not tell them."""
    from dpmot.diffusion import flops

    if not network.weights and (before := network.teacher or network.rewires):
        return _evaluation(experiment, experiment.networks[before], shape)
    if network.fetched:
        return None
    if not network.weights:
        return flops.of_card({**network.plain(), "unet": network.unet.given(), "shape": shape})
    path = Path(network.weights)
    try:
        if path.is_dir():
            return flops.of_diffusers(read_json(weights.weights_file(path).with_name("config.json")))
        return flops.of_card(json.loads(seals.header(path)["card"]))
    except (ValueError, LookupError, TypeError, OSError, RuntimeError):
        return None


def _time(operations: float) -> str:
    minutes = operations / RATE / 60
    units = (("days", 1440), ("hours", 60), ("minutes", 1))
    name, size = next((unit for unit in units if minutes >= 2 * unit[1]), units[-1])
    return f"{minutes / size:,.0f} {name}"
