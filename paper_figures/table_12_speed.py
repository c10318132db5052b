"""Table 12: how many times faster, at equal quality: the paper's claim of speed, measured.

    against the full chain:    NFE of the full chain / NFE at which the method is first as good as it
    against the best rival:    NFE at which that rival is first as good as the cell / NFE of the cell

Quality is FD against test, between budgets log FD linear in log NFE (:mod:`paper_figures._equal_quality`); evaluations
are counted. The best rival of a cell is the one on its network, or distilled from it, that needs the fewest. The curve
of a rival ends with the full chain where that is its own sampler's. Seconds are those of each method's own sampling.
"""

from collections.abc import Mapping
from itertools import groupby
from math import exp, inf, isnan, sqrt

import pandas as pd

from dpmot.results import by_key, printed_name, records
from paper_figures import _tables as tables
from paper_figures._equal_quality import Ratio
from paper_figures._headline import chosen
from paper_figures._numbers import Number
from paper_figures._panels import Cell, Document, Panel, not_run
from paper_figures._results import GROUPS, Results, Row, fingerprints
from paper_figures._speed import CHAIN, NEVER, OURS, RIVAL, compared, evaluation_seconds, ratio_of, scatter

READS = ("replicates", "timings")
CLAIM, SOURCE = (200, 1000), "arXiv:2307.11308"  # times faster, as the paper reports it
ROUGH = 1.5  # factor of seconds from which on they are marked

make = compared


def verdict(table: pd.DataFrame, results: Results) -> tuple[str, ...]:
    """What the numbers say of the claim, one sentence a network and one of the rivals."""
    told = []
    chains = table[table["compared_with"] == CHAIN]
    for chain in dict.fromkeys(chains["method"].map(results.chain)):
        told.append(_of_chain(chains[chains["method"].map(results.chain) == chain], results, chain))
    told += [f"No full chain was run on network {one}." for one in _without(table, results)]
    cells = table[(table["compared_with"] == RIVAL) & results.of_groups(table, OURS) & table["nfe_ratio"].notna()]
    if len(ranked := cells[cells["ranked"].astype(bool)]):
        known = [row for row in records(ranked) if not isnan(_of(row).low)]
        faster, slower = sum(map(_faster, known)), sum(_at_most(row) <= 1 for row in known)
        unknown = f" {len(ranked) - len(known)} have no interval." if len(known) < len(ranked) else ""
        told.append(
            f"Against the best rival at equal FD, of {len(ranked)} ranked cells of DPM-OT and mixture starts {faster} "
            f"are shown to need fewer evaluations, {slower} to need as many or more; {len(known) - faster - slower} "
            f"are not told apart.{unknown}"
        )
    elif len(cells):
        told.append("No cell of DPM-OT or of a mixture start is ranked, so none is compared with a rival as a result.")
    return tuple(told)


def _without(table: pd.DataFrame, results: Results) -> list[str]:
    """Networks with methods that are compared, and no full chain."""
    chains = set(table.loc[table["compared_with"] == CHAIN, "method"].map(results.chain))
    return [one for one in dict.fromkeys(table["method"].map(results.chain)) if one not in chains]


def _of_chain(rows: pd.DataFrame, results: Results, chain: str) -> str:
    """One network: how many times fewer evaluations are as good as its full chain, at best, by groups."""
    groups = {"rivals": ("rivals",), "DPM-OT": ("dpm_ot", "as_code"), "mixture starts": ("mixture",)}
    told = []
    for name, of in groups.items():
        own = rows[results.of_groups(rows, of)]
        good, ranked = own["outcome"] != NEVER, own["ranked"].astype(bool)
        if len(own):
            told.append(f"{name}, {_best(own[ranked & good], results)}")
        if len(own) and name != "rivals" and (good & ~ranked).any():
            told[-1] += f" (unranked {_best(own[~ranked & good], results)})"
    nfe = f"{rows.iloc[0]['rival_nfe']:g}"
    return (
        f"Network {chain}, full chain of {nfe} evaluations: times fewer that are as good, at best: {'; '.join(told)}. "
        f"{_claim(rows, results)}"
    )


def _faster(row: Row) -> bool:
    """Whether a rival is shown to need more evaluations: by the interval, or as it is as good at none."""
    return _shown(row) > 1 or (_of(row).low == inf and _shown(row) >= 1)


def _best(rows: pd.DataFrame, results: Results) -> str:
    if rows.empty:
        return "no ranked row is as good"
    row = max(records(rows), key=lambda one: _of(one).bound)
    return f"{results.title(row['method'])} {_of(row).text}"


def _of(row: Row) -> Ratio:
    found = ratio_of(row)
    assert found is not None
    return found


def _claim(rows: pd.DataFrame, results: Results) -> str:
    """Whether a ranked DPM-OT row is as fast as the paper reports."""
    ranked = [row for row in records(rows) if row["ranked"] and results.group(row["method"]) in ("dpm_ot", "as_code")]
    least = min(CLAIM)
    if any(_shown(row) >= least for row in ranked):
        return f"A ranked row of DPM-OT is shown to be at least {least} times as fast."
    if any(_at_most(row) >= least for row in ranked):
        return f"That a ranked row of DPM-OT is {least} times as fast is neither shown nor excluded."
    if any(isnan(_of(row).low) and _of(row).bound >= least for row in ranked):
        return f"That a ranked row of DPM-OT is {least} times as fast is not shown: it has no interval."
    if float(rows.iloc[0]["rival_nfe"]) < least:
        return f"A chain this short leaves no room for {least} times."
    return f"No ranked row of DPM-OT is {least} times as fast."


def _shown(row: Row) -> float:
    """What a ratio is shown to be at least: the lower end, or what was measured there; NaN without an interval."""
    return _of(row).shown


def _at_most(row: Row) -> float:
    """What a ratio is at most: its upper end; inf where that is open; NaN without an interval."""
    one = _of(row)
    return one.least if one.high == 0 else one.high


def _cells(row: Row, rough: bool) -> tuple[Cell, Cell]:
    """The ratio of evaluations and that of seconds, marked where they are unranked, and rough."""
    marks = () if row["ranked"] else ("†",)
    own, timed = ratio_of(row), ratio_of(row, "seconds_ratio")
    if own is None:
        return Cell("–", marks=marks), Cell("–")
    shown = Cell("not timed") if timed is None else Cell(timed.text, marks=("§",) * rough)
    return Cell(own.text, marks=marks), shown


def _equal(row: Row) -> Cell:
    """Evaluations at which a method is as good as the full chain, with their interval."""
    found = ratio_of(row, "equal_nfe")
    return Cell("–" if found is None else found.text)


def _rough(results: Results, chain: str, seconds: Mapping[str, float]) -> bool:
    spread = scatter(results, seconds, chain)
    return not exp(1.96 * sqrt(2) * spread) < ROUGH  # NaN: not known to be better


def _chain_panel(table: pd.DataFrame, results: Results, rough: Mapping[str, bool]) -> Panel:
    """Methods down: how many evaluations they need to be as good as the full chain of their network."""
    rows = {(row["method"], row["ranked"]): row for row in records(table[table["compared_with"] == CHAIN])}
    title = "As good as the full chain"
    if not rows:
        return not_run(title, "no full chain of a network (group reference, NFE full) was measured.")

    lines: list[str | tuple[Cell, ...]] = []
    for group, members in groupby(rows, key=lambda key: results.group(key[0])):
        lines.append(GROUPS.get(group, "Other methods"))
        for method, ranked in members:
            row, chain = rows[method, ranked], results.chain(method)
            head = Cell(results.label(method)), Cell(chain), Cell(f"{row['rival_nfe']:g}"), _equal(row)
            lines.append((*head, *_cells(row, rough[chain])))
    header = ("method", "network", "full chain's NFE", "NFE as good", "times fewer NFE", "times fewer seconds")
    return Panel(title, header, tuple(lines), heads=2)


def _rival_panel(table: pd.DataFrame, results: Results, rough: Mapping[str, bool]) -> Panel:
    """Cells down: how many evaluations the best rival needs to be as good."""
    cells, lines = table[table["compared_with"] == RIVAL], list[str | tuple[Cell, ...]]()
    for method in cells["method"].unique():
        lines.append(results.title(method))
        for row in records(cells[cells["method"] == method]):
            fd = Number(row["fd"], row["fd_low"], row["fd_high"])
            rival = results.title(row["rival"]) if isinstance(row["rival"], str) else "–"
            own = Cell(f"{row['nfe']:g}"), Cell(fd.text, number=fd), Cell(rival)
            lines.append((*own, *_cells(row, rough[results.chain(method)]), Cell(row["outcome"])))
    title = "NFE of the best rival at equal FD, over the cell's own"
    if not lines:
        return not_run(title, "no cell was drawn with an evaluation or more.")
    header = ("NFE", "FD", "rival", "times its NFE", "times its seconds", "rival is")
    return Panel(title, header, tuple(lines), heads=1)


def _headline(table: pd.DataFrame, results: Results) -> Panel | None:
    """Chosen methods: against the full chain, and at their fewest evaluations against the best rival."""
    cells = table[table["compared_with"] == RIVAL].assign(value=lambda rows: rows["fd"])
    if cells.empty:
        return None
    first = table[table["compared_with"] == CHAIN].drop_duplicates("method")  # by ranked cells, where there are some
    chains = by_key(first, "method")
    lines: list[tuple[Cell, ...]] = []
    for method in chosen(results, cells):
        own = cells[cells["method"] == method]
        row, chain = records(own)[0], chains.get((method,))
        against = _cells(chain, False)[0] if chain else Cell("not run")
        rival = results.title(row["rival"]) if isinstance(row["rival"], str) else "–"
        head = Cell(results.label(method)), against, Cell(f"{row['nfe']:g}"), _cells(row, False)[0], Cell(rival)
        lines.append(head)
    header = ("method", "full chain's NFE / its own", "NFE", "best rival's NFE / its own", "best rival")
    short = f"Reported: {min(CLAIM)} to {max(CLAIM):,} times faster ({SOURCE}). Measured: {_short(table, results)}"
    notes = (
        short,
        f"All at equal FD: ratios of evaluations with 95 % intervals over {results.units}; ≥, ≤: as good at the fewest "
        "evaluations measured, or at none. † unranked.",
        f"Data set {results.experiment.dataset}; fingerprint {fingerprints(table['fingerprint'], 1)}. All cells are in "
        "the supplement.",
    )
    return Panel("Times fewer evaluations at equal quality", header, tuple(lines), notes)


def _short(table: pd.DataFrame, results: Results) -> str:
    """The verdict in a clause: the fastest ranked row of DPM-OT against its full chain."""
    own = table[(table["compared_with"] == CHAIN) & results.of_groups(table, ("dpm_ot", "as_code"))]
    if own.empty:
        return "no full chain was run."
    ranked = own[own["ranked"].astype(bool) & (own["outcome"] != NEVER)]
    if ranked.empty:
        return "no ranked row of DPM-OT is as good as a full chain."
    return f"the fastest ranked row of DPM-OT is {_best(ranked, results)} times."


def layout(table: pd.DataFrame, results: Results) -> Document:
    """The printed table."""
    seconds, quality = evaluation_seconds(results), printed_name(f"fd_{results.families[0]}")
    rough = {chain: _rough(results, chain, seconds) for chain in dict.fromkeys(table["method"].map(results.chain))}
    paired = results.units if results.each.repeated else "groups of samples"
    claim = Cell(f"{min(CLAIM)} to {max(CLAIM):,} times faster"), Cell(SOURCE), Cell("not transcribed")
    reported = Panel("Reported (not measured here)", ("claim", "source", "at which quality"), (claim,))
    return Document(
        title="Table 12. How many times faster, at equal quality",
        caption=results.caption(
            f"quality: {quality} against test, {results.pooled_over}; {results.in_brackets}", table["fingerprint"]
        ),
        panels=(
            Panel("Verdict", (), (), verdict(table, results)),
            _chain_panel(table, results, rough),
            _rival_panel(table, results, rough),
            reported,
        ),
        notes=(
            "Equal quality: the first evaluations at which a curve, log FD linear in log NFE between its budgets, "
            "falls to the FD of the other. The interval holds all at which the two are not told apart (jackknife, "
            f"paired by {paired}); it does not know that the best rival was chosen from the same numbers.",
            "≤, ≥: a curve ends there; it is as good at the fewest evaluations measured, so fewer may do, or at none. "
            "One number: the interval ends there too.",
            "† unranked (Table 1), or a curve with unranked cells: the speed of copies of training images is no speed. "
            "Where a method has ranked cells, the curve of these stands first; a rival is compared by them alone.",
            *_on_seconds(results, seconds, rough),
            "Training is not counted: not the networks', nor that of a distilled rival, nor a start's fit (Table 8).",
            *_other_n(table, results),
        ),
        headline=_headline(table, results),
    )


def _on_seconds(results: Results, seconds: Mapping[str, float], rough: Mapping[str, bool]) -> list[str]:
    """How far seconds are to be trusted, by network."""
    if not seconds:
        return ["Seconds: not timed."]
    told = [
        "Seconds: arithmetic of each method's own sampling job over its evaluations, its start included; the interval "
        "holds what an evaluation's seconds differ by between jobs on a network. ≥ and ≤ of seconds are those of "
        "evaluations times that factor, without an interval."
    ]
    for chain, marked in rough.items():
        own = [1000 * s for m, s in seconds.items() if results.chain(m) == chain and results.group(m) != "identity"]
        if marked and own:
            told.append(
                f"§ rough, network {chain}: jobs ran side by side, and took {min(own):.2g} to {max(own):.2g} ms for an "
                "evaluation of one sample."
            )
    return told


def _other_n(table: pd.DataFrame, results: Results) -> list[str]:
    """That a full chain has another number of samples; nothing where it has not."""
    rows = results.pooled()
    sizes = {m: set(rows.loc[rows["method"] == m, "num_samples"]) for m in table["rival"].dropna().unique()}
    chains = table[table["compared_with"] == CHAIN]
    own = {n for m in chains["method"] for n in set(rows.loc[rows["method"] == m, "num_samples"])}
    other = [f"{results.title(m)} has {'/'.join(sizes[m])}" for m in chains["rival"].unique() if sizes[m] - own]
    return [f"Samples: {'; '.join(other)}, the others {'/'.join(sorted(own, key=int))}; FD without its bias."] * bool(
        other
    )


PAGE = tables.page(__file__, __doc__, make, layout, tables.csv_of_logarithms)

if __name__ == "__main__":
    raise SystemExit(PAGE.main())
