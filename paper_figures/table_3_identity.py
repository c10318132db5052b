"""Table 3: DPM-OT against the copy control, equivalence over seeds.

With solved heights T(noise) and a uniform random atom have the same law, so the two methods' metrics agree in
law and their mean difference over seeds lies within the margin: two one-sided tests, equivalent where the
larger p-value is below 0.05. A significant difference is a bug or an error of the cell masses.
"""

import sys
from collections.abc import Sequence

import pandas as pd

from paper_figures import _tables as tables
from paper_figures._command import run
from paper_figures._results import IDENTITY, Results
from paper_figures._tables import Cell, Document, Panel

NAME = "table_3_identity"
OUTPUTS = tuple(f"tables/{NAME}.{suffix}" for suffix in ("md", "tex", "csv"))
HEADER = (
    "metric",
    "reference",
    "NFE",
    "seeds",
    "mean difference [interval]",
    "margin",
    "p",
    "p (difference)",
    "verdict",
)


def make(results: Results) -> pd.DataFrame:
    """identity.csv in its own order; no rows where it does not exist."""
    return pd.DataFrame(columns=IDENTITY) if results.identity is None else results.identity[IDENTITY].copy()


def _number(value: float) -> str:
    return "not run" if pd.isna(value) else f"{value:.3g}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else _number(value)


def _row(row: dict) -> tuple[Cell, ...]:
    missing = pd.isna(row["low"]) or pd.isna(row["high"])
    bounds = "n/a" if missing else f"{_number(row['low'])}, {_number(row['high'])}"
    difference = _number(row["mean_difference"])
    verdict = "equivalent" if row["equivalent"] else "not shown"
    texts = (
        row["metric"], row["reference"], row["nfe"], row["seeds"],
        difference if difference == "not run" else f"{difference} [{bounds}]",
        _number(row["margin"]), _p(row["p_value"]), _p(row["p_difference"]),
        "not run" if difference == "not run" else verdict,
    )  # fmt: skip
    return tuple(map(Cell, texts))


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table."""
    rows = []
    for pair, members in table.groupby("pair", sort=False):
        names = [results.title(name) for name in str(pair).split(" - ")]
        rows += [" - ".join(names), *map(_row, members.to_dict("records"))]
    panel = Panel("Mean difference over seeds", HEADER, tuple(rows))
    if not rows:
        panel = Panel("Mean difference over seeds", HEADER, (), ("not run: the results hold no identity.csv.",))
    fingerprints = [text for text in dict.fromkeys(results.metrics["fingerprint"]) if text]
    n = results.experiment.get("num_samples", "unknown")
    shown = ", ".join(fingerprints[:3]) + (f" and {len(fingerprints) - 3} more" if len(fingerprints) > 3 else "")
    return Document(
        name=NAME,
        title="Table 3. DPM-OT against the copy control",
        caption=(
            f"{results.source}; n = {n} samples a seed; intervals of the paired mean difference in brackets; "
            f"fingerprint: {shown or 'none'}"
        ),
        panels=(panel,),
        notes=(
            "Equivalent: p, of two one-sided tests that the mean difference lies inside (-margin, +margin), is at most "
            "0.05. Both p are Holm-corrected over the table.",
            "p (difference): two-sided test of equal means. Both methods have one law: "
            "a small value is a bug or an error of the cell masses.",
            '"not shown" says that equivalence was not shown; it does not say that the methods differ.',
        ),
    )


def produce(results: Results) -> dict[str, bytes]:
    """File contents of OUTPUTS."""
    table = make(results)
    document = layout(table, results)
    numbers = table.to_csv(index=False, na_rep="not run", lineterminator="\n").encode()
    contents = tables.markdown(document).encode(), tables.latex(document).encode(), numbers
    return dict(zip(OUTPUTS, contents, strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return run(NAME, __doc__, produce, arguments)


if __name__ == "__main__":
    sys.exit(main())
