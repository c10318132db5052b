"""Small runs, written as the measuring stage writes them."""

import numpy as np
import pandas as pd
import pytest

GROUPS = 20
METRICS = {  # metric -> (reference, value, error of a run, share of its variance common to runs of the same seeds)
    "fd_classifier": ("test", 8.0, 0.5, 0.99),
    "is_classifier": ("none", 7.0, 0.05, 0.99),
    "mmr_0.1": ("none", 0.2, 0.012, 0.9),
    "mean_pixels": ("none", -0.3, 0.004, 1.0),
    "mass_error_pixels": ("train", 0.5, 0.8, 0.9),
    "distinct_samples_pixels": ("none", 1.0, 0.0, 1.0),
}
METHODS = {"ddim": ("edm", "prior", 5, 1.0), "heun": ("edm", "prior", 5, 3.0), "dpm_ot": ("edm", "transport", 5, 0.5)}


def row(method, network, start, nfe, metric, reference, value, half, **other):
    return {
        "experiment": "gate", "dataset": "digits", "method": method, "network": network, "start": start,
        "sampler": "ddim", "nfe_budget": nfe, "nfe_counted": nfe, "sigma_start": "" if start == "data" else 80.0,
        "sigma_atoms": "", "training_seed": 0, "sample_seed": "pooled", "num_samples": 1000, "features": "classifier",
        "reference": reference, "metric": metric, "value": value, "low": value - half, "high": value + half,
        "reason": "", "fingerprint": "", **other,
    }  # fmt: skip


@pytest.fixture
def write_run(tmp_path):
    """Write a run to a folder: ``noise`` seeds what differs even at equal seeds, ``shift`` adds to (method, metric)."""

    def write(name, *, fingerprint="a", sample_seed=0, noise=0, shift=None, n=1000, replicates=True):
        rows, parts = [], []
        for method, (network, start, nfe, _) in METHODS.items():
            for metric, (reference, value, error, shared) in METRICS.items():
                scale = METHODS[method][3] if metric == "fd_classifier" else 1
                key = [len(method), len(metric), ord(metric[0])]
                common = np.random.default_rng([sample_seed, *key]).standard_normal(GROUPS)
                own = np.random.default_rng([noise, 1, *key]).standard_normal(GROUPS)
                z = error * scale * (shared**0.5 * common + (1 - shared) ** 0.5 * own)
                # jackknife replicates of a mean of GROUPS independent parts with deviation sqrt(GROUPS) * error
                full = value * scale + z.mean() * GROUPS**0.5
                full += (shift or {}).get((method, metric), 0)
                leave_out = full - (z - z.mean()) * GROUPS**0.5 / (GROUPS - 1)
                half = 2.093 * error * scale
                rows.append(row(method, network, start, nfe, metric, reference, full, half, num_samples=n))
                rows.append({**rows[-1], "sample_seed": sample_seed})
                cell = f"{method}/{nfe}/80"
                parts += [(cell, metric, reference, group, v) for group, v in [("all", full), *enumerate(leave_out)]]
        floor = row("real_test", "", "data", 0, "mmr_0.1", "none", 0.05, 0.001)
        parts += [("real_test/0", "mmr_0.1", "none", group, 0.05) for group in ("all", *range(GROUPS))]
        table = pd.DataFrame([*rows, floor]).assign(fingerprint=fingerprint)
        folder = tmp_path / name
        folder.mkdir()
        table.to_csv(folder / "metrics.csv", index=False)
        if replicates:
            columns = ["cell", "metric", "reference", "group", "value"]
            pd.DataFrame(parts, columns=columns).to_csv(folder / "replicates.csv", index=False)
        return folder

    return write


@pytest.fixture
def edit_rows():
    """Change columns of the rows of a run that match."""

    def edit(folder, match, **columns):
        table = pd.read_csv(folder / "metrics.csv", dtype=str, keep_default_na=False)
        chosen = np.logical_and.reduce([table[name] == value for name, value in match.items()])
        assert chosen.any()
        for name, value in columns.items():
            table.loc[chosen, name] = str(value)
        table.to_csv(folder / "metrics.csv", index=False)

    return edit
