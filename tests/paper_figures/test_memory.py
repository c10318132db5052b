"""Table 13: bytes of what a start stores, and the diversity that it leaves."""

import json

import numpy as np
import pytest
from edits import read_csv, write_csv

from paper_figures import _tables, table_13_memory
from paper_figures._results import load


@pytest.fixture
def folder(results_folder):
    """The smoke folder with recall, coverage and distinct starts of its cells, and a transport start with heights."""
    folder = results_folder("smoke")
    rows = read_csv(folder / "metrics.csv")
    cells = [row for row in rows if row["metric"] == "fd_classifier" and row["reference"] == "test"]
    for row in cells:
        told = {"value": "0.5", "low": "0.4", "high": "0.6"}
        rows += [row | told | {"metric": f"{name}_classifier"} for name in ("recall", "coverage")]
        if row["start"] in ("transport", "copy"):
            rows.append(row | told | {"metric": "distinct_sources_pixels", "reference": "train", "features": "pixels"})
    write_csv(folder / "metrics.csv", rows)
    plan = json.loads((folder / "experiment.json").read_text())
    plan["methods"]["dpm_ot_ddim"]["level"] = 1.0
    (folder / "experiment.json").write_text(json.dumps(plan))
    return folder


def test_bytes_are_those_of_latents_in_floats_and_of_images_with_heights(folder):
    """599 digits of 64 numbers: 4 N d floats, N d bytes of images, 4 N of heights where there is a map."""
    results = load(folder)
    table = table_13_memory.make(results).drop_duplicates("method").set_index("method")
    images, numbers = results.stored, 64
    ours, copy, prior, fresh = (table.loc[name] for name in ("dpm_ot_ddim", "copy", "ddim", "fresh_noise"))
    assert ours["bytes_stored_as_floats"] == 4 * images * numbers + 4 * images
    assert ours["bytes_as_recipes"] == images * numbers + 4 * images
    assert (copy["bytes_stored_as_floats"], copy["bytes_as_recipes"]) == (4 * images * numbers, images * numbers)
    assert prior["bytes_as_recipes"] == 0
    assert np.isnan(fresh["bytes_stored_as_floats"]) and fresh["bytes_as_recipes"] == images * numbers


def test_uniform_draws_leave_what_chance_leaves():
    """By simulation: 0.02 is three standard errors of 1,500 draws."""
    draws = np.random.default_rng(0).integers(0, 599, 1500)
    assert table_13_memory.uniform(599, 1500) == pytest.approx(len(np.unique(draws)) / 1500, abs=0.02)
    assert np.isnan(table_13_memory.uniform(0, 1500))


def test_the_table_says_what_was_not_measured(results_folder):
    results = load(results_folder("smoke"))
    text = _tables.markdown(table_13_memory.layout(table_13_memory.make(results), results))
    assert "not run: no cell has recall or coverage." in text


def test_a_line_has_bytes_starts_recall_and_coverage(folder):
    results = load(folder)
    text = _tables.markdown(table_13_memory.layout(table_13_memory.make(results), results))
    line = next(line for line in text.splitlines() if line.startswith("| 5") and "599 images and heights" in line)
    cells = [cell.strip().removesuffix(" †") for cell in line.split("|")[2:-1]]
    assert cells == [
        "599 images and heights",
        "155,740",
        "40,732",
        "0.50 ± 0.10",
        cells[4],
        "0.50 ± 0.10",
        "0.50 ± 0.10",
    ]
