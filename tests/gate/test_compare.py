"""What closes the gate, what does not, and what it refuses to compare."""

import json

import numpy as np
import pandas as pd
import pytest

from dpmot.gate.compare import compare
from dpmot.gate.findings import PASSED, REGRESSED
from dpmot.gate.runs import CannotCompare, Run
from dpmot.plugins import ROOT

REFERENCES = ROOT / "results" / "reference"


def verdicts(candidate, reference, **options):
    report = compare(Run.read(candidate), Run.read(reference), **options)
    return report, {(one.cell.split()[0], one.metric): one.verdict for one in report.failed}


def test_one_fingerprint_must_agree_to_the_last_digit(write_run, edit_rows):
    reference, candidate = write_run("reference"), write_run("candidate")
    report, failed = verdicts(candidate, reference)
    assert (report.how, report.status, failed) == ("exact", PASSED, {})
    edit_rows(candidate, {"method": "ddim", "metric": "mmr_0.1"}, high=0.3)
    report, failed = verdicts(candidate, reference)
    assert report.status == REGRESSED and failed == {("ddim", "mmr_0.1"): "changed"}
    assert "not deterministic" in report.failed[0].text


def test_the_same_seeds_are_compared_in_pairs_and_see_what_intervals_cannot(write_run):
    shift = {("heun", "fd_classifier"): 2.4}  # a tenth of 24, inside the interval of +- 3.1
    reference = write_run("reference")
    report, failed = verdicts(write_run("same", fingerprint="b", noise=1, shift=shift), reference)
    assert report.how == "paired" and failed == {("heun", "fd_classifier (test)"): "worse"}
    report, failed = verdicts(write_run("other", fingerprint="b", sample_seed=1, shift=shift), reference)
    assert report.how == "unpaired" and failed == {}


def test_rounding_passes_and_is_shown_to_be_equivalent(write_run):
    reference = write_run("reference")
    report, _ = verdicts(write_run("candidate", fingerprint="b", shift={("ddim", "fd_classifier"): 1e-6}), reference)
    assert report.status == PASSED and {one.verdict for one in report.findings} == {"equivalent"}


def test_too_good_is_flagged_too(write_run):
    reference = write_run("reference")
    better = write_run(
        "candidate", fingerprint="b", shift={("ddim", "fd_classifier"): -2, ("ddim", "is_classifier"): 1}
    )
    report, failed = verdicts(better, reference)
    assert report.status == REGRESSED
    assert failed == {("ddim", "fd_classifier (test)"): "better", ("ddim", "is_classifier"): "better"}


def test_half_a_grey_level_and_one_duplicate_in_fifty_are_seen(write_run):
    reference = write_run("reference")
    shift = {("ddim", "mean_pixels"): -0.5 / 127.5, ("heun", "distinct_samples_pixels"): -0.02}
    _, failed = verdicts(write_run("candidate", fingerprint="b", shift=shift), reference)
    assert failed == {("ddim", "mean_pixels"): "changed", ("heun", "distinct_samples_pixels"): "worse"}
    below = {("ddim", "mean_pixels"): -0.09 / 127.5}
    assert verdicts(write_run("below", fingerprint="b", shift=below), reference)[0].status == PASSED


def test_honest_runs_with_other_seeds_pass(write_run):
    reference = write_run("reference")
    for seed in range(1, 30):
        report, failed = verdicts(write_run(f"c{seed}", fingerprint="b", sample_seed=seed, noise=seed), reference)
        assert report.how == "unpaired" and failed == {}


def test_without_replicates_the_intervals_decide(write_run):
    reference, candidate = write_run("reference"), write_run("candidate", fingerprint="b", replicates=False)
    assert verdicts(candidate, reference)[0].how == "unpaired"


def test_without_pairs_a_change_shows_from_where_the_report_says(write_run):
    reference = write_run("reference")
    options = {"fingerprint": "b", "sample_seed": 1, "replicates": False}
    same = compare(Run.read(write_run("same", **options)), Run.read(reference))
    cell = next(one for one in same.findings if (one.cell.split()[0], one.metric) == ("ddim", "fd_classifier (test)"))
    half = 2.093 * 0.5  # of its interval, in both runs
    least = cell.change.margin + same.sight * half - cell.change.difference
    for share, status in ((0.99, PASSED), (1.01, REGRESSED)):
        shifted = write_run(f"shifted_{share}", shift={("ddim", "fd_classifier"): share * least}, **options)
        assert compare(Run.read(shifted), Run.read(reference)).status == status


def test_many_cells_are_corrected_for(write_run, edit_rows):
    """A p-value that would close the gate alone does not where it is the smallest of many."""
    shift = {("ddim", "fd_classifier"): 3.0}  # between three and four standard errors of a difference
    reference, candidate = write_run("reference"), write_run("candidate", fingerprint="b", sample_seed=1, shift=shift)
    smallest = min(one.change.p_beyond for one in verdicts(candidate, reference)[0].findings)
    assert smallest < 0.01
    assert verdicts(candidate, reference, alpha=2 * smallest)[0].status == PASSED
    assert verdicts(candidate, reference, alpha=20 * smallest)[0].status == REGRESSED  # 19 cells


@pytest.mark.parametrize(
    ("match", "columns", "metric"),
    [
        ({"method": "heun"}, {"nfe_counted": 6}, "counted NFE"),
        ({"method": "heun"}, {"nfe_counted": 4}, "counted NFE"),
        ({"method": "dpm_ot", "metric": "mass_error_pixels"}, {"value": 40, "low": 38, "high": 42}, "mass error"),
        ({"method": "ddim", "metric": "mmr_0.1"}, {"value": 0.02, "low": 0.01, "high": 0.03}, "mmr_0.1"),
        ({"method": "ddim", "metric": "fd_classifier"}, {"value": 90, "low": 89, "high": 91}, "order of samplers"),
    ],
)
def test_what_must_hold_closes_the_gate_whatever_the_tests_say(write_run, edit_rows, match, columns, metric):
    reference, candidate = write_run("reference"), write_run("candidate", fingerprint="b", sample_seed=1)
    edit_rows(candidate, match, **columns)
    report, _ = verdicts(candidate, reference)
    violated = {(one.cell.split()[0], one.metric) for one in report.failed if one.verdict == "violated"}
    assert report.status == REGRESSED and (match["method"], metric) in violated
    assert report.failed[0].verdict == "violated"  # these come first


def test_a_copier_may_mix_fewer_modes_than_real_images_do(write_run, edit_rows):
    reference, candidate = (write_run(name, fingerprint=name, replicates=False) for name in ("reference", "candidate"))
    for folder in (reference, candidate):
        edit_rows(folder, {"method": "dpm_ot", "metric": "mmr_0.1"}, value=0.02, low=0.01, high=0.03)
    assert verdicts(candidate, reference)[0].status == PASSED


def test_levels_are_matched_beyond_their_last_digits(write_run, edit_rows):
    reference, candidate = write_run("reference"), write_run("candidate", fingerprint="b")
    edit_rows(candidate, {"method": "dpm_ot"}, sigma_start=80.0 + 1e-11)
    assert verdicts(candidate, reference)[0].status == PASSED


def test_numbers_are_compared_as_numbers(write_run, edit_rows):
    reference, candidate = write_run("reference"), write_run("candidate", fingerprint="b")
    edit_rows(candidate, {"dataset": "digits"}, num_samples="1000.0")
    edit_rows(candidate, {"method": "ddim"}, nfe_counted="5.0")
    assert verdicts(candidate, reference)[0].status == PASSED


def test_one_fingerprint_binds_every_row_and_the_replicates(write_run, edit_rows):
    reference = write_run("reference")
    seed = write_run("seed")
    edit_rows(seed, {"method": "heun", "metric": "is_classifier", "sample_seed": "0"}, value=99)
    assert verdicts(seed, reference)[1] == {("heun", "is_classifier"): "changed"}
    parts = write_run("parts")
    text = (parts / "replicates.csv").read_text()
    (parts / "replicates.csv").write_text(text.replace("ddim/5/80,mmr_0.1,none,3,0.", "ddim/5/80,mmr_0.1,none,3,1."))
    assert verdicts(parts, reference)[1] == {("all", "replicates.csv"): "changed"}


def test_a_new_method_is_reported_and_the_others_stay_in_pairs(write_run):
    reference, candidate = write_run("reference"), write_run("candidate", fingerprint="b")
    table = pd.read_csv(candidate / "metrics.csv", dtype=str, keep_default_na=False)
    drawn = table[(table["method"] == "ddim") & (table["sample_seed"] == "pooled")].assign(method="fresh")
    seed = drawn.assign(sample_seed="7")
    pd.concat([table, drawn, seed]).to_csv(candidate / "metrics.csv", index=False)
    report, failed = verdicts(candidate, reference)
    assert (report.how, failed) == ("paired", {})
    assert {one.cell.split()[0] for one in report.findings if one.verdict == "new"} == {"fresh"}


def test_replicates_of_another_run_are_refused(write_run, edit_rows):
    reference, candidate = write_run("reference"), write_run("candidate", fingerprint="b")
    edit_rows(candidate, {"method": "ddim", "metric": "fd_classifier"}, value=30, low=29, high=31)
    with pytest.raises(CannotCompare, match=r"differ in fd_classifier of ddim .*: not of one run"):
        verdicts(candidate, reference)
    short = write_run("short", fingerprint="b")
    lines = (short / "replicates.csv").read_text().splitlines()
    (short / "replicates.csv").write_text("\n".join(lines[:100]) + "\n")
    with pytest.raises(CannotCompare, match=r"has 14 replicates in .* and 20 in .*: one replicates.csv is cut"):
        verdicts(short, reference)
    (short / "replicates.csv").write_text("\n".join(lines[:106]) + "\n")
    with pytest.raises(CannotCompare, match=r"replicates.csv lacks .* of .*: it is not of the same run, or cut"):
        verdicts(short, reference)
    for content in ("a,b\n1,2\n", "cell,metric,reference,group,value\nx,y,none,0,1\n"):
        (short / "replicates.csv").write_text(content)
        with pytest.raises(CannotCompare, match=r"is no replicates.csv of a whole run"):
            verdicts(short, reference)


@pytest.mark.parametrize("column", ["dataset", "training_seed", "network", "start", "sampler"])
def test_runs_of_something_else_are_refused(write_run, edit_rows, column):
    reference, candidate = write_run("reference"), write_run("candidate", fingerprint="b")
    edit_rows(candidate, {"method": "heun"}, **{column: "other"})
    with pytest.raises(CannotCompare, match=rf"heun has {column} other in "):
        verdicts(candidate, reference)


def test_what_cannot_be_compared_is_refused_in_one_line(write_run, edit_rows, tmp_path):
    reference = write_run("reference")
    with pytest.raises(CannotCompare, match=r"lacks 2 of 19 cells .* of heun at NFE 5, sigma 80: run the same"):
        candidate = write_run("fewer", fingerprint="b")
        table = pd.read_csv(candidate / "metrics.csv", dtype=str, keep_default_na=False)
        gone = (table["method"] == "heun") & table["metric"].isin(["mmr_0.1", "fd_classifier"])
        table[~gone].to_csv(candidate / "metrics.csv", index=False)
        verdicts(candidate, reference)
    with pytest.raises(CannotCompare, match=r"n = 500 in .* and n = 1000 in .*unequal n"):
        verdicts(write_run("small", fingerprint="b", n=500), reference)
    with pytest.raises(CannotCompare, match=r"mmr_0.1 of ddim at NFE 5, sigma 80 in .* is not finite"):
        candidate = write_run("nan", fingerprint="b")
        edit_rows(candidate, {"method": "ddim", "metric": "mmr_0.1"}, low="")
        verdicts(candidate, reference)
    with pytest.raises(CannotCompare, match=r"nowhere/metrics.csv|nowhere cannot be read"):
        Run.read(tmp_path / "nowhere")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CannotCompare, match=r"other.csv lacks the column experiment, .*method"):
        Run.read(tmp_path / "other.csv")
    (tmp_path / "binary.csv").write_bytes(np.random.default_rng(0).bytes(300))
    with pytest.raises(CannotCompare, match=r"binary\.csv"):
        Run.read(tmp_path / "binary.csv")


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in REFERENCES.glob("*/metrics.csv*")))
def test_every_committed_reference_passes_against_itself(folder):
    run = Run.read(REFERENCES / folder)
    report = compare(run, run)
    assert report.status == PASSED, [(one.cell, one.metric, one.text) for one in report.failed[:5]]


def test_a_method_may_spend_one_more_only_where_the_plan_says_as_code(write_run, edit_rows):
    folders = [write_run(name) for name in ("reference", "candidate")]
    plans = ({"heun": {"nfe": "as_code"}}, PASSED), ({"heun": {}}, REGRESSED), (None, REGRESSED)
    for folder in folders:
        edit_rows(folder, {"method": "heun"}, nfe_counted=6)
    for methods, status in plans:
        for folder in folders:
            plan = folder / "experiment.json"
            plan.unlink(missing_ok=True)
            if methods is not None:
                plan.write_text(json.dumps({"methods": {"ddim": {}, "dpm_ot": {}, **methods}}))
        assert verdicts(*folders)[0].status == status
    edit_rows(folders[1], {"method": "heun"}, nfe_counted=7)
    assert verdicts(*folders)[0].status == REGRESSED


def test_a_sampler_may_mix_fewer_modes_than_real_images_do_where_the_reference_did(write_run, edit_rows):
    folders = [write_run(name) for name in ("reference", "candidate")]
    for folder in folders:
        (folder / "replicates.csv").unlink()
        edit_rows(folder, {"method": "ddim", "metric": "mmr_0.1"}, value=0.02, low=0.01, high=0.03)
    assert verdicts(*folders)[0].status == PASSED


VERDICT = {True: "ranked", False: "copies"}


def audited(folder, ranked, reasons=""):
    cell = {"method": "ddim", "nfe_budget": 5, "sigma_start": 80.0}
    row = {**cell, "verdict": VERDICT[ranked], "ranked": ranked, "reasons": reasons}
    pd.DataFrame([row]).to_csv(folder / "audit.csv", index=False)


@pytest.mark.parametrize("fingerprint", ["a", "b"])
@pytest.mark.parametrize("now", [True, False])
def test_a_row_that_the_audit_ranks_anew_or_no_longer_closes_the_gate(write_run, now, fingerprint):
    reference, candidate = write_run("reference"), write_run("candidate", fingerprint=fingerprint)
    audited(reference, not now, "" if not now else "copies: .4 [.3, .5]")
    audited(candidate, now, "" if now else "copies: .4 [.3, .5]")
    report, _ = verdicts(candidate, reference)
    (one,) = report.failed
    assert (one.cell, one.was, one.now) == ("ddim at NFE 5, sigma 80", str(not now), str(now))
    assert ("no longer" in one.text) == now and "copies: .4" in one.text


def test_a_run_without_the_audit_of_its_reference_is_refused(write_run):
    reference, candidate = write_run("reference"), write_run("candidate")
    audited(reference, True)
    with pytest.raises(CannotCompare, match=r"audit.csv lacks 1 of 1 rows .* first ddim at NFE 5: measure again"):
        verdicts(candidate, reference)


def test_a_share_with_an_interval_of_its_own_needs_no_replicates(write_run):
    folders = [write_run("reference"), write_run("candidate", fingerprint="b"), write_run("copying", fingerprint="b")]
    for folder, value in zip(folders, (0.0, 0.001, 0.3), strict=True):
        table = pd.read_csv(folder / "metrics.csv", dtype=str, keep_default_na=False)
        share = {
            "metric": "copies_pixels",
            "reference": "train",
            "value": value,
            "low": 0.9 * value,
            "high": value + 0.01,
        }
        rows = table[(table.method == "ddim") & (table.sample_seed == "pooled")][:1].assign(**share)
        pd.concat([table, rows]).to_csv(folder / "metrics.csv", index=False)
    reference, same, copying = folders
    assert verdicts(reference, reference)[0].status == verdicts(same, reference)[0].status == PASSED
    (worse,) = [one for one in verdicts(copying, reference)[0].failed if one.metric.startswith("copies_pixels")]
    assert worse.verdict == "changed"
