"""The scale of a run: ``core``, as it is written, ``full``, or ``smoke``, which shows that it runs and nothing else.

A smoke run goes through every stage of an experiment in minutes: stand-in images in the shape of the data, tiny
networks, few steps, samples, seeds and levels. Of the methods it keeps a few that together have every start, sampler,
network and option, and of each the smallest budget that it can meet. Its results lie in
``results/<experiment>_smoke/``; its fingerprint, tables and figures say that its numbers mean nothing.
"""

import copy
import inspect
import math
from collections.abc import Mapping

from dpmot import plugins
from dpmot.experiment import grid

SUFFIX = "_smoke"
SAMPLES = 200  # of a data set that needs no files and keeps its own size
STAND_INS = 60, 100  # samples, and images of each of A, B and C, in the place of others
LARGE_STAND_INS = 24, 24  # the same of large images: C_T asks for 20 of both when one of 20 groups is left out
LARGE = 3 * 128 * 128  # numbers of an image
STEPS, BATCH, EPOCHS, PAIRS, CHI2 = 2, 4, 2, 4, 1.0
UNET = {"channels": 8, "multipliers": [1, 2], "embedding": 32, "attention": False}
LARGEST = 32  # pixels a side that the network sees; larger images come to it in patches


def smoke(config: Mapping) -> dict:
    """The same experiment at the scale of a smoke run; of one that has it already, itself.

    Args:
        config: a complete configuration that has been checked.
    """
    config = copy.deepcopy(dict(config))
    shape = stand_in_shape(config)
    samples, images = LARGE_STAND_INS if math.prod(shape or ()) >= LARGE else STAND_INS
    if shape:
        options = {"of": config["dataset"], "shape": list(shape), "num_images": [images] * 3}
        config |= {"dataset": "stand_in", "dataset_options": options, "features": ["classifier"], "download": False}
        for key in ("data_root", "inception_weights", "vit"):
            config.pop(key, None)
    config.pop("protocol", None)
    stood = config["dataset"] == "stand_in"
    config["experiment"] = config["experiment"].removesuffix(SUFFIX) + SUFFIX
    config["num_samples"] = min(config["num_samples"], samples if stood else SAMPLES)
    config["sample_seeds"] = config["sample_seeds"][:1]
    config["transport"] |= {"chi2": max(config["transport"]["chi2"], CHI2), "noise": "plain"}  # few rows: none pays off
    config["networks"] = {name: _network(card, shape) for name, card in config["networks"].items()}
    if "weights" not in config["classifier"]:
        config["classifier"]["epochs"] = EPOCHS
    budgets, config["nfe_budgets"] = config["nfe_budgets"], sorted(config["nfe_budgets"])[:2]
    if "selection" in config:
        few = {"nfe": config["nfe_budgets"][0], "num_samples": config["num_samples"]}
        config["selection"] |= few | {"sigmas": config["selection"]["sigmas"][:2]}
    if "identity" in config:
        config["identity"]["pairs"] = config["identity"]["pairs"][:1]
    if stood and config["num_atoms"]:
        config["num_atoms"] = min(config["num_atoms"], images)
    kept = telling(config)
    if "coupling" in config:
        names = [name for name in config["coupling"]["methods"] if name in kept]
        config["coupling"] |= {"methods": names, "num_noises": 200, "num_samples": 40}
    config["methods"] = {name: _method(config, one, one.get("nfe_budgets", budgets)) for name, one in kept.items()}
    return config


def telling(config: Mapping) -> dict[str, dict]:
    """Those of the identity test, and a few that together show what all do: each adds the most, of equals the first."""
    methods = config["methods"]
    coupled = config.get("coupling", {}).get("methods", [])
    has = {name: _shown(method, coupled=name in coupled) for name, method in methods.items()}
    kept = {name for pair in config.get("identity", {}).get("pairs", []) for name in pair}
    seen = set().union(*(has[name] for name in kept))
    while (name := max(methods, key=lambda name: len(has[name] - seen))) and not has[name] <= seen:
        kept.add(name)
        seen |= has[name]
    return {name: method for name, method in methods.items() if name in kept}


def _shown(method: Mapping, *, coupled: bool) -> set[tuple[str, str]]:
    """What a method shows: all but label, budgets and seeds; of its level the kind; whether its start is coupled."""
    level = method.get("level")
    told = {"start": "prior", **method, "level": "star" if level == "star" else type(level).__name__}
    told |= told.pop("options", {})
    told |= {"coupled": told["start"]} if coupled else {}
    return {(key, str(value)) for key, value in told.items() if key not in ("label", "nfe_budgets", "sample_seeds")}


def stand_in_shape(config: Mapping) -> tuple[int, ...] | None:
    """(C, H, W) of a data set that is read from files; None of one that needs none and stays."""
    module, options = plugins.find("data", config["dataset"]), config["dataset_options"]
    if hasattr(module, "SHAPE"):
        return module.SHAPE
    sizes = inspect.signature(module.load).parameters
    if "size" not in sizes:
        return None
    size, channels = (options.get(key, sizes[key].default) for key in ("size", "channels"))
    return channels, size, size


def _network(card: Mapping, shape: tuple[int, ...] | None) -> dict:
    card = dict(card)
    if "training" in card:
        training = card["training"]
        few = {"steps": min(training["steps"], STEPS), "batch": min(training.get("batch", BATCH), BATCH)}
        card["training"] = {**training, **few}
        for key in ("snapshots", "compile"):
            card["training"].pop(key, None)
    if shape and "kind" in card and "training" in card and "weights" not in card:
        classes = {key: value for key, value in card.get("unet", {}).items() if key == "classes"}
        card["unet"] = {**UNET, "patch": patch(*shape[1:]), **classes}
    if "step_counts" in card and "weights" not in card:
        card["step_counts"] = card["step_counts"][-1:]
    if "distillation" in card and "pairs" in plugins.arguments("distillation", card["distillation"], "train"):
        few = {"pairs": PAIRS, "teacher_steps": max(card["step_counts"])}
        card["options"] = {**card.get("options", {}), **few}
    return card


def patch(height: int, width: int) -> int:
    """The smallest power of two in whose patches both sides are at most ``LARGEST``, as far as it divides them."""
    side = 1
    while max(height, width) > LARGEST * side and not (height % (2 * side) or width % (2 * side)):
        side *= 2
    return side


def _method(config: Mapping, method: Mapping, budgets: list) -> dict:
    """One method with few seeds and levels, and the smallest budget that it can meet."""
    seeds = method.get("sample_seeds", config["sample_seeds"])
    method = {**method, "sample_seeds": seeds[: 2 if method.get("group") == "identity" else 1]}
    if isinstance(method.get("level"), list):
        method["level"] = sorted({method["level"][0], method["level"][-1]})
    for budget in sorted({config["nfe_budgets"][-1] if one == "full" else one for one in budgets}):
        method["nfe_budgets"] = [budget]
        if not all(cell["reason"] for cell in grid.cells({**config, "methods": {"one": method}}, "one")):
            break
    return method
