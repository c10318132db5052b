"""benchmarks/lottery.py: runs differ in one seed and share no samples, and planted parts of a variance are found."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import lottery
from benchmarks.lottery import FACTORS, KEY, MOVED, Group, groups, parted
from benchmarks.lottery_numbers import Parts
from dpmot.experiment.config import load
from dpmot.plugins import ROOT
from paper_figures._numbers import told

RUNS = {group.name: group for group in groups(10, 5)}


def planned(group):
    return load([ROOT / lottery.CONFIG], group.overrides)


@pytest.mark.parametrize("factor", FACTORS)
def test_runs_of_a_factor_differ_in_its_seed_alone(factor):
    base, other = planned(Group(factor, 0, 5)), planned(Group(factor, 3, 5))
    seeds = {"atoms": other.atom_seed, "fit": other.fit_seed, "training": files(other)[0].count("edm_t3")}
    assert seeds == {**dict.fromkeys(FACTORS, 0), factor: 1 if factor == "training" else 3}
    assert (base.atom_seed, base.fit_seed, files(base)[0].count("edm_t0")) == (0, 0, 1)
    assert other.training_seed == base.training_seed == 0  # that of the classifier
    assert files(base)[1] != files(other)[1] or factor != "training"
    assert set(other.drawn) == {name for name, factors in MOVED.items() if factor in factors}
    assert set(base.drawn) == set(MOVED)


def files(experiment):
    return experiment.networks["edm"].weights, experiment.networks["edm"].sha256


@pytest.mark.parametrize("draws", [5, 10])
def test_no_two_runs_share_samples(draws):
    runs = {group.name: group for group in groups(10, draws)}
    drawn = [seed for group in runs.values() for seed in planned(group).sample_seeds]
    assert len(drawn) == len(set(drawn)) == draws * len(RUNS)


def test_seed_0_is_one_run_for_all_factors():
    assert {one.name for one in RUNS.values() if one.number == 0} == {"lottery_0"}
    assert len(RUNS) == 1 + 9 * len(FACTORS)


def table(rng, group, *, factor, samples, draws=400, metric="fd_classifier"):
    level = 10 + factor * rng.standard_normal()
    rows = [
        ("dpm_ot", "DPM-OT", "5", metric, "test", str(seed), 500, level + samples * rng.standard_normal(), "f")
        for seed in range(draws)
    ]
    return pd.DataFrame(rows, columns=[*KEY, "sample_seed", "num_samples", "value", "fingerprint"])


def test_planted_parts_are_found():
    rng = np.random.default_rng(0)
    (row,) = parted("atoms", [table(rng, group, factor=2.0, samples=1.0) for group in range(60)])
    assert (row["factor"], row["groups"], row["draws"], row["samples_a_draw"]) == ("atoms", 60, 400, 500)
    assert row["sd_factor_low"] < 2 < row["sd_factor_high"] and row["sd_factor"] == pytest.approx(2, rel=0.25)
    assert row["sd_samples"] == pytest.approx(1, rel=0.02)
    assert row["share_low"] < 0.8 < row["share_high"]


def test_a_run_with_fewer_draws_is_refused():
    rng = np.random.default_rng(0)
    given = [table(rng, 0, factor=1, samples=1, draws=3), table(rng, 1, factor=1, samples=1, draws=2)]
    with pytest.raises(ValueError, match=r"draws of fit by group are \[3, 2\]"):
        list(parted("fit", given))


def test_a_page_prints_a_part_with_its_interval_and_a_dash_where_a_seed_changes_nothing(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        row
        for factor in ("training", "atoms")
        for row in parted(factor, [table(rng, group, factor=1, samples=1, draws=4) for group in range(5)])
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "lottery.csv", index=False)
    parts = Parts.read(tmp_path / "lottery.csv")
    (cell,) = parts.cells()
    (metric,) = parts.metrics
    assert (cell["label"], cell["nfe"], cell["fit"], metric["fit"]) == ("DPM-OT", 5, "–", "–")
    assert cell["atoms"] == told(*(rows[1][f"sd_factor{end}"] for end in ("", "_low", "_high")))
    assert metric["atoms"].startswith(f"{rows[1]['share']:.2f} (") and metric["atoms"].endswith(" of 1)")
    assert parts.moved("atoms", "dpm_ot") == f"{int(rows[1]['share_low'] > 0)} of 1"
    assert parts.moved("fit", "dpm_ot") == parts.moved("atoms", "copy") == "0 of 0"
    assert parts.design == {"groups": 5, "draws": 4, "samples_a_draw": 500}
    assert Parts.read(tmp_path / "none.csv") is None
    with pytest.raises(LookupError, match="no row of recall against test"):
        parts.cells("recall")
