"""Table 12: the claim of speed, measured at equal quality."""

import json

import pytest
from edits import read_csv, section, with_replicates, write_csv

from paper_figures import _speed, _tables, table_12_speed
from paper_figures._results import load


def folder_of(results_folder, *, fd=None, **seconds):
    """The digits folder whose full chain has FD ``fd``, with timings."""
    folder = results_folder("digits")
    rows = read_csv(folder / "metrics.csv")
    for row in rows:
        if fd and row["method"] == "full_ddpm" and row["metric"] == "fd_classifier":
            row.update({"value": str(fd), "low": str(fd - 1), "high": str(fd + 1)})
    write_csv(folder / "metrics.csv", rows)
    if seconds:
        write_csv(folder / "timings.csv", [{"job": job, "arithmetic_s": value} for job, value in seconds.items()])
    return folder


def text(results):
    return _tables.markdown(table_12_speed.layout(table_12_speed.make(results), results))


def row_of(table, **wanted):
    for column, entry in wanted.items():
        table = table[table[column] == entry]
    return table.iloc[0]


def test_a_method_is_compared_with_the_chain_of_its_network_and_a_cell_with_its_best_rival(digits_folder):
    results = load(digits_folder)
    table = table_12_speed.make(results)
    assert set(table["compared_with"]) == {"full chain", "best rival"}
    chains = table[table["compared_with"] == "full chain"]
    assert all(results.chain(row["method"]) == results.chain(row["rival"]) for _, row in chains.iterrows())
    rivals = table[(table["compared_with"] == "best rival") & table["rival"].notna()]
    assert not (rivals["method"] == rivals["rival"]).any()
    assert all(results.group(rival) == "rivals" for rival in rivals["rival"])


def test_the_ratio_is_that_of_the_interpolated_curve(results_folder):
    results = load(folder_of(results_folder))
    known, table = _speed.curves(results), table_12_speed.make(results)
    for _, row in table[(table["compared_with"] == "best rival") & (table["outcome"] == "at equal FD")].iterrows():
        curve = {point.nfe: point.fd for point in known.of(row["rival"], ranked=True)}
        before = max(nfe for nfe in curve if nfe < row["equal_nfe"])
        after = min(nfe for nfe in curve if nfe >= row["equal_nfe"])
        assert curve[before] > row["fd"] >= curve[after] - 1e-9
        assert row["nfe_ratio"] == pytest.approx(row["equal_nfe"] / row["nfe"])


def test_replicates_give_an_interval_and_none_give_none(results_folder):
    folder = folder_of(results_folder)
    assert "[n/a]" in text(load(folder))
    with_replicates(folder)
    table = table_12_speed.make(load(folder))
    at = table[(table["compared_with"] == "best rival") & (table["outcome"] == "at equal FD")]
    assert (
        len(at) and (at["nfe_ratio_low"] <= at["nfe_ratio"]).all() and (at["nfe_ratio_high"] >= at["nfe_ratio"]).all()
    )


def test_seconds_are_evaluations_times_what_one_takes(results_folder):
    names = {f"sample_{name}": 10.0 for name in ("ddpm", "ddim", "dpm_ot_ddim", "full_ddpm")}
    folder = folder_of(results_folder, **names)
    results = load(folder)
    seconds, table = _speed.evaluation_seconds(results), table_12_speed.make(results)
    timed = table[table["seconds_ratio"].notna() & table["nfe_ratio"].between(1e-9, 1e9)]
    assert len(timed)
    for _, row in timed.iterrows():
        factor = seconds[row["rival"]] / seconds[row["method"]]
        assert row["seconds_ratio"] == pytest.approx(row["nfe_ratio"] * factor)
    assert "§ rough, network ddpm" in text(results)


def test_without_timings_the_table_says_so(digits_folder):
    assert "Seconds: not timed." in text(load(digits_folder))


def test_unranked_rows_are_marked_and_never_the_verdict(digits_folder):
    """At small sigma the synthetic DPM-OT copies: as good as the chain at 5 evaluations, and no result."""
    results = load(digits_folder)
    table = table_12_speed.make(results)
    marked = table[(table["compared_with"] == "full chain") & ~table["ranked"].astype(bool)]
    assert len(marked)
    for row in marked.to_dict("records"):
        assert table_12_speed._cells(row, False)[0].marks == ("†",)
    told = " ".join(table_12_speed.verdict(table, results))
    assert "unranked" in told and "is shown to be at least 200" not in told


@pytest.mark.parametrize(
    ("low", "high", "told"), [(250.0, 300.0, "shown to be at least 200"), (20.0, 300.0, "neither")]
)
def test_a_ranked_row_as_fast_as_reported_is_said(digits_folder, low, high, told):
    results = load(digits_folder)
    table = table_12_speed.make(results)
    where = (table["compared_with"] == "full chain") & (table["method"] == "dpm_ot_ddim")
    values = {"ranked": True, "outcome": "at equal FD", "nfe_ratio": 260.0, "nfe_ratio_low": low}
    values |= {"nfe_ratio_high": high, "nfe_ratio_least": 1.0, "nfe_ratio_greatest": 1000.0, "rival_nfe": 1000.0}
    for column, value in values.items():
        table.loc[where, column] = value
    assert told in " ".join(table_12_speed.verdict(table, results))


def test_what_is_reported_stands_apart(digits_folder):
    lines = section(text(load(digits_folder)), "Reported (not measured here)")
    assert any("200 to 1,000 times faster" in line for line in lines)
    columns = table_12_speed.make(load(digits_folder)).columns
    assert not [name for name in columns if "reported" in name]


def test_a_network_without_a_full_chain_says_so(results_folder):
    folder = results_folder("digits")
    rows = [row for row in read_csv(folder / "metrics.csv") if not row["method"].startswith("full")]
    write_csv(folder / "metrics.csv", rows)
    results = load(folder)
    table = table_12_speed.make(results)
    assert "No full chain was run on network ddpm" in " ".join(table_12_speed.verdict(table, results))
    assert "no full chain of a network" in text(results)


def test_the_curve_of_a_rival_ends_with_the_full_chain_of_its_own_sampler_only(results_folder):
    folder = results_folder("digits")
    plan = json.loads((folder / "experiment.json").read_text())
    results = load(folder)
    known = _speed.curves(results)
    full = plan["methods"]["full_ddpm"]
    for name in ("ddpm", "ddim"):
        same = plan["methods"][name]["sampler"] == full["sampler"]
        assert (known.of(name, ranked=False)[-1].nfe == 1000) == same
