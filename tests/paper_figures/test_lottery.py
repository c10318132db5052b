"""Table 14: the parts of a variance that was planted, and claims that survive, or do not, other trainings."""

import importlib.util
import json
import sys

import numpy as np
import pandas as pd
import pytest

from benchmarks import gate_retrained
from benchmarks.lottery_numbers import Lottery
from dpmot.experiment.checks import parsed
from dpmot.experiment.members import STRIDE, members
from dpmot.experiment.stages import _trainings
from dpmot.gate.runs import Run
from dpmot.plugins import ROOT
from dpmot.results import cell_key
from paper_figures import _tables, table_14_trainings
from paper_figures._claims import MISSING, OTHER, REVERSED, SAME, _of_metric
from paper_figures._numbers import told
from paper_figures._results import load
from paper_figures._retrained import of_training

SEEDS, DRAWS, GROUPS = tuple(range(6)), (0, 1, 2), 20
TRAINING, SAMPLES = 0.4, 0.2  # standard deviations of FD, in the mean row
METHODS = {"ddim": 9.0, "heun": 3.0, "near": 3.02}  # FD at 5 evaluations: one is far, two are as good as each other
CONFIG = {
    "experiment": "lottery",
    "dataset": "digits",
    "nfe_budgets": [5],
    "num_samples": 500,
    "sample_seeds": list(DRAWS),
    "training_seeds": list(SEEDS),
    "networks": {"edm": {"kind": "edm", "training": {"steps": 1}}},
    "methods": {
        name: {"label": name.upper(), "group": "rivals", "network": "edm", "start": "prior", "sampler": "ddim"}
        for name in METHODS
    },
    "tables": ["table_14_trainings"],
}


def written(folder, *, draws=DRAWS, seeds=SEEDS, lucky=()):
    """A folder whose FD has planted parts: training common to all methods, samples of each draw.

    ``lucky`` are trainings whose FD is 8 larger.
    """
    experiment = parsed({**CONFIG, "sample_seeds": list(draws), "training_seeds": list(seeds)}).completed()
    each, random = members(experiment), np.random.default_rng(5)
    luck = {seed: TRAINING * random.standard_normal() + 8 * (seed in lucky) for seed in seeds}
    base = {"start": "prior", "sampler": "ddim", "nfe_budget": 5, "nfe_counted": 5, "sigma_start": 80.0}
    base |= {"features": "classifier", "reference": "test", "metric": "fd_classifier"}
    rows, replicates, audit = [], [], []
    for name, level in METHODS.items():
        for one in each.of[name]:
            seed = each.seeds[one]
            values = level + luck[seed] + SAMPLES * random.standard_normal(len(draws))
            cell = base | {"method": one, "network": f"edm_t{seed}" if len(seeds) > 1 else "edm"}
            for s, value in zip(draws, values, strict=True):
                at = {"sample_seed": s + STRIDE * seed, "num_samples": 500}
                rows.append(cell | at | {"value": value, "low": value - 0.5, "high": value + 0.5})
            pooled = values.mean()
            at = {"sample_seed": "pooled", "num_samples": 500 * len(draws)}
            rows.append(cell | at | {"value": pooled, "low": pooled - 0.3, "high": pooled + 0.3})
            parts = random.standard_normal(GROUPS) * 0.005
            told = [("all", pooled), *enumerate(pooled + parts - parts.mean())]
            key = cell_key(one, 5, 80.0)
            replicates += [[key, "fd_classifier", "test", group, value] for group, value in told]
            audit.append([one, 5, 80.0, "ranked", True, ""])
    for row in rows:
        row |= {"sigma_atoms": None, "reason": None}
    metrics, over = _trainings.assembled(rows, each, fingerprint="f")
    metrics.to_csv(folder / "metrics.csv", index=False)
    columns = ["cell", "metric", "reference", "group", "value"]
    pd.DataFrame([*replicates, *over], columns=columns).to_csv(folder / "replicates.csv", index=False)
    columns = ["method", "nfe_budget", "sigma_start", "verdict", "ranked", "reasons"]
    _trainings.verdicts(pd.DataFrame(audit, columns=columns), each).to_csv(folder / "audit.csv", index=False)
    (folder / "experiment.json").write_text(json.dumps(experiment.model_dump(mode="json", exclude_unset=True)))
    return load(folder)


@pytest.fixture
def results(tmp_path):
    return written(tmp_path)


def test_the_page_finds_the_parts_that_were_planted(results):
    table = table_14_trainings.make(results)
    rows = table[table["kind"] == "spread"]
    assert list(rows["method"]) == list(METHODS) and set(rows["draws"]) == {3} and set(rows["samples_a_draw"]) == {500}
    assert (rows["sd_training_low"] <= TRAINING).all() and (rows["sd_training_high"] >= TRAINING).all()
    assert (rows["sd_samples_low"] <= SAMPLES).all() and (rows["sd_samples_high"] >= SAMPLES).all()
    share = TRAINING**2 / (TRAINING**2 + SAMPLES**2)
    assert (rows["share_low"] <= share).all() and (rows["share_high"] >= share).all()
    for row in rows.to_dict("records"):
        odds = row["sd_samples"] ** 2 / row["sd_training"] ** 2
        assert row["samples_alike"] == pytest.approx(500 * odds)
        assert row["over_samples"] == pytest.approx(0.3)
        assert row["of_one"] == pytest.approx((row["high"] - row["low"]) / 2 * np.sqrt(len(SEEDS)))


def test_what_is_far_survives_and_what_is_level_does_not(results):
    table = table_14_trainings.make(results)
    claims = table[table["kind"] == "claims"].set_index("metric")
    # 2 of 3 pairs are far for certain; of the third, differences of .2 are "shown" by replicates that vary by .005
    one = claims.loc["fd_classifier"]
    assert one["pairs"] == 3 and 2 < one["claims"] <= 3
    assert 2 / 3 < one["again"] < 1 and 2 / 3 < one["confirmed"] < 1
    assert one["not_again_shown_the_other_way"] > 0
    assert one["again_low"] <= one["again"] <= one["again_high"] <= 1
    assert claims.loc[""][["pairs", "claims", "again"]].tolist() == one[["pairs", "claims", "again"]].tolist()


def test_the_view_of_one_training_is_what_its_rows_say(results):
    alone = of_training(results, 3)
    assert alone.units == "samples" and not alone.each.repeated
    rows = alone.pooled()
    assert list(rows["method"]) == list(METHODS) and rows["ranked"].all()
    drawn = results.drawn[(results.drawn["method"] == "heun_t3") & (results.drawn["sample_seed"] == "pooled")]
    assert rows[rows["method"] == "heun"]["value"].item() == drawn["value"].item()
    key = cell_key("heun", 5, 80.0), "fd_classifier", "test"
    assert alone.replicates[key][0] == drawn["value"].item() and len(alone.replicates[key][1]) == GROUPS


def test_the_fates_of_claims_by_hand():
    a, b, c = ("x", "y", "5"), ("x", "z", "5"), ("y", "z", "5")
    first = {a: (-1.0, True), b: (-1.0, True), c: (-1.0, True)}
    second = {a: (-1.0, True), b: (0.5, True)}  # c is unranked there
    third = {a: (-0.1, False), b: (0.1, False), c: (-1.0, True)}
    found = _of_metric("m", "test", [first, second, third], first)
    assert (found.pairs, found.made) == (pytest.approx(8 / 3), 2.0)
    # ordered pairs: 1-2: a again, b reversed, c missing; 1-3: a same sign, b other sign, c again; 2-1: a again, b
    # reversed; 2-3: a same sign, b same sign; 3-1: c again; 3-2: c missing
    assert found.again.value == pytest.approx((1 / 3 + 1 / 3 + 1 / 2 + 0 + 1 + 0) / 6)
    assert found.otherwise[REVERSED] == pytest.approx((1 / 3 + 1 / 2) / 6)
    assert found.otherwise[SAME] == pytest.approx((1 / 3 + 1) / 6)
    assert found.otherwise[OTHER] == pytest.approx((1 / 3) / 6)
    assert found.otherwise[MISSING] == pytest.approx((1 / 3 + 1) / 6)
    assert found.confirmed.value == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert found.found == pytest.approx((1 + 1 / 3 + 1 / 3) / 3)


def test_the_page_says_which_interval_is_which(results):
    text = _tables.markdown(table_14_trainings.layout(table_14_trainings.make(results), results))
    assert "value [over trainings] | ± over samples | ± of one training" in text
    assert "6 training seeds, each with 3 draws of n = 500" in text
    assert "Of the variance of FD (classifier) of one draw of n = 500, training makes" in text
    assert "Not varied: atoms, heights, fits of mixtures" in text
    assert set(table_14_trainings.PAGE.produce(results)) == set(table_14_trainings.PAGE.outputs)


def test_with_one_draw_a_network_nothing_is_split_and_the_intervals_stay(tmp_path):
    results = written(tmp_path, draws=(0,))
    table = table_14_trainings.make(results)
    rows = table[table["kind"] == "spread"]
    assert rows["share"].isna().all() and rows["of_one"].notna().all()
    text = _tables.markdown(table_14_trainings.layout(table, results))
    assert "needs two sample seeds or more" in text and "sd of training" not in text


def test_one_training_makes_no_table_and_says_what_would(tmp_path):
    results = written(tmp_path, seeds=(0,))
    text = _tables.markdown(table_14_trainings.layout(table_14_trainings.make(results), results))
    assert "not run: needs training_seeds" in text


def test_the_gate_stops_a_network_that_retraining_moved_and_no_other_draw(tmp_path):
    written(tmp_path, lucky=[5])
    found = gate_retrained.alarms(Run.read(tmp_path))
    assert found.groupby("design", sort=False).size().to_dict() == {
        gate_retrained.SAME: 6 * 3,
        gate_retrained.OTHER: 6 * 5,
        gate_retrained.WHOLE: 6 * 5,
    }
    stopped = found["changed"] + found["violated"] > 0
    five = found["candidate"].str.contains("training 5") | found["reference"].str.contains("training 5")
    assert stopped[five & (found["design"] != gate_retrained.SAME)].all()  # 8 is far beyond any interval
    assert not stopped[found["design"] == gate_retrained.SAME].any()
    assert 0 < stopped[~five].sum() < (~five).sum() / 2  # what retraining moves otherwise is seen now and then


def page_of(lottery):
    """What docs/theory.md says of retraining, of these numbers."""
    spec = importlib.util.spec_from_file_location("docs_fill_of_a_lottery", ROOT / "docs" / "fill.py")
    fill = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = fill  # dataclasses look there
    spec.loader.exec_module(fill)
    text = (fill.TEMPLATES / "theory.md").read_text(encoding="utf-8").split("## What retraining does")[1]
    text = text.split("## What atoms and fits move")[0]
    return fill.environment().from_string(text).render(lottery=lottery)


def test_the_page_of_laws_says_what_the_lottery_measured(results, tmp_path):
    folder = tmp_path / "committed"
    (folder / "tables").mkdir(parents=True)
    assert Lottery.read(folder) is None and "The lottery is not measured yet." in page_of(None)
    table = table_14_trainings.make(results)
    table.to_csv(folder / "tables" / "table_14_trainings.csv", index=False)
    text = page_of(Lottery.read(folder))
    assert "6 networks, 3 draws of n = 500 from each" in text and "not measured yet" in text  # the gate
    spread = table[table["kind"] == "spread"]
    share = spread["share"].median()
    assert f"| 3 | {share:.2f} | {spread['share'].min():.2f} to {spread['share'].max():.2f} | {1 - share:.2f} |" in text
    heun = spread[spread["method"] == "heun"].iloc[0]
    assert f"| HEUN | 5 | {told(heun['value'], heun['low'], heun['high'])} | 0.30 | {heun['of_one']:#.2g} |" in text
    claims = table[(table["kind"] == "claims") & (table["metric"] == "")].iloc[0]
    assert f"a share of {told(*claims[['again', 'again_low', 'again_high']])} again" in text
    rows = [("same network, other draw", 0, 0), ("same network, other draw", 1, 1), ("other network, one draw", 0, 2)]
    alarms = pd.DataFrame(rows, columns=["design", "changed", "violated"])
    alarms.to_csv(folder / "gate_retrained.csv", index=False)
    text = page_of(Lottery.read(folder))
    assert "| same network, other draw | 1 of 2 | 1 | 1 |" in text and "not measured yet" not in text
    assert "| other network, one draw | 1 of 1 | 0 | 1 |" in text


def test_a_smoke_run_of_the_lottery_is_no_number_of_the_page(results, tmp_path):
    table = table_14_trainings.make(results).assign(not_a_result="SMOKE RUN: no number here is a result")
    (tmp_path / "tables").mkdir(exist_ok=True)
    table.to_csv(tmp_path / "tables" / "table_14_trainings.csv", index=False)
    with pytest.raises(ValueError, match=r"table_14_trainings\.csv: SMOKE RUN"):
        Lottery.read(tmp_path)
