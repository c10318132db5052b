"""Table 14: the training lottery. What retraining moves beside other samples, and which claims survive it.

Networks that differ in their training seed alone, each sampled several times. Three intervals of one value answer three
questions: over samples, would other samples of this network say the same? Over trainings, would as many other
trainings say it in the mean? Of one training, how far may the value of a single network lie from that mean? The
variance of one draw is split into training and samples (``dpmot/statistics/components.py``), and each pair of methods
that a table of one network tells apart is looked up in the tables of the others (``paper_figures/_claims.py``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isnan

import numpy as np
import pandas as pd

from dpmot.results import by_key, printed_name, records
from paper_figures import _tables as tables
from paper_figures._claims import MIXTURE, survival, table_of
from paper_figures._comparison import grouped
from paper_figures._headline import chosen, how_chosen
from paper_figures._numbers import Number, decimals, fixed
from paper_figures._panels import Cell, Document, Panel, not_run
from paper_figures._results import Results, Row, fingerprints
from paper_figures._retrained import by_metric, spread

READS = ("replicates",)
CELL = ["kind", "method", "label", "nfe_budget", "sigma_start", "metric", "reference"]
WIDTHS = ["trainings", "draws", "samples_a_draw", "num_samples", "value", "low", "high", "over_samples", "of_one"]
PARTS = [f"{name}{end}" for name in ("sd_training", "sd_samples", "share") for end in ("", "_low", "_high")]
CLAIMS = [
    "pairs", "claims", "again", "again_low", "again_high", "confirmed", "confirmed_low", "confirmed_high",
    "not_again_same_sign", "not_again_other_sign", "not_again_shown_the_other_way", "not_again_unranked", "found",
]  # fmt: skip
COLUMNS = [*CELL, *WIDTHS, *PARTS, "samples_alike", "ranked", *CLAIMS, "fingerprint"]
NEEDED = "needs training_seeds: [0, 1, ...]"


def make(results: Results) -> pd.DataFrame:
    """Rows of kind "spread", one a cell and metric, and "claims", one a metric and one of all (metric ""), COLUMNS."""
    rows = pd.DataFrame([{**row, "kind": "spread"} for row in spread(results)])
    claims = table_of(survival(results)).assign(kind="claims")
    if len(rows) and len(claims):
        claims = claims.assign(trainings=rows["trainings"].max(), fingerprint=rows["fingerprint"].iloc[0])
    return pd.concat([rows, claims], ignore_index=True).reindex(columns=COLUMNS)


@dataclass(frozen=True)
class Said:
    """The long form as it is printed."""

    table: pd.DataFrame
    results: Results

    @property
    def spread(self) -> pd.DataFrame:
        """Rows of cells of the tables."""
        rows = self.table[self.table["kind"] == "spread"]
        inside = rows["method"].isin(self.results.main_methods) & rows["nfe_budget"].isin(self.results.budgets)
        return rows[inside]

    @property
    def claims(self) -> pd.DataFrame:
        """Rows of claims."""
        return self.table[self.table["kind"] == "claims"]

    @property
    def parted(self) -> bool:
        """Whether networks were sampled more than once."""
        return bool(self.spread["share"].notna().any())

    def of(self, metric: str, reference: str) -> pd.DataFrame:
        """Rows of one metric."""
        rows = self.spread
        return rows[(rows["metric"] == metric) & (rows["reference"] == reference)]

    def panels(self) -> Iterator[Panel]:
        """Every panel."""
        if self.spread.empty:
            yield not_run("What retraining moves", f"{NEEDED}, and metrics of them.")
            return
        for metric, reference in self.compared:
            if len(self.of(metric, reference)):
                yield self._cells(metric, reference)
        yield self._by_metric()
        yield self._claims()

    @property
    def compared(self) -> list[tuple[str, str]]:
        """Metrics whose cells are printed: those of Table 5."""
        distances = [(f"fd_{family}", "test") for family in self.results.families]
        return [*distances, (MIXTURE, self.results.reference(MIXTURE))]

    def _cells(self, metric: str, reference: str) -> Panel:
        rows = self.of(metric, reference)
        own = {method: records(part) for method, part in rows.groupby("method", sort=False)}
        header: tuple[str, ...] = ("method", "NFE", "value [over trainings]", "± over samples", "± of one training")
        if self.parted:
            header = (*header, "sd of training", "sd of samples", "share of training", "alike at n =")
        lines = [
            line
            for method in (one for one in self.results.main_methods if one in own)
            for line in (self._line(row) for row in own[method])
        ]
        against = f" against {reference}" if reference != "none" else ""
        return Panel(f"{printed_name(metric)}{against}", header, tuple(lines), heads=2)

    def _line(self, row: Row) -> tuple[Cell, ...]:
        value = Number(row["value"], row["low"], row["high"])
        head = Cell(self.results.label(row["method"])), Cell(row["nfe_budget"])
        marks = () if row["ranked"] else ("†",)
        cells = *head, Cell(value.text, marks=marks, number=value), _plain(row["over_samples"]), _plain(row["of_one"])
        if not self.parted:
            return cells
        parts = (_number(row, name) for name in ("sd_training", "sd_samples", "share"))
        return *cells, *parts, Cell("–" if isnan(row["samples_alike"]) else f"{row['samples_alike']:,.0f}")

    def _by_metric(self) -> Panel:
        title = "Share of the training in the variance of one draw, by metric"
        if not self.parted:
            return not_run(title, "needs two sample seeds or more: one draw a network tells nothing of samples.")
        lines = []
        for row in by_metric(self.spread):
            if row["rows"]:
                against = row["reference"] if row["reference"] != "none" else "–"
                shares = (f"{row[name]:.2f}" for name in ("share", "least", "most"))
                told = printed_name(row["metric"]), against, f"{row['rows']}", *shares, f"{row['shown']}"
                lines.append((*map(Cell, told), _plain(row["wider"])))
        header = (
            "metric",
            "against",
            "rows",
            "median",
            "least",
            "most",
            "above 0 for certain",
            "one training / samples",
        )
        note = (
            "Rows: methods at a budget whose draws differ. Above 0 for certain: rows whose interval of the share does "
            "not reach 0. One training / samples: median ratio of the two half-widths."
        )
        return Panel(title, header, tuple(lines), (note,), heads=2)

    def _claims(self) -> Panel:
        trainings = len(self.results.experiment.trainings)
        title = "Claims of a table of one training, at the others"
        if self.claims.empty:
            return not_run(title, "no two ranked methods with replicates.")
        header = (
            *("metric", "pairs", "claims", "made again by another", "confirmed by all", "same sign, not shown"),
            *("other sign, not shown", "shown the other way", "unranked there", "found by one"),
        )
        lines = []
        for row in records(self.claims):
            name = printed_name(row["metric"]) if row["metric"] else "all together"
            told = (name, f"{row['pairs']:.0f}", f"{row['claims']:.1f}")
            lost = (f"not_again_{word}" for word in ("same_sign", "other_sign", "shown_the_other_way", "unranked"))
            shares = (_percent(row[key]) for key in (*lost, "found"))
            lines.append((*map(Cell, told), _number(row, "again"), _number(row, "confirmed"), *shares))
        notes = (
            "Claim: one of two ranked methods at one budget is shown to be better, by the paired jackknife of a table "
            "of one network, Holm-corrected over the pairs of the metric at .05. Made again: by the table of another "
            f"network, over all ordered pairs of the {trainings}; what is not made again is told in the next four "
            f"columns. Confirmed: by the test whose units are the {trainings} trainings. Found by one: share of the "
            "claims of that test which a table of one network makes. Intervals leave out one training after the other.",
        )
        return Panel(title, header, tuple(lines), notes)

    def verdict(self) -> list[str]:
        """What the numbers say, in sentences."""
        if self.spread.empty:
            return []
        told = []
        metric, reference = self.compared[0]
        rows = self.of(metric, reference)
        parted = rows[rows["share"].notna()]
        if len(parted):
            share, n = parted["share"].median(), int(parted["samples_a_draw"].iloc[0])
            ratio = float(np.sqrt(share / (1 - share))) if share < 1 else np.inf
            told.append(
                f"Of the variance of {printed_name(metric)} of one draw of n = {n}, training makes {share:.0%} in the "
                f"median row ({parted['share'].min():.0%} to {parted['share'].max():.0%}): retraining moves it "
                f"{ratio:.2g} times as far as other samples do.".replace("%", " %")
            )
            if known := [one for one in parted["samples_alike"] if not isnan(one)]:
                told.append(
                    f"The two are alike at {np.median(known):,.0f} samples in the median row where training shows at "
                    f"all ({len(known)} of {len(parted)}): beyond that, further trainings tell more than further "
                    "samples."
                )
        if len(last := self.claims[self.claims["metric"].isna() | (self.claims["metric"] == "")]):
            row = records(last)[0]
            told.append(
                f"Of the {row['claims']:.0f} claims that a table of one network makes, that of another makes "
                f"{_percent(row['again']).text} again, and all trainings together confirm "
                f"{_percent(row['confirmed']).text}; another shows the opposite in "
                f"{_percent(row['not_again_shown_the_other_way']).text}."
            )
        return told

    def headline(self) -> Panel | None:
        """Chosen rows of the first metric at the budget that most methods have."""
        metric, reference = self.compared[0]
        rows = self.of(metric, reference)
        if rows.empty:
            return None
        nfe = rows["nfe_budget"].value_counts().index[0]
        at = by_key(rows[rows["nfe_budget"] == nfe], "method")
        methods = chosen(self.results, rows[rows["nfe_budget"] == nfe])
        last = ("share of training",) if self.parted else ()

        def line(method: str) -> tuple[Cell, ...]:
            row = at[(method,)]
            value = Number(row["value"], row["low"], row["high"])
            first = Cell(value.short, marks=() if row["ranked"] else ("†",), number=value)
            share = (_short(row, "share"),) if self.parted else ()
            return (
                Cell(self.results.label(method)),
                first,
                _plain(row["over_samples"]),
                _plain(row["of_one"]),
                *share,
            )

        header = ("method", f"{printed_name(metric)} ↓", "± over samples", "± of one training", *last)
        number = len(self.results.experiment.trainings)
        notes = (
            f"First ±: half the width of the 95 % interval over {number} training seeds; over samples: of one network; "
            "of one training: of a single network's value as an answer for all. † unranked.",
            f"Data set {self.results.experiment.dataset}; fingerprint {fingerprints(rows['fingerprint'], 1)}.",
            how_chosen(self.results),
        )
        return Panel(f"What retraining moves, NFE {nfe}", header, grouped(self.results, line, methods), notes)


def _plain(value: float) -> Cell:
    return Cell("–" if isnan(value) else fixed(value, decimals(value)) if value > 0 else "0")


def _percent(value: float) -> Cell:
    return Cell("–" if isnan(value) else f"{value:.1%}".replace("%", " %"))


def _of(row: Row, name: str) -> Number:
    return Number(row[name], row[f"{name}_low"], row[f"{name}_high"])


def _number(row: Row, name: str) -> Cell:
    number = _of(row, name)
    return Cell("–") if isnan(number.value) else Cell(number.text, number=number)


def _short(row: Row, name: str) -> Cell:
    number = _of(row, name)
    return Cell("–") if isnan(number.value) else Cell(f"{number.plain} [{number.low:.2f}, {number.high:.2f}]")


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table."""
    said = Said(table, results)
    draws = len(results.experiment.sample_seeds)
    told = (
        f"{len(results.experiment.trainings)} training seeds, each with {draws} draws of n = "
        f"{results.experiment.num_samples}; 95 % intervals in brackets, each over what its column says"
    )
    verdict = [" ".join(said.verdict())] if said.verdict() else []
    return Document(
        title="Table 14. The training lottery: what retraining moves, and which claims survive it",
        caption=results.caption(told, table["fingerprint"].dropna()),
        panels=tuple(said.panels()),
        notes=(
            *verdict,
            "Value: the mean over trainings, in brackets its interval with trainings as units (Student's t), as other "
            "tables print it. ± over samples: half the interval that a table of one network prints, in the mean (with "
            "FD and KD it holds other reference images too, which trainings share). ± of one training: the same for "
            "the value of a single network as an answer for all, Student's t times the spread of the networks' values.",
            "Sd of training, sd of samples: what retraining, and other samples of one draw's size, move (method of "
            "moments, nested; 0 where trainings differ no more than samples make them). Share: of the first in the "
            "variance of one draw, with its exact interval. Alike at n: beyond, training is the larger part.",
            "Not varied: atoms, heights, fits of mixtures, the classifier and the reference images, which all networks "
            "share.",
            "† unranked (Table 1 says why). – not measured, or training does not show.",
        ),
        headline=said.headline(),
    )


PAGE = tables.page(__file__, __doc__, make, layout)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
