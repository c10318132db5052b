"""Table 7: the coupling of noise and samples, which is what optimal transport can change where the law stays the same.

Transport cost E |x - T(x)|^2 / 2 beside that of independent pairs; and how far a small move of the noise,
x' = sqrt(1 - e^2) x + e z, moves the choice of the atom, the start, and the sample behind the network.
"""

import pandas as pd

from dpmot.results import COUPLING
from paper_figures import _comparison as comparison
from paper_figures import _tables as tables
from paper_figures._results import Results
from paper_figures._tables import Document, not_run

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


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table."""
    parts = [("Transport cost", table[table["quantity"].isin(COSTS)], "quantity", COSTS)]
    for quantity, title in MOVED.items():
        rows = table[table["quantity"] == quantity]
        parts.append((title, rows, "move", {e: f"e = {e:g}" for e in sorted(rows["move"].unique())}))
    panels = [
        comparison.coupling_panel(*part, {method: results.title(method) for method in part[1]["method"].unique()})
        for part in parts
    ]
    if table.empty:
        panels = [not_run("Coupling", "the results hold no coupling.csv.")]
    noises = ", ".join(sorted(table["num_noises"].unique(), key=int)) or "none"
    counted = ", ".join(sorted(table["nfe_counted"].unique())) or "none"
    return Document(
        title="Table 7. The coupling of noise and samples",
        caption=results.caption(
            f"{results.at_first}n = {noises} noises; {counted} evaluations a sample; 95 % intervals in brackets; "
            "distances in the units of the data ([-1, 1] for images)",
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
    )


PAGE = tables.page(__file__, __doc__, make, layout)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
