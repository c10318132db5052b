"""What an experiment spends, said before it starts: counted from the configuration, timed where it was run before."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from dpmot import plugins
from dpmot.experiment import grid
from dpmot.experiment.config import DEFAULTS
from dpmot.experiment.jobs import couple, scientific, select
from dpmot.experiment.smoke import stand_in_shape
from dpmot.runtime.files import read_json

RATE = 6e10  # operations a second of two cores: 19.8 billion a step of Fashion-MNIST's network, .66 s on each of them
ASKED = " (students ask their teachers besides)"


def cost(config: Mapping) -> str:
    """What a run from empty spends, in one line: images seen in training, network evaluations, transport problems.

    What students ask their teachers is left out; the search for sigma_M* counts whole, and may end sooner. The minutes
    are those of the committed run, if it was of this configuration; else the operations of the networks are counted on
    their shapes and divided by what two cores do.
    """
    trained = {name: card for name, card in config["networks"].items() if "training" in card and "weights" not in card}
    seen = {name: _seen(card) for name, card in trained.items()}
    drawn = _drawn(config)
    students = ASKED if any("teacher" in card for card in trained.values()) else ""
    line = (
        f"{config['experiment']}: {len(trained)} networks see {sum(seen.values()):,} images in training{students}, "
        f"samples take {sum(drawn.values()):,} network evaluations, {len(grid.problems(config))} transport problems"
    )
    committed = plugins.ROOT / "results" / "reference" / config["experiment"]
    timed = committed / "timings.csv"
    if not timed.exists() or not _was_of(committed, config):
        return f"{line}; how long that takes was not measured{_counted(config, seen, drawn)}"
    with timed.open(encoding="utf-8", newline="") as file:
        seconds = sum(float(row["wall_s"]) for row in csv.DictReader(file))
    return f"{line}; the jobs of the committed run took {seconds / 60:.0f} minutes together, several at a time"


def training_cost(config: Mapping, name: str) -> str:
    """What one network's training from its start spends, in one line; "" where it is loaded or known exactly."""
    card = config["networks"][name]
    if "training" not in card or "weights" in card:
        return ""
    seen = _seen(card)
    counted = _counted(config, {name: seen}, dict.fromkeys(config["networks"], 0))
    return f"{name}: sees {seen:,} images{ASKED if 'teacher' in card else ''}{counted}"


def _was_of(committed: Path, config: Mapping) -> bool:
    """Whether a committed run was of this configuration, but for its pages and how its keys were chosen."""
    ran = {**DEFAULTS, **read_json(committed / "experiment.json")}
    one, other = ({**scientific(each), "scale": "", "weights": ""} for each in (ran, config))
    return one == other


def _seen(card: Mapping) -> int:
    """Images of a training, of all its students."""
    return len(card.get("step_counts", [1])) * card["training"]["steps"] * card["training"].get("batch", 128)


def _drawn(config: Mapping) -> dict[str, int]:
    """Evaluations of each network for samples, sigma_M* and the coupling, strips left out."""
    spent = dict.fromkeys(config["networks"], 0)
    for name, method in config["methods"].items():
        evaluations = sum(cell["nfe"] for cell in grid.cells(config, name) if not cell["reason"])
        spent[method["network"]] += evaluations * config["num_samples"]
    if "selection" in config:
        job = select(config)
        spent[job["network"]] += sum(cell["nfe"] for cell in job["cells"]) * job["num_samples"]
    if "coupling" in config:
        job = couple(config)
        for one in job["samples"].values():  # each noise and its moves
            evaluations = sum(cell["nfe"] for cell in one["cells"])
            spent[one["network"]] += evaluations * job["num_samples"] * (1 + len(job["moves"]))
    return spent


def _counted(config: Mapping, seen: Mapping[str, int], drawn: Mapping[str, int]) -> str:
    shape = config["dataset_options"].get("shape") or stand_in_shape(config)
    unets = {name: _unet(config, card) for name, card in config["networks"].items()}
    asked = {*seen, *(name for name, number in drawn.items() if number)}
    if not shape or config["device"] == "cuda" or any(unets[name] is None for name in asked):
        return ""
    training, sampling, gpu = _operations(unets, shape, seen, drawn)
    if gpu and config["device"] == "auto":
        return ""
    told = [f"{_time(training)} of training"] * bool(training) + [f"{_time(sampling)} of sampling"] * bool(sampling)
    return f"; its networks' operations are {' and '.join(told)} at {RATE / 1e9:.0f} billion a second, as two cores do"


def _operations(
    unets: Mapping[str, Mapping | None], shape: Sequence[int], seen: Mapping[str, int], drawn: Mapping[str, int]
) -> tuple[float, float, bool]:
    """Of training and of sampling; and whether there is a GPU."""
    import torch

    from dpmot.diffusion.flops import TRAINING, evaluation  # imports torch, which most plans do without

    each = {name: evaluation(unet, shape) for name, unet in unets.items() if unet is not None}
    training = sum(TRAINING * each[name] * number for name, number in seen.items())
    sampling = sum(each[name] * number for name, number in drawn.items() if number)
    return training, sampling, torch.cuda.is_available()


def _unet(config: Mapping, card: Mapping) -> Mapping | None:
    """Options of the U-Net, a student's are its teacher's; None where the configuration does not have them."""
    if "teacher" in card:
        return _unet(config, config["networks"][card["teacher"]])
    return card.get("unet", {}) if "training" in card else card.get("unet")


def _time(operations: float) -> str:
    minutes = operations / RATE / 60
    units = (("days", 1440), ("hours", 60), ("minutes", 1))
    name, size = next((unit for unit in units if minutes >= 2 * unit[1]), units[-1])
    return f"{minutes / size:,.0f} {name}"
