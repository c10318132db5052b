"""The whole workflow on a tiny experiment: what it writes, and what it does not do again."""

import json

import pandas as pd
import pytest
from safetensors import safe_open

from dpmot.results import METRICS
from dpmot.runtime.seals import texts_of

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def test_every_declared_page_exists_and_no_resume_state_is_left(finished):
    experiment = json.loads(finished.results("experiment.json").read_text())
    for page in experiment["tables"]:
        assert all(finished.results(f"tables/{page}.{kind}").stat().st_size > 0 for kind in ("md", "tex", "csv"))
    for page in experiment["figures"]:
        assert all(finished.results(f"figures/{page}.{kind}").stat().st_size > 0 for kind in ("png", "pdf"))
    assert list(finished.results(".resume").iterdir()) == []


def test_the_report_is_one_file_with_every_page_and_its_caption(finished, tmp_path):
    finished.snakemake("--report", str(tmp_path / "report.html"), cores=1)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "table_1_quality" in text and "copies, not audited" in text and "every number is measured" in text.lower()


def test_metrics_have_the_promised_columns_and_no_value_is_empty_without_a_reason(finished):
    metrics = pd.read_csv(finished.results("metrics.csv"))
    assert tuple(metrics.columns) == METRICS.columns
    assert metrics.reason[metrics.value.isna()].notna().all()  # where there is a value, a reason is a remark
    assert metrics.value.notna().mean() > 0.9
    assert metrics.fingerprint.nunique() == 1
    measured = metrics[metrics.value.notna()]
    assert (measured.low <= measured.value).all() and (measured.value <= measured.high).all()


def test_counted_evaluations_never_exceed_the_budget_except_by_the_extra_denoise(finished):
    metrics = pd.read_csv(finished.results("metrics.csv"))
    cells = metrics.drop_duplicates(["method", "nfe_budget", "sigma_start"])
    over = cells[cells.nfe_counted > cells.nfe_budget]
    assert over.empty  # as_code spends one fifth of the budget, plus one
    as_code = cells[cells.method == "dpm_ot_as_code"].set_index("nfe_budget").nfe_counted
    assert as_code.to_dict() == {5: 1 + 1, 10: 2 + 1}


def test_every_cell_holds_num_samples_distinct_rows_per_seed(finished):
    with safe_open(finished.results("samples/edm.safetensors"), framework="np") as file:
        cells = json.loads(texts_of(file.metadata())["cells"])
        images = {cell["key"]: file.get_tensor(f"{cell['key']}/images") for cell in cells}
    assert {(cell["nfe_budget"], cell["sample_seed"]) for cell in cells} == {(b, s) for b in (5, 10) for s in (0, 1)}
    for array in images.values():
        assert array.dtype == "uint8" and array.shape == (200, 1, 8, 8)
        assert len({image.tobytes() for image in array}) == 200


def test_copies_of_the_reference_are_unranked_too(finished):
    # as_code takes its atoms from the test split: nearest training images say nothing, nearest test images all.
    audit = pd.read_csv(finished.results("audit.csv")).set_index("method")
    assert not audit.loc["dpm_ot_as_code", "ranked"].any()
    assert not audit.loc["copy", "ranked"].any()


def test_replicates_recompute_the_intervals(finished):
    from dpmot.statistics import jackknife

    replicates = pd.read_csv(finished.results("replicates.csv"))
    metrics = pd.read_csv(finished.results("metrics.csv"))
    of_edm = replicates[(replicates.cell == "edm/5/80") & (replicates.metric == "fd_classifier")]
    of_edm = of_edm[of_edm.reference == "test"].set_index("group").value
    again = jackknife.interval(of_edm["all"], of_edm.drop("all").to_numpy())
    rows = metrics[(metrics.method == "edm") & (metrics.nfe_budget == 5) & (metrics.sample_seed == "pooled")]
    row = rows[(rows.metric == "fd_classifier") & (rows.reference == "test")].iloc[0]
    # CSV text holds every digit of a double. The reference's part of the variance widens FD's interval evenly.
    assert row.value == pytest.approx(again.value, rel=1e-12)
    assert row.low < again.low < again.high < row.high
    assert row.high - row.value == pytest.approx(row.value - row.low, rel=1e-9)
    of_score = replicates[(replicates.cell == "edm/5/80") & (replicates.metric == "is_classifier")]
    of_score = of_score.set_index("group").value
    again, row = (
        jackknife.interval(of_score["all"], of_score.drop("all").to_numpy()),
        rows[rows.metric == "is_classifier"],
    )
    found = row[["value", "low", "high"]].iloc[0].tolist()
    assert found == pytest.approx([again.value, again.low, again.high], rel=1e-12)


def test_timings_name_every_job_and_add_up(finished):
    timings = pd.read_csv(finished.results("timings.csv"))
    assert {"prepare", "train_edm", "solve", "sample_edm", "measure", "table_1_quality"} <= set(timings.job)
    parts = timings.startup_s + timings.arithmetic_s + timings.io_s
    assert (parts <= timings.wall_s + 0.01).all()  # rounding to milliseconds, three parts


def test_nothing_runs_when_nothing_changed(finished):
    assert finished.planned() == set()


def test_a_new_label_redraws_pages_and_recomputes_nothing(finished_copy):
    config = finished_copy.folder / "config" / "smoke.yaml"
    config.write_text(config.read_text().replace("label: DDPM,", "label: Ho et al.,"))
    planned = finished_copy.planned()
    assert planned and all(job.startswith(("table_", "figure_", "timings")) for job in planned)


def test_editing_one_sampler_resamples_only_the_methods_that_use_it(finished_copy):
    sampler = finished_copy.folder / "baselines" / "edm.py"
    sampler.write_text(sampler.read_text() + "\n# edited\n")
    planned = finished_copy.planned()
    assert {job for job in planned if job.startswith("sample_")} == {"sample_edm"}
    assert not {job for job in planned if job.startswith(("train", "solve", "classify", "select", "prepare"))}


def test_one_more_budget_reruns_no_training_and_no_other_problem(finished):
    planned = finished.planned("--config", "experiment=smoke", "nfe_budgets=[5, 10, 20]")
    assert "sample_ddpm" in planned and "solve" in planned
    assert not {job for job in planned if job.startswith(("train", "classify", "prepare"))}
    # The sweep and the identity pair state their own budgets; one heights file serves all problems, so what reads it
    # runs again, and what does not (a copy start, a prior) keeps its samples.
    assert "sample_identity_copy" not in planned and "sample_sweep" in planned
