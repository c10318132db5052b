"""The published numbers: form, honesty and spot checks."""

import csv
import re
from pathlib import Path

import pytest

import paper_figures
from dpmot import plugins
from dpmot.metrics.mode_mixture import THRESHOLDS

COLUMNS = ["dataset", "method", "sampler", "network", "nfe", "metric"]
COLUMNS += ["value", "num_samples", "conditional", "source", "grade", "note"]
PAPER = "arXiv:2307.11308"
PATH = Path(paper_figures.__file__).with_name("reported.csv")


@pytest.fixture(scope="module")
def rows():
    with PATH.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        found = list(reader)
    assert reader.fieldnames == COLUMNS
    assert all(None not in row and None not in row.values() for row in found), "a row has too many or too few cells"
    return found


def value(rows, **wanted):
    """The one value whose cells match."""
    matches = [row["value"] for row in rows if all(row[column] == cell for column, cell in wanted.items())]
    assert len(matches) == 1, f"{len(matches)} rows match {wanted}"
    return float(matches[0])


def test_every_cell_has_an_allowed_word(rows):
    for row in rows:
        assert row["dataset"] and row["method"] and row["source"]
        assert row["metric"] in {"fid", "precision", "recall", *(f"mmr_{t:g}" for t in THRESHOLDS)}
        assert row["conditional"] in {"true", "false", ""}
        assert int(row["nfe"]) > 0
        assert row["num_samples"] == "" or int(row["num_samples"]) > 0


def test_every_data_set_is_one_of_this_project_so_that_its_tables_show_the_row(rows):
    assert {row["dataset"] for row in rows} <= set(plugins.names("data"))


def test_a_value_is_positive_has_a_source_and_a_grade_and_only_then(rows):
    for row in rows:
        if row["value"]:
            assert float(row["value"]) > 0
            assert row["source"] and row["grade"] in {"P", "T", "S"}
        else:
            assert row["grade"] == "" and row["note"] == "not transcribed"


def test_precision_and_recall_are_shares(rows):
    assert all(float(row["value"] or 0) <= 1 for row in rows if row["metric"] != "fid")


def test_no_number_is_entered_twice(rows):
    keys = [tuple(row[column] for column in COLUMNS if column not in {"value", "grade", "note"}) for row in rows]
    assert len(set(keys)) == len(keys)


def test_the_papers_own_numbers_have_a_place_each_and_say_where_they_were_read(rows):
    """docs/reproducing.md says how they are typed in; nobody types them from memory."""
    own = [row for row in rows if row["method"] == "dpm_ot"]
    assert all(row["grade"] == "P" and re.search(r"(table|figure) \d+", row["note"]) for row in own if row["value"])
    cells = {(row["dataset"], int(row["nfe"])) for row in own if row["metric"] == "fid"}
    assert cells >= {(name, nfe) for name in ("cifar10", "celeba", "ffhq") for nfe in (5, 10, 20, 30, 50)}


def test_only_the_papers_own_numbers_are_empty(rows):
    assert {row["method"] for row in rows if not row["value"]} == {"dpm_ot"}


def test_every_cifar10_fid_of_others_is_of_50000_samples(rows):
    fids = [row for row in rows if row["metric"] == "fid" and PAPER not in row["source"]]
    assert {(row["dataset"], row["num_samples"]) for row in fids} == {("cifar10", "50000")}


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        ({"method": "edm", "network": "edm", "nfe": "35", "conditional": "false"}, 1.97),
        ({"method": "edm", "network": "edm", "nfe": "35", "conditional": "true"}, 1.79),
        ({"method": "ddpm", "network": "ddpm", "nfe": "1000"}, 3.17),
        ({"method": "ddim", "network": "ddpm", "nfe": "10"}, 13.36),
        ({"method": "ddim", "network": "edm", "nfe": "10"}, 15.69),
        ({"method": "ddim_eta1", "nfe": "50"}, 8.01),
        ({"method": "ddpm_sigma_hat", "nfe": "10"}, 367.43),
        ({"method": "ncsnv2"}, 10.87),
        ({"method": "edm", "nfe": "6"}, 99.74),
        ({"method": "dpm_solver_2", "nfe": "8"}, 10.30),
        ({"method": "dpm_solver_pp_3m", "nfe": "10"}, 3.00),
        ({"method": "unipc_3", "nfe": "10"}, 2.89),
        ({"method": "deis_tab3", "nfe": "5"}, 14.39),
        ({"method": "ipndm_4", "nfe": "10"}, 2.77),
        ({"method": "ipndm_gits", "nfe": "6"}, 6.82),
        ({"method": "ipndm_dmn", "nfe": "4"}, 28.09),
        ({"method": "ld3", "nfe": "8"}, 2.81),
        ({"method": "s4s_alt", "nfe": "4"}, 6.35),
        ({"method": "gs", "nfe": "4"}, 4.41),
        ({"method": "gas", "nfe": "10"}, 2.17),
        ({"method": "progressive_distillation", "nfe": "8"}, 2.57),
        ({"method": "knowledge_distillation"}, 9.36),
        ({"method": "consistency_distillation", "nfe": "2"}, 2.93),
        ({"method": "consistency_training", "nfe": "1"}, 8.70),
        ({"method": "exact_ot_start", "metric": "fid"}, 1.31),
        ({"method": "deis", "metric": "recall"}, 0.67),
    ],
)
def test_a_spot_check_agrees_with_the_publication(rows, wanted, number):
    assert value(rows, **wanted) == number


def test_an_evaluation_count_that_a_two_stage_solver_cannot_spend_has_no_row(rows):
    cells = {(row["method"], row["nfe"]) for row in rows}
    assert ("dpm_solver_2", "5") not in cells and ("edm", "5") not in cells


def test_heun_is_worse_than_euler_at_few_evaluations_and_multistep_solvers_better(rows):
    euler = {nfe: value(rows, method="ddim", network="edm", nfe=nfe) for nfe in ("5", "6", "8", "10")}
    assert value(rows, method="edm", network="edm", nfe="6") > euler["6"]
    for method in ("dpm_solver_pp_3m", "unipc_3", "deis_tab3", "ipndm_4"):
        assert all(value(rows, method=method, nfe=nfe) < euler[nfe] for nfe in euler)
