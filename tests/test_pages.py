"""README and the pages of docs/ that are made: from the csv files of results/reference/, and from the types."""

import importlib.util
import sys

import pandas as pd
import pytest

from benchmarks import reference_numbers
from dpmot.plugins import ROOT

ONE_SCREEN = 8192  # bytes of README.md


def _script(name: str):
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def fill():
    return _script("fill")


def test_the_readme_is_read_in_a_minute():
    assert len((ROOT / "README.md").read_bytes()) <= ONE_SCREEN


@pytest.mark.slow  # reads eight experiments
def test_the_numbers_of_the_pages_are_those_of_the_csv_files(fill):
    pages = list(fill.pages())
    assert len(pages) == 15  # README.md, seven of docs/ and seven of docs/results/
    for page, text in pages:
        assert page.read_text(encoding="utf-8") == text, f"{page} is stale, run python docs/fill.py"


def test_the_keys_of_the_configuration_are_those_of_the_types():
    options = _script("options")
    page = options.PAGE.read_text(encoding="utf-8")
    assert page.split(options.MARK)[1] == options.keys(), "run dpmot schema > config/schema.json, docs/options.py"
    assert "| `nfe_budgets` | list of integer ≥ 1" in page and "## Method" in page


@pytest.mark.parametrize(
    ("value", "low", "high", "shown"),
    [
        (34.84, 30.51, 39.17, "34.8 [30.5, 39.2]"),
        (0.466, 0.091, 0.84, "0.47 [0.09, 0.84]"),
        (1387.2, 1375.4, 1399.0, "1387 [1375, 1399]"),
        (-0.0001, -0.05, 0.05, "0.000 [−0.050, 0.050]"),
        (1.0, 0.998, 1.0, "1.0000 [0.9980, 1.0000]"),
        (2.3409, float("nan"), float("nan"), "2.34"),
    ],
)
def test_the_half_width_decides_the_digits(fill, value, low, high, shown):
    assert fill.number(value, low, high) == shown


def test_an_experiment_that_is_not_committed_reads_not_measured(fill):
    missing = fill.run("no_such_experiment")
    assert fill.rewired("no_such_experiment") == "not measured."
    assert fill.seconds("no_such_experiment", "edm") == fill.MISSING
    assert missing.cell("ddim", 5) == missing.floor() == missing.n("ddim", 5) == fill.MISSING


def test_a_row_that_a_committed_experiment_lacks_is_an_error(fill):
    rows = [["ddim", "5", "fd_classifier", "test", 1.0, 0.5, 1.5, False, "copies"]]
    columns = ["method", "nfe_budget", "metric", "reference", "value", "low", "high", "ranked", "verdict"]
    run = fill.Run("here", pd.DataFrame(rows, columns=columns))
    assert run.cell("ddim", 5) == "1.00 [0.50, 1.50] †"
    assert run.cell("ddim", 5, word=True) == "1.00 [0.50, 1.50], copies"
    assert run.cell("ddim", 10, absent="–") == "–"
    with pytest.raises(LookupError, match="results/reference/here: 0 rows of method ddim, NFE 10"):
        run.cell("ddim", 10)


def test_the_nearest_rival_is_picked_from_the_numbers(fill, monkeypatch):
    methods = ["ddim", "pp_2m", "class_balanced", "k30", "student"]
    rows = pd.DataFrame({"method": methods, "label": methods, "ranked": True, "value": 1.0, "start": "prior"})
    rows = rows.assign(group=["rivals", "rivals", "controls", "mixture", "rivals"], network=["edm"] * 4 + ["student"])
    rows = rows.assign(nfe_budget="10", metric="fd_classifier", reference="test")
    behind = rows[["method"]].assign(behind=[3.0, 0.3, -0.1, 0.1, -2.0], low=-0.6, high=3.0, may_be_best=True)
    monkeypatch.setattr(fill, "run", lambda name: fill.Run(name, rows))
    monkeypatch.setattr(fill, "_differences", lambda *_: behind)
    assert fill.nearest("here", 10) == fill.Nearest("pp_2m", "0.3 [−0.6, 3.0]", may_be_best=True)
    assert fill.nearest("here", 10, "mixture").label == "k30"
    with pytest.raises(LookupError, match="no rows of singular, NFE 10"):
        fill.nearest("here", 10, "singular")


def test_the_lower_ends_of_copies_are_those_of_samplers_from_the_prior(fill, monkeypatch):
    rows = pd.DataFrame({"nfe_budget": ["5", "20", "50", "20"], "low": [0.001, 0.012, 0.007, 0.9]})
    rows = rows.assign(metric="copies_pixels", reference="train", network="edm", start=["prior"] * 3 + ["copy"])
    rows = rows.assign(group=["rivals"] * 3 + ["controls"])
    monkeypatch.setattr(fill, "run", lambda name: fill.Run(name, rows))
    assert fill.lower_ends("here", "edm") == (0.001, 0.012) and fill.lower_ends("here", "edm", 20) == (0.007, 0.012)
    with pytest.raises(LookupError, match="no copies of network ddpm from NFE 0 on"):
        fill.lower_ends("here", "ddpm")


def test_what_a_template_asks_of_a_file_is_there_once_or_an_error():
    race = reference_numbers.table("transport/transport.csv")
    asked = {"case": "digits-0.1", "solver": "ours", "target": 0.01}
    assert race.entry("seconds", **asked) == "0.0991" and race.number("seconds", digits=1, **asked) == "0.1"
    assert race.number("seconds", **asked | {"solver": "pot"}) == ">= 7.8" and race.times(["digits-0.1"]) == "23"
    trail = reference_numbers.table("transport/trail.csv")
    assert trail.last("chi2", case="fashion_mnist-0.5", solver="ott") == "0.063"
    with pytest.raises(LookupError, match="no rows of case none"):
        trail.last("chi2", case="none")
    with pytest.raises(LookupError, match=r"transport/transport\.csv: 0 rows of case none"):
        race.entry("seconds", case="none")
    with pytest.raises(LookupError, match="one is needed"):
        race.entry("seconds", case="digits-0.1")
    with pytest.raises(LookupError, match="is there 1 times, number 1 is asked for"):
        reference_numbers.output("transport/fashion_mnist_map.txt", "fit (.*) s with", nth=1)


def test_searches_and_maps_that_missed_their_certificate_are_counted():
    assert reference_numbers.searches("selection/digits.csv", 1000) == "10 (10 of 12), 20 (2 of 12)"
    number, why = reference_numbers.unsolved("fashion_mnist")
    assert number == 2 and why.endswith("chi2 0.0393 [0.0283, 0.0508] is not below 0.05")
