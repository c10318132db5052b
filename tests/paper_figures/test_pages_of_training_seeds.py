"""Pages of an experiment with several training seeds: rows over all of them, and which interval is printed."""

import json
from importlib import import_module

import pandas as pd
import pytest

from dpmot.experiment.checks import parsed
from dpmot.experiment.members import members
from dpmot.experiment.stages import _trainings
from dpmot.results import cell_key
from paper_figures._numbers import interval
from paper_figures._results import load

SEEDS = [0, 1, 2]
JITTER = {0: 0.97, 1: 1.0, 2: 1.03}


@pytest.fixture
def several(results_folder):
    """The synthetic results as three trainings would have given them; one network is loaded, its methods stay one."""
    folder = results_folder("smoke")
    config = json.loads((folder / "experiment.json").read_text())
    loaded = {"kind": "ddpm", "weights": "results/ddpm.safetensors"}
    config |= {"training_seeds": SEEDS, "networks": {**config["networks"], "ddpm": loaded}}
    (folder / "experiment.json").write_text(json.dumps(config))
    each = members(parsed(config).completed())
    table, audit = pd.read_csv(folder / "metrics.csv"), pd.read_csv(folder / "audit.csv")
    table = table[table.metric != "distinct_neighbours_pixels"]  # counts here, a share in real results
    rows, verdicts = [table[~table.method.isin(each.repeated)]], [audit[~audit.method.isin(each.repeated)]]
    for name, drawn in each.repeated.items():
        for seed, one in zip(SEEDS, drawn, strict=True):
            part = table[table.method == name].assign(
                method=one, network=f"{config['methods'][name]['network']}_t{seed}"
            )
            part[["value", "low", "high"]] *= JITTER[seed]
            rows.append(part)
            verdicts.append(audit[audit.method == name].assign(method=one))
        samples = folder / "samples"
        (samples / f"{name}.safetensors").rename(samples / f"{drawn[0]}.safetensors")
    whole = pd.concat(rows).astype(object)
    whole = whole.where(whole.notna(), None).to_dict("records")
    metrics, replicates = _trainings.assembled(whole, each, fingerprint="f")
    metrics.to_csv(folder / "metrics.csv", index=False)
    _trainings.verdicts(pd.concat(verdicts), each).to_csv(folder / "audit.csv", index=False)
    columns = ["cell", "metric", "reference", "group", "value"]
    pd.DataFrame(replicates, columns=columns).to_csv(folder / "replicates.csv", index=False)
    return folder


def page(folder, name):
    return import_module(f"paper_figures.{name}").PAGE.produce(load(folder))


def test_a_table_prints_the_mean_of_the_seeds_and_says_what_its_intervals_are_over(several):
    results = load(several)
    assert set(results.each.repeated) == {"edm", "dpm_ot_heun_edm"}
    text = page(several, "table_1_quality")["tables/table_1_quality.md"].decode()
    assert "the mean of 3 training seeds, each pooled over 3 sample seeds" in text
    assert "intervals are over the 3 training seeds (Student's t)" in text
    assert "One network each, so their intervals are over samples: DDIM" in text
    assert "an interval of a share of copies" in text.lower() and "interval over training seeds;" in text
    assert "_t0" not in text.split("**Details**")[0]
    row = results.metrics[(results.metrics.method == "edm") & (results.metrics.metric == "fd_classifier")]
    row = row[(row.reference == "test") & (row.nfe_budget == "5")].iloc[0]
    assert interval(row) in text
    units = results.drawn[results.drawn.method.isin(["edm_t0", "edm_t1", "edm_t2"])]
    units = units[(units.metric == "fd_classifier") & (units.reference == "test") & (units.nfe_budget == "5")]
    assert row.value == pytest.approx(units[units.sample_seed == "pooled"].value.mean(), rel=1e-9)


def test_rows_of_single_seeds_stay_in_the_files_and_out_of_the_pages(several):
    for name in ("table_1_quality", "table_2_mode_mixture"):
        csv = page(several, name)[f"tables/{name}.csv"].decode()
        assert "edm_t1," not in csv and "\nedm," not in csv.split("\n", 1)[0]
    assert "edm_t1" in (several / "metrics.csv").read_text()


def test_differences_are_paired_by_training_seeds(several):
    results = load(several)
    key = cell_key("edm", 5, 80.0), "fd_classifier", "test"
    assert len(results.replicates[key][1]) == len(SEEDS)
    text = page(several, "table_5_differences")["tables/table_5_differences.md"].decode()
    assert "paired by training seeds" in text


@pytest.mark.parametrize("name", ["figure_2_samples", "figure_3_nfe", "figure_7_neighbours"])
def test_figures_are_drawn_from_the_first_network(several, name):
    assert all(len(content) > 1000 for content in page(several, name).values())


@pytest.mark.parametrize(
    ("method", "seed"), [("edm", "0"), ("edm_t1", "2"), ("ddim", "0"), ("real_test", "1")], ids=str
)
def test_a_row_of_another_training_is_refused(several, method, seed):
    table = pd.read_csv(several / "metrics.csv", dtype=str, keep_default_na=False)
    table.loc[table.index[table.method == method][0], "training_seed"] = seed
    table.to_csv(several / "metrics.csv", index=False)
    with pytest.raises(ValueError, match=f"column training_seed: found {seed}; experiment.json has"):
        load(several)
