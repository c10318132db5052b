"""The gate on runs of several training seeds: each is compared as any run, and so are the rows over all of them."""

import json

import numpy as np
import pandas as pd
import pytest

from dpmot.gate.compare import compare
from dpmot.gate.runs import CannotCompare, Run

SEEDS = (0, 1, 2, 3)


@pytest.fixture
def write_several(write_run, edit_rows):
    """Write a run of four training seeds of ddim: ``worse`` is added to FD at every one of them."""

    def write(name, *, noise=0, worse=0.0, seeds=SEEDS):
        folder = write_run(name, fingerprint=name, noise=noise)
        table = pd.read_csv(folder / "metrics.csv", dtype=str, keep_default_na=False)
        parts = pd.read_csv(folder / "replicates.csv", dtype=str)
        single, others = table[table.method == "ddim"], table[table.method != "ddim"]
        rows, replicates = [others.assign(training_seed="none")], [parts[~parts.cell.str.startswith("ddim/")]]
        values = {}
        for t in seeds:
            shift = 0.3 * np.sin(1 + t) + worse
            one = single.assign(method=f"ddim_t{t}", training_seed=str(t), network=f"edm_t{t}")
            own = parts[parts.cell.str.startswith("ddim/")].assign(cell=f"ddim_t{t}/5/80")
            for frame, columns in ((one, ("value", "low", "high")), (own, ("value",))):
                of_fd = frame.metric == "fd_classifier"
                for column in columns:
                    moved = frame.loc[of_fd, column].astype(float) + shift
                    frame.loc[of_fd, column] = moved.map(repr)
            pooled = one[one.sample_seed == "pooled"].set_index("metric").value.astype(float)
            values[t] = pooled
            rows.append(one)
            replicates.append(own)
        whole = pd.DataFrame(values)  # metric x seed
        over = single[single.sample_seed == "pooled"].assign(training_seed="all").set_index("metric", drop=False)
        half = 3.18 * whole.std(axis=1) / len(seeds) ** 0.5
        for column, sign in (("value", 0), ("low", -1), ("high", 1)):
            over[column] = (whole.mean(axis=1) + sign * half).map(repr)
        rows.append(over)
        for metric, of in whole.iterrows():
            groups = [("all", of.mean()), *((g, of.drop(t).mean()) for g, t in enumerate(seeds))]
            reference = over.loc[metric, "reference"]
            replicates.append(
                pd.DataFrame([["ddim/5/80", metric, reference, g, v] for g, v in groups], columns=parts.columns)
            )
        pd.concat(rows).to_csv(folder / "metrics.csv", index=False)
        pd.concat(replicates).to_csv(folder / "replicates.csv", index=False)
        methods = {name: {} for name in ("ddim", "heun", "dpm_ot")}
        (folder / "experiment.json").write_text(json.dumps({"methods": methods, "training_seeds": list(seeds)}))
        return folder

    return write


def test_runs_that_differ_in_nothing_pass_in_pairs(write_several):
    report = compare(Run.read(write_several("a")), Run.read(write_several("b", noise=1)))
    assert report.status == 0 and report.how == "paired"
    assert {finding.cell.split()[0] for finding in report.findings} >= {"ddim", "ddim_t0", "ddim_t3", "heun"}


def test_a_run_is_exactly_itself(write_several):
    run = Run.read(write_several("a"))
    report = compare(run, run)
    assert report.status == 0 and report.how == "exact"


def test_what_is_worse_at_every_seed_is_found_at_each_and_over_all(write_several):
    report = compare(Run.read(write_several("a", noise=1, worse=4.0)), Run.read(write_several("b")))
    found = {finding.cell.split()[0] for finding in report.failed if finding.verdict == "worse"}
    assert found == {"ddim", *(f"ddim_t{t}" for t in SEEDS)}


@pytest.mark.parametrize("seeds", [(0, 1, 2), (0, 1, 2, 4)], ids=str)
def test_other_training_seeds_do_not_compare(write_several, seeds):
    run, other = Run.read(write_several("a", seeds=seeds)), Run.read(write_several("b"))
    with pytest.raises(CannotCompare, match="ddim has training seeds 0, 1, 2"):
        compare(run, other)


def test_a_run_of_one_training_does_not_compare_with_one_of_four(write_several, write_run):
    run, other = Run.read(write_run("a")), Run.read(write_several("b"))
    for pair in ((run, other), (other, run)):
        with pytest.raises(CannotCompare, match="ddim has training seeds"):
            compare(*pair)


@pytest.mark.parametrize(
    ("match", "columns", "told"),
    [
        ({"method": "ddim_t1", "metric": "mmr_0.1"}, {"training_seed": 2}, "ddim_t1 has training seeds 1 and 2"),
        ({"method": "ddim", "metric": "fd_classifier"}, {"value": 9.0, "high": 99}, "over training seeds, is 9.0"),
        ({"method": "ddim_t1", "metric": "fd_classifier"}, {"metric": "kd_classifier"}, "lacks rows of its training"),
        ({"method": "ddim_t1"}, {"method": "ddim_t5"}, "the methods are"),
    ],
    ids=str,
)
def test_files_that_mix_runs_are_refused(write_several, edit_rows, match, columns, told):
    folder = write_several("a")
    edit_rows(folder, match, **columns)
    with pytest.raises(CannotCompare, match=told):
        Run.read(folder)
