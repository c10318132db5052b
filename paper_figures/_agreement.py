"""What the files of a results folder must agree on: one run, and one level of a method at each budget."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from dpmot import results as files
from dpmot.results import OVER_TRAININGS

if TYPE_CHECKING:
    from paper_figures._results import Results

OUTSIDE = ("sweep", "identity", "reference")  # groups with figures or tables of their own


def of_the_plan(results: "Results", rows: pd.DataFrame) -> None:
    """Rows of another experiment than experiment.json has are refused."""
    plan, each = results.experiment, results.each
    over = dict.fromkeys(each.repeated, OVER_TRAININGS)
    seeds = {method: str(over.get(method, each.training_seed(method))) for method in rows["method"].unique()}
    wanted: dict[str, Any] = {
        "experiment": plan.experiment,
        "dataset": plan.dataset,
        "training_seed": rows["method"].map(seeds),
    }
    for column, has in wanted.items():
        for row in rows.index[rows[column] != has][:1]:
            known = has if isinstance(has, str) else has[row]
            told = f"found {rows[column][row]}; experiment.json has {known}: they are of two runs"
            raise ValueError(f"{results.folder / 'metrics.csv'}, row {row + 2}, column {column}: {told}")


def one_sigma(results: "Results") -> None:
    """A method outside the sweep has one level at each budget."""
    rows = results.pooled()
    rows = rows[~results.of_groups(rows, OUTSIDE) & rows["nfe_budget"].isin(results.budgets)]
    for row in files.records(rows[rows.duplicated(["method", "nfe_budget", "metric", "reference", "features"])][:1]):
        raise ValueError(
            f'Method "{row["method"]}" has several pooled cells at NFE {row["nfe_budget"]}, a page has place for one; '
            f'give the method the group "sweep" in the config'
        )
