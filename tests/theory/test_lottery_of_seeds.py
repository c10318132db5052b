"""benchmarks/lottery.py: runs differ in one seed and share no samples, and planted parts of a variance are found."""

import numpy as np
import pandas as pd
import pytest

from benchmarks import lottery
from benchmarks.lottery import KEY, MOVED, SEEDS, Group, groups, parted
from dpmot.experiment.config import load
from dpmot.plugins import ROOT

RUNS = {group.name: group for group in groups(10, 5)}


def planned(group):
    return load([ROOT / lottery.CONFIG], group.overrides)


@pytest.mark.parametrize("factor", SEEDS)
def test_runs_of_a_factor_differ_in_its_seed_alone(factor):
    key = SEEDS[factor]
    base, other = planned(Group(factor, 0, 5)), planned(Group(factor, 3, 5))
    assert (getattr(base, key), getattr(other, key)) == (0, 3)
    for one in SEEDS.values():
        if one != key:
            assert getattr(other, one) == getattr(base, one)
    assert set(other.drawn) == {name for name, factors in MOVED.items() if factor in factors}
    assert set(base.drawn) == set(MOVED)


def test_no_two_runs_share_samples():
    drawn = [seed for group in RUNS.values() for seed in planned(group).sample_seeds]
    assert len(drawn) == len(set(drawn)) == 5 * len(RUNS)


def test_seed_0_is_one_run_for_all_factors():
    assert {one.name for one in RUNS.values() if one.number == 0} == {"lottery_0"}
    assert len(RUNS) == 1 + 9 * len(SEEDS)


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
