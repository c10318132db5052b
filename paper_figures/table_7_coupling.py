"""Table 7: the coupling of noise and samples, which is what optimal transport can change where the law stays the same.

Transport cost E |x - T(x)|^2 / 2 beside that of independent pairs; and how far a small move of the noise,
x' = sqrt(1 - e^2) x + e z, moves the choice of the atom, the start, and the sample behind the network.
"""

import sys
from collections.abc import Mapping, Sequence

import pandas as pd

from paper_figures import _tables as tables
from paper_figures._command import run
from paper_figures._results import COUPLING, Results
from paper_figures._tables import Cell, Document, Panel

NAME = "table_7_coupling"
OUTPUTS = tuple(f"tables/{NAME}.{suffix}" for suffix in ("md", "tex", "csv"))
COSTS = {"transport_cost": "transport cost", "independent_cost": "independent pairs", "cost_saved": "saved"}
MOVED = {
    "cell_changes": "Share of draws that change their atom, by the move e of the noise",
    "start_distance": "Mean distance between the starts of x and x', by e",
    "sample_distance": "Mean distance between the samples of x and x', by e",
}


def make(results: Results) -> pd.DataFrame:
    """coupling.csv in its own order; no rows where it does not exist."""
    return pd.DataFrame(columns=COUPLING) if results.coupling is None else results.coupling[COUPLING].copy()


def _entry(row: Mapping | None) -> Cell:
    return Cell("–" if row is None else f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]")


def _costs(table: pd.DataFrame, results: Results) -> Panel:
    found = {(row["method"], row["quantity"]): row for row in table.to_dict("records")}
    methods = [method for method in table["method"].unique() if (method, "transport_cost") in found]
    rows = tuple((Cell(results.title(m)), *(_entry(found.get((m, name))) for name in COSTS)) for m in methods)
    return Panel("Transport cost", ("method", *COSTS.values()), rows)


def _moves(table: pd.DataFrame, results: Results, quantity: str) -> Panel:
    chosen = table[table["quantity"] == quantity]
    moves = sorted(chosen["move"].unique())
    found = {(row["method"], row["move"]): row for row in chosen.to_dict("records")}
    rows = tuple(
        (Cell(results.title(method)), *(_entry(found.get((method, e))) for e in moves))
        for method in chosen["method"].unique()
    )
    return Panel(MOVED[quantity], ("method", *(f"e = {e:g}" for e in moves)), rows)


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table."""
    if table.empty:
        panels: tuple[Panel, ...] = (Panel("Coupling", (), (), ("not run: the results hold no coupling.csv.",)),)
    else:
        panels = (_costs(table, results), *(_moves(table, results, quantity) for quantity in MOVED))
    noises = ", ".join(sorted(table["num_noises"].unique(), key=int)) or "none"
    counted = ", ".join(sorted(table["nfe_counted"].unique())) or "none"
    prints = ", ".join(dict.fromkeys(table["fingerprint"])) or "none"
    return Document(
        name=NAME,
        title="Table 7. The coupling of noise and samples",
        caption=(
            f"{results.source}; n = {noises} noises; {counted} evaluations a sample; 95 % intervals in "
            f"brackets; distances in the units of the data ([-1, 1] for images); fingerprint: {prints}"
        ),
        panels=panels,
        notes=(
            "x' has the law of x for every e, and e = 1 is an independent noise: the last column is the distance of "
            "unrelated samples.",
            "Copy and fresh noise do not look at the noise: with a moved noise they draw another image. That is the "
            "independent coupling.",
            "– this start stores no image.",
        ),
    )


def produce(results: Results) -> dict[str, bytes]:
    """File contents of OUTPUTS."""
    table = make(results)
    document = layout(table, results)
    numbers = table.to_csv(index=False, lineterminator="\n").encode()
    contents = tables.markdown(document).encode(), tables.latex(document).encode(), numbers
    return dict(zip(OUTPUTS, contents, strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return run(NAME, __doc__, produce, arguments)


if __name__ == "__main__":
    sys.exit(main())
