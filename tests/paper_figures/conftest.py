"""A synthetic results folder: the shape of a real one, numbers of a realistic size, the same on every run."""

import json
from pathlib import Path

import numpy as np
import pytest
from edits import BUDGETS, write_csv
from safetensors.numpy import save_file

from dpmot.results import METRICS

SIGMA = {5: 0.14, 10: 3.26, 20: 8.1, 30: 14.0, 50: 24.0}
SWEEP = (0.1, 0.3, 1.0, 2.0, 3.0, 5.0, 10.0)
THRESHOLDS = ("0.1", "0.11", "0.115", "0.13", "0.16", "0.2", "0.3", "0.4")
# name: label, group, network, start, sampler, FD at 5 NFE, FD at 50 NFE
METHODS = {
    "ddpm": ("DDPM", "rivals", "ddpm", "prior", "ddpm", 61.0, 6.1),
    "ddim": ("DDIM", "rivals", "ddpm", "prior", "ddim", 21.9, 2.0),
    "edm": ("EDM (Heun)", "rivals", "edm", "prior", "edm", 44.0, 1.9),
    "edm_ddim": ("DDIM, EDM network", "rivals", "edm", "prior", "ddim", 24.0, 2.1),
    "student": ("Progressive distillation", "rivals", "student", "prior", "ddim", 7.5, 6.9),
    "dpm_ot_ddim": ("DPM-OT (DDPM, DDIM)", "dpm_ot", "ddpm", "transport", "ddim", 1.6, 2.1),
    "dpm_ot_ddim_edm": ("DPM-OT (EDM, DDIM)", "dpm_ot", "edm", "transport", "ddim", 1.7, 2.0),
    "dpm_ot_heun_edm": ("DPM-OT (EDM, Heun)", "dpm_ot", "edm", "transport", "edm", 1.5, 1.9),
    "dpm_ot_star": ("DPM-OT (EDM, DDIM), sigma_M*", "dpm_ot", "edm", "transport", "ddim", 3.0, 2.2),
    "as_code_level": ("as coded: level", "as_code", "ddpm", "transport", "ddim", 1.0, 1.3),
    "as_code": ("as coded: all four", "as_code", "ddpm", "transport", "ddim", 0.9, 1.2),
    "copy": ("Copy (DDPM, DDIM)", "controls", "ddpm", "copy", "ddim", 1.5, 2.0),
    "copy_edm": ("Copy (EDM, DDIM)", "controls", "edm", "copy", "ddim", 1.6, 2.0),
    "fresh_noise": ("Fresh noise (DDPM, DDIM)", "controls", "ddpm", "fresh_noise", "ddim", 1.4, 1.8),
    "gaussian": ("Gaussian start (EDM, DDIM), sigma 3", "controls", "edm", "gaussian", "ddim", 9.0, 2.2),
    "zero_height": ("Zero heights (EDM, DDIM)", "controls", "edm", "transport", "ddim", 3.1, 2.3),
    "atoms": ("Atoms alone (DDPM levels)", "controls", "ddpm", "transport", "none", 0.7, 0.8),
    "full_ddpm": ("DDPM, full chain", "reference", "ddpm", "prior", "ddpm", 5.8, 5.8),
    "full_edm": ("EDM, full chain", "reference", "edm", "prior", "edm", 1.8, 1.8),
    "sweep": ("DPM-OT (EDM, DDIM), sweep", "sweep", "edm", "transport", "ddim", 0, 0),
    "identity_ot": ("DPM-OT (EDM, DDIM), sigma 1", "identity", "edm", "transport", "ddim", 1.5, 1.5),
    "identity_copy": ("Copy (EDM, DDIM), sigma 1", "identity", "edm", "copy", "ddim", 1.5, 1.5),
}
KEYS = ("label", "group", "network", "start", "sampler")
TRAINING = {"steps": 1}
NETWORKS = {
    "ddpm": {"kind": "ddpm", "training": TRAINING},
    "edm": {"kind": "edm", "training": TRAINING},
    "student": {"distillation": "progressive", "teacher": "edm", "step_counts": [10, 5], "training": TRAINING},
}
STORED = {"as_code": "test"}  # the split the atoms come from, where it is not the training split
SKIPPED = {("dpm_ot_heun_edm", "5"): "NFE 5: Heun spends 2n-1 evaluations, 5 do not fit"}
SMOKE = ("ddim", "edm", "dpm_ot_ddim", "dpm_ot_heun_edm", "copy", "fresh_noise")


def _copies(sigma):
    """Share of copies at a start level: 1 at small sigma, 0 at large."""
    return 1 / (1 + (sigma / 0.9) ** 3)


def _cells(name, method, budgets):
    """(NFE budget, sigma_start, FD) of the method's pooled cells."""
    _, group, _, start, _, first, last = method
    if group == "sweep":
        return [(str(n), s, 1 + 1.4 * s**0.5 * (5 / n) ** 0.7) for n in budgets[:2] for s in SWEEP]
    if group == "identity":
        return [("5", 1.0, first)]
    if group == "reference":
        return [("full", 80.0, first)]
    sigmas = dict.fromkeys(budgets, 80.0) if start == "prior" else SIGMA
    sigmas = dict.fromkeys(budgets, 2.0) if name == "dpm_ot_star" else sigmas
    fall = {n: (np.log(50 / n) / np.log(10)) ** 2 for n in budgets}
    return [(str(n), sigmas[n], last * (first / last) ** fall[n]) for n in budgets]


def _values(sigma, fd, start, stored="train"):
    copies = 0.0 if start in ("prior", "gaussian") else _copies(sigma)
    other = {"train": "test", "test": "train"}[stored]
    values = {
        ("fd_classifier", "test"): (fd, 0.08 * fd + 0.05),
        ("fd_classifier", "train"): (max(fd - 1.1 * copies - 0.1, 0.05), 0.06 * fd + 0.04),
        ("is_classifier", "none"): (9.4 - 0.09 * min(fd, 60), 0.08),
        ("authenticity_pixels", stored): (0.5 * (1 - copies), 0.03),
        ("nn_distance_pixels", stored): (2.1 * (1 - copies) + 0.4 * copies + 0.02 * fd, 0.03),
        ("nn_distance_pixels", other): (2.15 + 0.02 * fd, 0.03),
        ("copies_pixels", stored): (copies, 0.02),
        ("copies_pixels", other): (0.002, 0.002),
        ("ct_pixels", stored): (-14 * copies + 0.4, 1.0),
        ("distinct_neighbours_pixels", stored): (round(620 + 300 * copies), 20),
    }
    if start not in ("prior", "gaussian", "data"):
        values["recovery_pixels", stored] = (copies, 0.02)
    for t in THRESHOLDS:
        mixed = min(0.9, (0.015 + 0.02 * fd**0.8 * (1 - 0.9 * copies)) * (0.1 / float(t)) ** 1.3)
        values[f"mmr_{t}", "none"] = (mixed, 0.01 + 0.1 * mixed)
    return values


def _row(cell, metric, reference, value, half, *, points):
    pixels = "pixels" if metric.endswith("pixels") else "mixture" if points else "classifier"
    return cell | {
        "metric": metric.replace("classifier", "mixture") if points else metric, "reference": reference,
        "features": pixels, "value": f"{value:.6g}", "low": f"{value - half:.6g}", "high": f"{value + half:.6g}",
    }  # fmt: skip


def _floors(base, *, points):
    """Real images as if they were samples: no distance of a split to itself."""
    rows = []
    for name, own, fd in (("real_train", "train", 1.32), ("real_test", "test", 0.6)):
        cell = base | {"method": name, "network": "", "start": "data", "sampler": "none", "nfe_budget": 0}
        cell |= {"nfe_counted": 0, "sample_seed": "pooled", "num_samples": 599}
        for (metric, reference), (value, half) in _values(1e3, fd, "data").items():
            if metric.startswith("mmr"):
                value = 0.05 * 0.1 / float(metric[4:]) if own == "test" else 0.002
                half = 0.3 * value
            if reference != own:
                rows.append(_row(cell, metric, reference, value, half, points=points))
    return rows


def _rows(kind, names):
    points = kind == "toy2d"
    base = dict.fromkeys(METRICS.columns, "") | {
        "experiment": kind, "dataset": "gaussians" if points else "digits", "training_seed": 0,
        "fingerprint": "3f9a1c0de5b2774a",
    }  # fmt: skip
    rows = _floors(base, points=points)
    for name in names:
        _, _, network, start, sampler, *_ = METHODS[name]
        shared = base | {"method": name, "network": network, "start": start, "sampler": sampler}
        for nfe, sigma, fd in _cells(name, METHODS[name], BUDGETS[kind]):
            cell = shared | {"nfe_budget": nfe, "sample_seed": "pooled", "num_samples": 500 if nfe == "full" else 1500}
            if reason := SKIPPED.get((name, nfe)):
                rows.append(cell | {"metric": "all", "reference": "none", "num_samples": 0, "reason": reason})
                continue
            counted = 1000 if nfe == "full" else 0 if sampler == "none" else int(nfe)
            counted -= sampler == "edm" and counted % 2 == 0
            cell |= {"nfe_counted": f"{counted}.0", "sigma_start": f"{sigma:.8g}"}  # pandas writes integers so
            cell |= {"sigma_atoms": "" if start == "prior" else f"{sigma:.8g}"}
            for (metric, reference), (value, half) in _values(sigma, fd, start, STORED.get(name, "train")).items():
                if points and not metric.startswith(("nn_", "recovery", "authenticity", "fd")):
                    continue
                rows.append(_row(cell, metric, reference, value, half, points=points))
                one_seed = cell | {"sample_seed": 0, "num_samples": 500}
                rows.append(_row(one_seed, metric, reference, value * 1.05, half * 1.7, points=points))
    return rows


def _audit(rows):
    cells = {(r["method"], r["nfe_budget"], r["sigma_start"]): r["start"] for r in rows if r["sigma_start"]}
    out = []
    for (method, nfe, sigma), start in cells.items():
        copies = 0.0 if start in ("prior", "gaussian") else _copies(float(sigma))
        ranked = copies < 0.08
        reasons = "" if ranked else f"share of copies of training images {copies:.2f} above 0.01"
        sigma = repr(float(sigma) * (1 + 1e-9))  # another writer rounds differently
        cell = {"method": method, "nfe_budget": nfe, "sigma_start": sigma, "verdict": "ranked" if ranked else "copies"}
        out.append(cell | {"ranked": ranked, "reasons": reasons})
    return out


def _digit_like(rng, labels):
    """8x8 grey strokes: two smooth bumps whose places belong to the class, uint8 (n, 1, 8, 8)."""
    places = np.random.default_rng(7).uniform(1.2, 5.8, (10, 4, 2))
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(8), indexing="ij"), -1)
    centres = places[labels] + rng.normal(0, 0.35, (len(labels), 4, 2))
    square = ((grid[None, None] - centres[:, :, None, None]) ** 2).sum(-1)
    return (255 * np.exp(-square / 1.4).max(1)).astype(np.uint8)[:, None]


def _points(rng, labels):
    centres = np.stack(np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 5)), -1).reshape(-1, 2)
    return (centres[labels] + rng.normal(0, 0.03, (len(labels), 2))).astype(np.float32)


def _splits(kind, images=None):
    rng = np.random.default_rng(0)
    tensors = {}
    for index, split in enumerate("ABC"):
        labels = rng.integers(0, 25 if kind == "toy2d" else 10, 120)
        make = _points if kind == "toy2d" else _digit_like
        tensors[f"{split}/images"] = make(rng, labels) if images is None else images[index::3][:599]
        tensors[f"{split}/labels"] = labels
    return tensors


def _samples(name, kind, train, n=60):
    rng = np.random.default_rng([len(name), *name.encode()])
    start = METHODS[name][3]
    points = train.dtype == np.float32
    data = train if points else train.astype(np.float32) / 127.5 - 1
    cells, tensors = [], {}
    for nfe, sigma, fd in _cells(name, METHODS[name], BUDGETS[kind]):
        key = f"{nfe}-{sigma:g}-0"
        budget = int(nfe) if nfe.isdigit() else nfe
        cell = {"key": key, "nfe_budget": budget, "sigma_start": sigma, "sample_seed": 0}
        cells.append(cell | {"reason": SKIPPED.get((name, nfe))})
        if cells[-1]["reason"]:
            continue
        source = rng.integers(len(data), size=n)
        clean = data[source]
        noise = rng.normal(size=(16, *data.shape[1:])).astype(np.float32)
        began = clean[:16] + np.float32(sigma) * noise
        moved = (1 - _copies(sigma)) * (0.02 if points else 0.45) + 0.015 * fd**0.5 + 0.02
        drawn = clean + rng.normal(0, 0.4 * moved, clean.shape)
        if start == "prior" and not points:
            drawn = clean * (1 - 0.15 * moved) + rng.normal(0, 0.3 * moved, clean.shape)
        drawn = drawn.astype(np.float32)
        tensors[f"{key}/images"] = drawn if points else ((np.clip(drawn, -1, 1) + 1) * 127.5).round().astype(np.uint8)
        tensors[f"{key}/start"] = began
        if start in ("transport", "copy"):
            tensors[f"{key}/source"] = source
            tensors[f"{key}/prior"] = noise if not points else rng.normal(size=(16, 2)).astype(np.float32)
    return tensors, {"cells": json.dumps(cells)}


def write_results(folder, kind="digits", images=None):
    """Write a whole results folder of one kind: digits, smoke (few methods) or toy2d (points)."""
    folder = Path(folder)
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    names = list(METHODS) if kind == "digits" else list(SMOKE) if kind == "smoke" else ["ddim", "dpm_ot_ddim", "copy"]
    rows = _rows(kind, names)
    write_csv(folder / "metrics.csv", rows)
    write_csv(folder / "audit.csv", _audit(rows))
    config = {
        "experiment": kind, "dataset": rows[0]["dataset"], "nfe_budgets": BUDGETS[kind], "num_samples": 500,
        "sample_seeds": [0, 1, 2],
        "networks": NETWORKS,
        "methods": {name: dict(zip(KEYS, METHODS[name][:5], strict=True)) for name in names},
    }  # fmt: skip
    if "dpm_ot_star" in names:
        config["methods"]["dpm_ot_star"]["level"] = "star"
    (folder / "experiment.json").write_text(json.dumps(config))
    splits = _splits(kind, images)
    save_file(splits, folder / "data.safetensors")
    for name in names:
        tensors, metadata = _samples(name, kind, splits["A/images"])
        save_file(tensors, folder / "samples" / f"{name}.safetensors", metadata=metadata)
    if kind != "digits":
        return folder
    compared = [("fd_classifier", "test"), ("is_classifier", "none"), ("mmr_0.1", "none"), ("recovery_pixels", "train")]
    identity = [
        {"pair": pair, "metric": metric, "reference": reference, "nfe": nfe, "seeds": 20, "mean_difference": 0.0041 * k,
         "low": -0.011, "high": 0.017 * k, "margin": 0.05, "p_value": 0.0002 * 10**k, "equivalent": k < 3,
        "p_difference": 0.4}
        for pair, nfe in [("identity_ot - identity_copy", "5"), ("atoms - copy", "5")]
        for k, (metric, reference) in enumerate(compared)
    ]  # fmt: skip
    write_csv(folder / "identity.csv", identity)
    audits = {s: {"recovery": _copies(s), "copies": _copies(s)} for s in SWEEP}
    scan = [
        {"sigma": s, "nfe": 50, "inside": _copies(s) < 0.1} | {k: [v, v - 0.02, v + 0.02] for k, v in found.items()}
        for s, found in audits.items()
    ]
    scan.append({"sigma": 20.0, "reasons": ["NFE 50: does not fit"], "inside": False})
    (folder / "star.json").write_text(json.dumps({"sigma": 2.0, "reason": "smallest level inside", "rows": scan}))
    return folder


@pytest.fixture
def results_folder(tmp_path):
    """Factory: ``results_folder("smoke")`` writes a results folder and returns its path."""
    return lambda kind="digits": write_results(tmp_path / kind, kind)


@pytest.fixture(scope="session")
def smoke_folder(tmp_path_factory):
    """Factory of synthetic folders of a few methods, each of its own: tests may write into them."""
    return lambda: write_results(tmp_path_factory.mktemp("smoke") / "smoke", "smoke")


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory):
    """The full synthetic folder, shared: tests must not write into its inputs."""
    return write_results(tmp_path_factory.mktemp("results") / "digits")
