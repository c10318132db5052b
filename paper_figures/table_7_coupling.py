"""Table 7: the coupling of noise and samples, which is what optimal transport can change where the law stays the same.

Transport cost E |x - T(x)|^2 / 2 beside that of independent pairs; and how far a small move of the noise,
x' = sqrt(1 - e^2) x + e z, moves the choice of the atom, the start, and the sample behind the network.
"""

import pandas as pd

from dpmot.results import COUPLING
from paper_figures import _tables as tables
from paper_figures._comparison import coupling_panel
from paper_figures._headline import MOST, brief
from paper_figures._panels import Document, Panel, not_run
from paper_figures._results import Results, fingerprints

READS = ("coupling",)
COSTS = {"transport_cost": "transport cost", "independent_cost": "independent pairs", "cost_saved": "saved"}
MOVED = {
    "cell_changes": "Share of draws that change their atom, by the move e of the noise",
    "start_distance": "Mean distance between the starts of x and x', by e",
    "sample_distance": "Mean distance between the samples of x and x', by e",
}


def make(results: Results) -> pd.DataFrame:
    """coupling.csv in its own order; no rows where it does not exist."""
    columns = [name for name in COUPLING.columns if name not in COUPLING.unread]
    return pd.DataFrame(columns=columns) if results.coupling is None else results.coupling[columns].copy()


def _headline(table: pd.DataFrame, results: Results) -> Panel | None:
    """Transport costs of the first ten methods, or of those that the configuration names."""
    rows = table[table["quantity"].isin(COSTS)]
    if rows.empty:
        return None
    there = dict.fromkeys(rows["method"])
    methods = ([one for one in results.experiment.headline if one in there] or list(there))[:MOST]
    panel = coupling_panel("Transport cost", rows, "quantity", COSTS, {one: results.title(one) for one in methods})
    notes = (
        "Cost: E |x - T(x)|² / 2 ± half the width of the 95 % interval over noises; saved: independent pairs' less "
        "that; – this start stores no image.",
        f"Data set {results.experiment.dataset}; fingerprint {fingerprints(rows['fingerprint'], 1)}. All rows are in "
        "the supplement.",
    )
    short = tuple(tuple(brief(entry) for entry in row) for row in panel.rows if not isinstance(row, str))
    return Panel(panel.title, panel.header, short, notes)


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table."""
    parts = [("Transport cost", table[table["quantity"].isin(COSTS)], "quantity", COSTS)]
    for quantity, title in MOVED.items():
        rows = table[table["quantity"] == quantity]
        parts.append((title, rows, "move", {e: f"e = {e:g}" for e in sorted(rows["move"].unique())}))
    panels = [
        coupling_panel(*part, {method: results.title(method) for method in part[1]["method"].unique()})
        for part in parts
    ]
    if table.empty:
        panels = [not_run("Coupling", "the results hold no coupling.csv.")]
    noises = ", ".join(sorted(table["num_noises"].unique(), key=int)) or "none"
    counted = ", ".join(sorted(table["nfe_counted"].unique())) or "none"
    return Document(
        title="Table 7. The coupling of noise and samples",
        caption=results.caption(
            f"{results.at_first}n = {noises} noises; {counted} evaluations a sample; 95 % intervals in brackets, over "
            "noises; distances in the units of the data ([-1, 1] for images)",
            table["fingerprint"],
        ),
        panels=tuple(panels),
        notes=(
            "x' has the law of x for every e, and e = 1 is an independent noise: the last column is the distance of "
            "unrelated samples.",
            "Copy and fresh noise do not look at the noise: with a moved noise they draw another image. That is the "
            "independent coupling.",
            "– this start stores no image.",
        ),
        headline=_headline(table, results),
    )


PAGE = tables.page(__file__, __doc__, make, layout)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
