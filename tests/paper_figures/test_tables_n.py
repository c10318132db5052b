"""A table's n: of the rows that are compared, not of a sweep beside them."""

from types import SimpleNamespace

import pandas as pd

from paper_figures._long_form import table_n


def test_a_sweep_with_fewer_samples_does_not_decide_the_n_of_a_table():
    cells = [("sweep", "2000")] * 6 + [("mixture", "4000")] * 2
    table = pd.DataFrame(cells, columns=["method", "num_samples"]).assign(nfe_budget="5", status="measured")
    results = SimpleNamespace(budgets=["5"], main_methods=["mixture"])
    assert table_n(table, results) == "4000"
    assert table_n(table, SimpleNamespace(budgets=["5"], main_methods=["another"])) == "2000"  # nothing else is there
    assert table_n(table.assign(status="not run"), results) == ""
