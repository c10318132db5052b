"""What each job of the workflow is given: its part of the configuration, its files, and the code it depends on.

The Snakefile and the command line build a job in the same way; a job is plain data, so a change of the configuration
re-runs only the jobs whose part changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dpmot import plugins
from dpmot.experiment import grid
from dpmot.experiment.config import ConfigError
from dpmot.runtime.files import read_json, write_json

STAGES = "dpmot.experiment.stages"


@dataclass(frozen=True)
class Layout:
    """Where an experiment keeps its files: ``root`` is e.g. results/digits."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved configuration of the last run."""
        return self.root / "experiment.json"

    @property
    def data(self) -> Path:
        """The prepared data set with its three splits."""
        return self.root / "data.safetensors"

    @property
    def classifier(self) -> Path:
        """The data set's classifier."""
        return self.root / "networks" / "classifier.safetensors"

    @property
    def heights(self) -> Path:
        """Solved heights and certificates of every transport problem."""
        return self.root / "transport.safetensors"

    @property
    def star(self) -> Path:
        """The selected sigma_M* and the audit it rests on."""
        return self.root / "star.json"

    @property
    def coupling(self) -> Path:
        """Quantities of the coupling of noise and samples, tidy."""
        return self.root / "coupling.csv"

    @property
    def strips(self) -> Path:
        """Samples along arcs between two noises."""
        return self.root / "strips.safetensors"

    @property
    def features(self) -> Path:
        """Side folder of features that are slow to extract, by content; no rule declares it."""
        return self.root / ".features"

    def network(self, name: str) -> Path:
        """The weights of one network."""
        return self.root / "networks" / f"{name}.safetensors"

    def snapshot(self, name: str, steps: int) -> Path:
        """The weights of a network after so many steps of its training, where ``snapshots`` asks for it; no rule's."""
        return self.root / "snapshots" / f"{name}_{steps}.safetensors"

    def samples(self, method: str) -> Path:
        """All samples of one method."""
        return self.root / "samples" / f"{method}.safetensors"

    def timing(self, job: str) -> Path:
        """Where the time of one job went."""
        return self.root / "timings" / f"{job}.json"

    def resume(self, job: str) -> Path:
        """Side folder of finished pieces of an interrupted job; no rule declares it."""
        return self.root / ".resume" / job


def record(config: Mapping, layout: Layout) -> None:
    """Write the resolved configuration beside the results, if it is not there already."""
    if not layout.config.exists() or read_json(layout.config) != config:
        write_json(layout.config, config)


def prepare(config: Mapping) -> dict:
    """The job that loads and splits the data set."""
    return {
        "stage": "prepare",
        "name": "prepare",
        "dataset": config["dataset"],
        "options": config["dataset_options"],
        "root": config.get("data_root"),
        "download": config["download"],
        "scale": config["scale"],
        "classes": needs_classifier(config),
        "code": [f"{STAGES}.prepare", plugins.module_name("data", config["dataset"])],
    }


def train(config: Mapping, name: str) -> dict:
    """The job that trains (or loads, or distils) one network.

    Raises:
        ConfigError: no such network.
    """
    card = _known(config["networks"], name, "network")
    job = {"stage": "train", "name": f"train_{name}", "network": name, "card": card, "teacher": card.get("teacher")}
    if "kind" in card:
        plugin = plugins.module_name("networks", card["kind"])
    else:
        plugin = plugins.module_name("distillation", card["distillation"])
    own = {"seed": config["training_seed"], **_machine(config), "code": [f"{STAGES}.train", plugin]}
    return {**job, **own}


def classify(config: Mapping) -> dict:
    """The job that trains the classifier on split B and records its accuracy and calibration."""
    return {
        "stage": "classify",
        "name": "classify",
        "options": config["classifier"],
        "seed": config["training_seed"],
        "threads": config["threads"],
        "code": [f"{STAGES}.classify"],
    }


def solve(config: Mapping) -> dict:
    """The job that solves every transport problem of the experiment."""
    return {
        "stage": "solve",
        "name": "solve",
        "problems": grid.problems(config),
        "solver": config["transport"],
        "atom_seed": config["atom_seed"],
        "num_atoms": config["num_atoms"],
        "fit_seed": config["fit_seed"],
        **_machine(config),
        "code": [f"{STAGES}.solve"],
    }


def select(config: Mapping) -> dict:
    """The job that finds sigma_M*, on seeds and held-out images that no table reports."""
    reported = config["num_samples"] * len(config["sample_seeds"])  # the audit of the tables has this power
    selection = {"sample_seed": grid.SELECTION_SEED, "num_samples": reported, **config["selection"]}
    method = {"network": selection["network"], "sampler": selection["sampler"], "start": "transport"}
    method |= {"level": selection["sigmas"], "nfe_budgets": [selection["nfe"]]}
    trial = {**config, "methods": {"selection": method}, "sample_seeds": [selection["sample_seed"]]}
    job = sample({**trial, "num_samples": selection["num_samples"]}, "selection")
    return {**job, "stage": "select", "name": "select", "code": [f"{STAGES}.select", *job["code"]]}


def couple(config: Mapping) -> dict:
    """The job that measures what the map from noise to sample is like.

    Raises:
        ConfigError: the experiment does not ask for it.
    """
    if "coupling" not in config:
        raise ConfigError("coupling: this experiment has no such block; config/singular.yaml has one")
    coupling = {"moves": [0.01, 0.03, 0.1, 0.3, 1.0], "num_noises": 4000, "num_samples": 400, **config["coupling"]}
    samples = {name: sample(grid.coupled(config, name), name) for name in coupling["methods"]}
    return {
        "stage": "couple",
        "name": "couple",
        "experiment": config["experiment"],
        "dataset": config["dataset"],
        "samples": {name: {key: v for key, v in job.items() if key != "code"} for name, job in samples.items()},
        **{key: coupling[key] for key in ("moves", "num_noises", "num_samples")},
        **_machine(config),
        "code": sorted({f"{STAGES}.couple", *(module for job in samples.values() for module in job["code"])}),
    }


def sample(config: Mapping, name: str) -> dict:
    """The job that draws all samples of one method: every level, budget and seed.

    Raises:
        ConfigError: no such method.
    """
    method = _known(config["methods"], name, "method")
    start = method.get("start", "prior")
    split, source = grid.transport_options(method)
    code = [f"{STAGES}.sample", plugins.module_name("starts", start), *_network_code(config, method["network"])]
    if method["sampler"] != "none":
        code.append(plugins.module_name("baselines", method["sampler"]))
    return {
        "stage": "sample",
        "name": f"sample_{name}",
        "method": name,
        "network": method["network"],
        "start": start,
        "start_options": _start_options(method, start, source),
        "split": split,
        "source": source,
        "sampler": method["sampler"],
        "sampler_options": method.get("options", {}),
        "extra_denoise": method.get("nfe") == "as_code",
        "cells": list(grid.cells(config, name)),
        "num_samples": config["num_samples"],
        "atom_seed": config["atom_seed"],
        "num_atoms": config["num_atoms"],
        **{key: method[key] for key in ("noises",) if key in method},
        "needs_heights": start == "transport" and method.get("heights", "solved") == "solved",
        "needs_star": method.get("level") == "star",
        **_machine(config),
        "code": code,
    }


def _start_options(method: Mapping, start: str, source: str) -> dict:
    if start == "transport":
        singular = {key: method[key] for key in ("singular", "angle", "tau", "top_k") if key in method}
        return {"source": source, "heights": method.get("heights", "solved"), **singular}
    law = getattr(plugins.find("baselines", method["sampler"]), "PRIOR", None) if start == "prior" else None
    return {"law": law} if law else {}


def _network_code(config: Mapping, name: str) -> list[str]:
    card = config["networks"][name]
    kind = card.get("kind") or config["networks"][card["teacher"]]["kind"]
    return [plugins.module_name("networks", kind)]


def measure(config: Mapping) -> dict:
    """The job that measures every cell and writes the tidy tables."""
    extractors = ["pixels", *(["mixture"] if has_mixture(config) else config["features"])]
    asked = {"metrics": config["metrics"]} if "metrics" in config else {}
    if "resnet56" in extractors:
        asked["root"] = config.get("data_root")
    if "vit" in extractors:
        asked["vit"] = {key: value for key, value in config["vit"].items() if key != "card"}
    described = ("network", "start", "sampler")
    return {
        "stage": "measure",
        "name": "measure",
        "experiment": config["experiment"],
        "dataset": config["dataset"],
        "methods": {name: {k: m[k] for k in described if k in m} for name, m in config["methods"].items()},
        "splits": {name: grid.transport_options(method)[0] for name, method in config["methods"].items()},
        "training_seed": config["training_seed"],
        "num_atoms": config["num_atoms"],
        "extractors": extractors,
        "inception": {"weights": config.get("inception_weights"), "download": config["download"]},
        **asked,
        "identity": config.get("identity"),
        **_machine(config),
        "config": scientific(config),
        "all_code": sorted({module for job in compute(config) for module in job["code"]}),
        "code": [f"{STAGES}.measure", *(plugins.module_name("features", name) for name in extractors)]
        + [plugins.module_name("metrics", name) for name in config.get("metrics", plugins.names("metrics"))],
    }


def timings(config: Mapping) -> dict:
    """The job that gathers the timings of all others."""
    coupling = [couple(config)] if "coupling" in config else []
    names = [job["name"] for job in [*compute(config), *coupling, measure(config)]]
    return {
        "stage": "timings",
        "name": "timings",
        "jobs": names + config["tables"] + config["figures"],
        "code": [f"{STAGES}.timings"],
    }


def compute(config: Mapping) -> list[dict]:
    """Every job before measuring, in the order of the paper."""
    jobs = [prepare(config), *(train(config, name) for name in config["networks"])]
    if needs_classifier(config):
        jobs.append(classify(config))
    jobs.append(solve(config))
    if "selection" in config:
        jobs.append(select(config))
    return jobs + [sample(config, name) for name in config["methods"]]


def scientific(config: Mapping) -> dict:
    """The configuration without what changes no number: labels, groups, and which pages are made."""
    kept = {key: value for key, value in config.items() if key not in ("tables", "figures", "data_root")}
    cosmetic = ("label", "group")
    methods = {n: {k: v for k, v in m.items() if k not in cosmetic} for n, m in config["methods"].items()}
    return {**kept, "methods": methods}


def has_mixture(config: Mapping) -> bool:
    """Whether the data set is a Gaussian mixture, which brings its own exact classifier."""
    return getattr(plugins.find("data", config["dataset"]), "MIXTURE", False)


def needs_classifier(config: Mapping) -> bool:
    """Whether a classifier is trained: it is one of the features, and the data set brings none of its own."""
    return "classifier" in config["features"] and not has_mixture(config)


def _machine(config: Mapping) -> dict:
    return {"threads": config["threads"], "device": config["device"]}


def _known(table: Mapping, name: str, noun: str) -> Mapping:
    if name not in table:
        raise ConfigError(f'No {noun} "{name}" in this experiment: found {", ".join(table)}')
    return table[name]
