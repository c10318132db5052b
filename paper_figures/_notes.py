"""What stands under a table of cells: its caption, what its marks mean, why rows are unranked."""

from dataclasses import dataclass

import pandas as pd

from dpmot.experiment.plan import Experiment
from dpmot.experiment.values import PROTOCOLS
from dpmot.results import FRESH, fact, printed_name, records, stem
from paper_figures import _reasons
from paper_figures._long_form import BEYOND, has_best, ranked_cells, table_n
from paper_figures._numbers import alone, interval
from paper_figures._paired import ALPHA
from paper_figures._results import Results, fingerprints
from paper_figures._verdicts import NEAR, UNRANKED

OF_LAW = ("fd", "kd", "fld")  # whose intervals hold what other references would say too
WORDS = {
    "noise": "precision is certainly under a tenth of real images', in all features, so no other number means anything",
    "copies": "the share of copies, or of stored images that come back, is certainly above the audit's tolerance",
    "collapsed": "distinct samples, or recall in all features, are certainly under a tenth of real images'",
    "not converged": "the transport behind it did not converge",
    "not audited": "not measured, or too uncertain to say",
}
AT_LEAST = (
    "An interval of a share of copies, or of a value that all networks agree on, is at least as wide as one network's "
    "in the mean: the spread between networks does not say what the audit of each cannot tell."
)
SMOOTH = (
    "Smooth (Details) is a remark on ranked rows: their density is above real images', or they lie nearer to the "
    f"images of both splits than {NEAR:g} of real images' distance, as blurred images do; no copies were found."
)


@dataclass(frozen=True)
class Notes:
    """Notes of a long form.

    Attributes:
        table: of :func:`paper_figures._long_form.long_form`.
        results: what it was made from.
        footnotes: reason of a skipped cell -> its mark.
    """

    table: pd.DataFrame
    results: Results
    footnotes: dict[str, str]

    @property
    def _main(self) -> pd.DataFrame:
        main = self.table["method"].isin(self.results.main_methods)
        return self.table[main & (self.table["status"] == "measured")]

    @property
    def lines(self) -> tuple[str, ...]:
        """What the marks mean, as far as they occur."""
        main = self._main[self._main["nfe_budget"].isin(self.results.budgets)]
        lines = [self._bold_note(), *verdict_notes(main, self.results)]
        if (main["num_samples"] != table_n(self.table, self.results)).any():
            lines.append("‡ another n than the table's; distances at unequal n do not compare; never bold.")
        if (main["verdict"] == BEYOND).any():
            lines.append(
                "¶ better than real images of another split, beyond both intervals; never bold: no sample is more real "
                "than they are, so what such a value measures is something else, as collapse, copies or noise."
            )
        lines += [f"{mark} skipped: {reason}" for reason, mark in self.footnotes.items()]
        if not self.results.each.repeated and main["metric"].map(stem).isin(OF_LAW).any():
            lines.append(
                "Intervals of FD, KD and FLD hold what other references of this size would say too. All rows of a "
                "column share that part, so overlap does not tell whether one method is better than another: bold does."
            )
        lines += self._trainings(main)
        cells = main[["method", "nfe_counted", "nfe_budget"]].drop_duplicates(["method", "nfe_budget"])
        for remark, of in main[main["reason"] != ""].groupby("reason", sort=False):
            of = of.drop_duplicates(["method", "nfe_budget"])
            lines.append(f"Mind: {remark}{'' if len(of) == len(cells) else f' ({self._named(of)})'}.")
        off = cells[(cells["nfe_counted"] != "") & (cells["nfe_counted"] != cells["nfe_budget"])]
        counts = (off["nfe_counted"] + " at " + off["nfe_budget"]).groupby(off["method"], sort=False).agg(", ".join)
        told = "; ".join(f"{self.results.title(str(method))} {count}" for method, count in counts.items())
        return tuple(lines + ([f"Counted NFE other than the budget: {told}."] if told else []))

    def _trainings(self, main: pd.DataFrame) -> list[str]:
        """What intervals over training seeds hold, and which rows have none and what that does to bold."""
        repeated = self.results.each.repeated
        once = [name for name in dict.fromkeys(main["method"]) if name not in repeated]
        lines = [
            "Intervals over training seeds hold training and sampling: each network draws with noise of its own. They "
            "do not hold what other references, atoms or heights would say, which all networks share. A row is ranked "
            "where it is at each training seed."
        ]
        lines += [] if main["metric"].map(lambda metric: fact(metric).replicates).all() else [AT_LEAST]
        if once:
            titles = ", ".join(map(self.results.title, once))
            lines.append(
                f"One network each, so their intervals are over samples: {titles}. Where a column has both kinds, bold "
                "is overlap of intervals, which is no test."
            )
        return lines if repeated else []

    def _named(self, cells: pd.DataFrame) -> str:
        """Cells as "method at NFE 5, 10; ..."."""
        budgets = cells.groupby("method", sort=False)["nfe_budget"].agg(", ".join)
        return "; ".join(f"{self.results.title(str(method))} at NFE {of}" for method, of in budgets.items())

    def _bold_note(self) -> str:
        """What bold means."""
        ranked = ranked_cells(self.table, self.results)
        known = {key[1:] for key in self.results.replicates}
        compared = dict.fromkeys(zip(ranked["metric"], ranked["reference"], strict=True))
        pairs = [pair for pair in compared if has_best(pair[0])]
        untested = [printed_name(pair[0]) for pair in pairs if pair not in known]
        told = (
            "Bold: ranked methods that may be the best of their column, as no other is shown to be better (multiple "
            f"comparisons with the best, paired by {self.results.units}; the chance that a panel loses one is at most "
            f"{ALPHA:g})."
        )
        names, which = ", ".join(dict.fromkeys(untested)), "ranked values whose interval overlaps the best one's"
        if untested and len(untested) == len(pairs):
            return f"Bold: {which}. This is no test: there are no replicates, which would allow one."
        return f"{told} Bold of {names}: {which}, which is no test." if untested else told

    @property
    def details(self) -> tuple[str, ...]:
        """The rules of the audit that apply; then a line for each kind of reason why a method is unranked or smooth."""
        told = self._main[(self._main["audit"] != "") & (self._main["verdict"] != BEYOND)]
        told = told.drop_duplicates(["method", "nfe_budget"])
        details = [rule] if (rule := _reasons.rules(told["audit"])) else []
        for (method, ranked), cells in told.groupby(["method", "ranked"], sort=False):
            reasons = _reasons.lines(dict(zip(cells["nfe_budget"], cells["audit"], strict=True)), self.results.budgets)
            details.append("\n  - ".join([f"{'' if ranked else '† '}{self.results.title(str(method))}", *reasons]))
        return tuple(details)


def fresh(results: Results, stem: str, family: str) -> tuple[str, ...]:
    """What real images get that no method stores, in a metric against test; nothing where it was not measured."""
    rows, metric = results.pooled(), f"{stem}_{family}"
    rows = rows[(rows["metric"] == f"{FRESH}{metric}") & (rows["reference"] == "test") & rows["value"].notna()]
    notes = []
    for row in records(rows):
        found = alone(row["value"], metric) if row["low"] == row["high"] else interval({**row, "metric": metric})
        but = f" ({row['reason']})" if isinstance(row["reason"], str) and row["reason"] else ""
        images = f"{row['num_samples']} fresh real images of split B, which nothing stores,"
        notes.append(f"{images} have {printed_name(metric)} {found} against test{but}.")
    return tuple(notes)


def verdict_notes(rows: pd.DataFrame, results: Results) -> list[str]:
    """What † means, by the words of ``verdict`` that occur among rows."""
    there = [f"{word}: {WORDS[word]}" for word in UNRANKED if (rows["verdict"] == word).any()]
    lines = [f"† unranked, never bold (Details){': ' if there else ''}{'; '.join(there)}."]
    if results.audit is None:
        lines.append("No audit.csv: no row was audited, so none is ranked.")
    return lines + [SMOOTH] * bool((rows["verdict"] == "smooth").any())


def caption(table: pd.DataFrame, results: Results, *, references: str) -> str:
    """n, seeds, references, intervals and fingerprint: a result counts only as measured."""
    n = table_n(table, results)
    measured = table[table["status"] == "measured"]
    features = ", ".join(text for text in dict.fromkeys(measured["features"]) if text)
    starts = results.stored
    if results.experiment.protocol:
        references += f"; protocol {_protocol(results.experiment)}; train is split A ({starts or 'unknown'} images)"
    if starts and n and int(n) > starts:
        references += f"; starts that store images have at most {starts} distinct images"
    return (
        f"{results.source}; {f'n = {n} samples a cell' if n else 'no cell measured'}, "
        f"{results.pooled_over}; {results.in_brackets}; features: {features or 'none'}; {references}; "
        f"fingerprint: {fingerprints(measured['fingerprint'], 3, where=' (CSV)')}"
    )


def _protocol(experiment: Experiment) -> str:
    """Its name, and what of it the configuration altered."""
    name, written = str(experiment.protocol), experiment.written()
    altered = [f"{key} {written[key]}" for key, value in PROTOCOLS[name].items() if written[key] != value]
    return f"{name}, altered: {', '.join(altered)}" if altered else name
