"""Tables 6 to 8, figures 9 and 10: paired effects, the coupling's quantities, break-even by hand."""

import json

import numpy as np
import pytest
from edits import read_csv, write_csv
from matplotlib.figure import Figure
from safetensors.numpy import save_file

from paper_figures import (
    _tables,
    figure_9_interpolation,
    figure_10_smoothness,
    table_6_singular_set,
    table_7_coupling,
    table_8_break_even,
)
from paper_figures._results import load

METRICS = [("mmr_0.1", "none"), ("fd_classifier", "test"), ("recovery_pixels", "train")]
EFFECT = {"mmr_0.1": 0.1, "fd_classifier": 3.0, "recovery_pixels": 0.0}  # of discarding, on the synthetic numbers


@pytest.fixture
def folder(results_folder):
    """A smoke folder with two singular methods: one that changes things, and one that is the plain map again."""
    folder = results_folder("smoke")
    experiment = json.loads((folder / "experiment.json").read_text())
    rows, replicates = read_csv(folder / "metrics.csv"), []
    noise = np.random.default_rng(0).normal(size=20)
    plain = {"network": "ddpm", "start": "transport", "sampler": "ddim", "level": 1}
    experiment["methods"]["dpm_ot_ddim"].update(plain)
    new = {"discard": ("discard above 1", EFFECT), "again": ("the same again", dict.fromkeys(EFFECT, 0.0))}
    for name, (label, effect) in new.items():
        experiment["methods"][name] = {"label": label, "group": "singular", **plain, "singular": "discard", "angle": 1}
        for row in [row for row in rows if row["method"] == "dpm_ot_ddim"]:
            moved = {k: f"{float(row[k]) + effect.get(row['metric'], 0):.6g}" for k in ("value", "low", "high")}
            rows.append(row | moved | {"method": name})
    for row in rows:
        key = (row["metric"], row["reference"])
        if row["sample_seed"] == "pooled" and row["method"] in ("dpm_ot_ddim", *new) and key in METRICS:
            cell = f"{row['method']}/{row['nfe_budget']}/{float(row['sigma_start']):.6g}"
            # common noise, and a little of each method's own
            own = np.random.default_rng(len(row["method"])).normal(size=20) * 1e-4
            values = {"all": float(row["value"])} | dict(enumerate(float(row["value"]) + 1e-2 * noise + own))
            given = {"cell": cell, "metric": row["metric"], "reference": row["reference"]}
            replicates += [given | {"group": group, "value": value} for group, value in values.items()]
    write_csv(folder / "metrics.csv", rows)
    write_csv(folder / "replicates.csv", replicates)
    (folder / "experiment.json").write_text(json.dumps(experiment))
    write_csv(folder / "coupling.csv", list(_coupling()))
    strips = np.random.default_rng(1).integers(0, 256, (2, 12, 1, 8, 8)).astype(np.uint8)
    save_file({f"{name}/images": strips for name in ("ddim", "dpm_ot_ddim")}, folder / "strips.safetensors")
    return folder


def _coupling():
    common = {"network": "ddpm", "sampler": "ddim", "sigma_start": 1, "nfe_counted": 10, "fingerprint": "17cafe"}
    values = {"dpm_ot_ddim": 0.2, "discard": 0.3, "ddim": 0.1}
    for method, value in values.items():
        single = {"transport_cost": 7.0, "independent_cost": 9.0, "cost_saved": 2.0, "mass_chi2": value - 0.2}
        for quantity, one in single.items() if method != "ddim" else ():
            yield _quantity(common, method, quantity, "", one)
        for e in (0.1, 1.0):
            if method != "ddim":
                yield _quantity(common, method, "cell_changes", e, value * e)
                yield _quantity(common, method, "start_distance", e, value * e)
            yield _quantity(common, method, "sample_distance", e, value * e)


def _quantity(common, method, quantity, move, value):
    row = {"method": method, "start": "transport", "quantity": quantity, "move": move, "value": value}
    return common | row | {"low": value - 0.01, "high": value + 0.01, "num_noises": 4000}


def document(page, results):
    return _tables.markdown(page.layout(page.make(results), results))


# --- Table 6 -----------------------------------------------------------------------------------------------


def test_the_effect_of_discarding_is_the_paired_difference_to_the_plain_map(folder):
    table = table_6_singular_set.make(load(folder))
    chosen = table[(table["method"] == "discard") & (table["nfe_budget"] == "5")].set_index("metric")
    for metric, effect in EFFECT.items():
        row = chosen.loc[metric]
        assert row["difference"] == pytest.approx(effect, abs=2e-3)  # replicates of their own: 1e-4 sqrt(19)
        assert row["difference_low"] < effect < row["difference_high"] or effect == 0
        # far shorter than the interval of either alone, because the noise is common
        assert row["difference_high"] - row["difference_low"] < 0.1 * (row["high"] - row["low"])
    assert chosen.loc["fd_classifier", "p_holm"] < 1e-6


def test_what_differs_from_the_plain_map_is_unmarked_and_what_does_not_is_marked(folder):
    lines = document(table_6_singular_set, load(folder)).splitlines()
    discard = next(line for line in lines if line.startswith("| discard above 1"))
    plain = next(line for line in lines if line.startswith("| DPM-OT (DDPM, DDIM)"))
    _, _, mixture, distance, *_ = (cell.strip() for cell in discard.split("|"))
    assert "≈" not in mixture and "≈" not in distance and "≈" not in plain
    again = next(line for line in lines if line.startswith("| the same again"))
    assert again.count("≈") >= 2


def test_the_draws_panel_shows_what_coupling_csv_holds(folder):
    text = document(table_6_singular_set, load(folder))
    part = text.split("## What becomes of the draws")[1]
    assert "| discard above 1" in part and "0.100 [0.090, 0.110]" in part
    (folder / "coupling.csv").unlink()
    assert "not run: the results hold no coupling.csv." in document(table_6_singular_set, load(folder))


def test_a_plain_method_of_another_level_is_not_compared_with(folder):
    experiment = json.loads((folder / "experiment.json").read_text())
    experiment["methods"]["dpm_ot_ddim"]["level"] = 2
    (folder / "experiment.json").write_text(json.dumps(experiment))
    results = load(folder)
    assert table_6_singular_set.plain(results) is None and table_6_singular_set.make(results).empty
    assert "not run: no method of the group" in document(table_6_singular_set, results)


# --- Table 7 -----------------------------------------------------------------------------------------------


def test_costs_and_moves_are_printed_with_their_intervals(folder):
    text = document(table_7_coupling, load(folder))
    _, costs, changes, _, samples = text.split("## ")[1:]  # the headline comes first
    assert "7.000 [6.990, 7.010] | 9.000 [8.990, 9.010] | 2.000 [1.990, 2.010]" in costs
    assert "e = 0.1" in changes and "| 0.020 [0.010, 0.030] | 0.200 [0.190, 0.210]" in changes
    assert "DDIM" not in changes.replace("(DDPM, DDIM)", "") and "| DDIM " in samples  # a prior changes no atom


def test_without_coupling_csv_the_table_and_the_figures_say_so(results_folder):
    results = load(results_folder("smoke"))
    assert "not run: the results hold no coupling.csv." in document(table_7_coupling, results)
    for page, words in ((figure_9_interpolation, "strips.safetensors"), (figure_10_smoothness, "coupling.csv")):
        assert any(words in text.get_text() for text in page.make(results).axes[0].texts)


def test_a_coupling_file_without_a_column_is_named(folder):
    rows = read_csv(folder / "coupling.csv")
    for row in rows:
        del row["quantity"]
    write_csv(folder / "coupling.csv", rows)
    with pytest.raises(ValueError, match=r"coupling\.csv lacks the column quantity"):
        _ = load(folder).coupling


# --- figures -----------------------------------------------------------------------------------------------


def test_strips_have_one_row_a_method_and_every_frame(folder):
    figure = figure_9_interpolation.make(load(folder))
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["DDIM", "DPM-OT (DDPM, DDIM)"]
    (picture,) = axes.get_images()
    assert picture.get_array().shape[:2] == (2 * 9 - 1, 12 * 9 - 1)


def test_paths_of_points_have_a_panel_a_method(results_folder):
    folder = results_folder("toy2d")
    paths = np.random.default_rng(0).normal(size=(2, 12, 2)).astype(np.float32)
    save_file({f"{name}/images": paths for name in ("ddim", "copy")}, folder / "strips.safetensors")
    figure = figure_9_interpolation.make(load(folder))
    drawn = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert len(drawn) == 2
    np.testing.assert_array_equal(drawn[0].lines[1].get_xydata(), paths[0])


def test_curves_of_moves_are_those_of_the_file(folder):
    left, right = figure_10_smoothness.make(load(folder)).axes
    assert len(left.containers) == 2 and len(right.containers) == 3
    np.testing.assert_allclose(right.lines[0].get_xydata(), [[0.1, 0.02], [1, 0.2]])
    assert isinstance(left.figure, Figure)


# --- Table 8 -----------------------------------------------------------------------------------------------


def timed(folder, **seconds):
    """A smoke folder whose DPM-OT methods start at sigma 1, with timings.csv."""
    experiment = json.loads((folder / "experiment.json").read_text())
    for name, method in experiment["methods"].items():
        method.update({"network": "edm" if "edm" in name else "ddpm", "sampler": "ddim"})
        if name.startswith("dpm_ot"):
            method.update({"start": "transport", "level": 1.0})
    (folder / "experiment.json").write_text(json.dumps(experiment))
    write_csv(folder / "timings.csv", [{"job": job, "arithmetic_s": value} for job, value in seconds.items()])
    return load(folder)


def test_break_even_is_the_fit_over_what_is_saved(results_folder):
    """One problem, fitted in 12 s; 500 samples at 5 and 10 evaluations take 15 s: 2 ms an evaluation."""
    results = timed(results_folder("smoke"), solve=12.0, sample_ddim=15.0)
    assert table_8_break_even.fit_seconds(results) == 12.0
    assert table_8_break_even.evaluation_seconds(results, "ddpm") == pytest.approx(0.002)
    assert table_8_break_even.evaluation_seconds(results, "edm") is None
    # DPM-OT at FD 1.6 is out of DDIM's reach; with the FD that DDIM has at 10 evaluations it is 5 evaluations ahead
    rows = read_csv(results.folder / "metrics.csv")
    table = table_8_break_even.make(results).set_index(["method", "nfe_budget", "rival"])
    assert table.loc[("dpm_ot_ddim", "5", "ddim"), "outcome"] == "rival never as good within budgets"
    wanted = {"nfe_budget": "10", "metric": "fd_classifier", "reference": "test", "sample_seed": "pooled"}
    ten = next(row for row in rows if row["method"] == "ddim" and all(row[k] == v for k, v in wanted.items()))
    for row in rows:
        if row["method"] == "dpm_ot_ddim" and row["metric"] == "fd_classifier" and row["reference"] == "test":
            row.update({key: ten[key] for key in ("value", "low", "high")})
    write_csv(results.folder / "metrics.csv", rows)
    table = table_8_break_even.make(load(results.folder)).set_index(["method", "nfe_budget", "rival"])
    five, ten = (table.loc[("dpm_ot_ddim", nfe, "ddim")] for nfe in ("5", "10"))
    assert (five["rival_nfe"], five["outcome"]) == ("10", "break-even")
    assert five["saved_s_per_1000"] == pytest.approx(10.0)  # 5 evaluations, 2 ms, 1000 samples
    assert five["break_even_samples"] == pytest.approx(1200)
    assert ten["outcome"] == "never: the rival takes no longer"
    text = document(table_8_break_even, load(results.folder))
    row = next(line for line in text.splitlines() if line.startswith("| 5 † "))
    assert [cell.strip() for cell in row.split("|")[3:7]] == [
        "1,200",
        "10",
        "10",
        "break-even",
    ] and "one fit: 12.00 s" in text


def test_a_rival_of_another_network_is_not_compared_with(results_folder):
    results = timed(results_folder("smoke"), solve=12.0, sample_ddim=15.0)
    table = table_8_break_even.make(results)
    assert set(table.loc[table["method"] == "dpm_ot_ddim", "rival"]) == {"ddim"}


def test_without_timings_the_table_says_so(results_folder):
    results = timed(results_folder("smoke"), other=1.0)
    rows = read_csv(results.folder / "metrics.csv")
    for row in rows:
        if row["method"] == "dpm_ot_ddim" and row["metric"] == "fd_classifier":
            row.update({"value": "99", "low": "98", "high": "100"})
    write_csv(results.folder / "metrics.csv", rows)
    text = document(table_8_break_even, load(results.folder))
    row = next(line for line in text.splitlines() if line.startswith("| 5 † "))
    assert [cell.strip() for cell in row.split("|")[3:7]] == [
        "–",
        "–",
        "5",
        "not timed",
    ] and "one fit: not timed" in text
