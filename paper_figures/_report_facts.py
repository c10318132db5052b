"""What a report says before its pages: the verdict, what ran on what, what was not run, and where the time went.

Every sentence is generated from the numbers of the results folder; nothing is said of what is not there.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from dpmot import plugins
from dpmot import results as files
from dpmot.results import FLOORS, REAL_TRAIN, fact, printed_name, records
from paper_figures import _rewired_verdict, table_12_speed
from paper_figures._agreement import OUTSIDE
from paper_figures._numbers import Number, fixed, interval
from paper_figures._results import Results, fingerprints

LONGEST = 20  # jobs with a bar of their own


@dataclass(frozen=True)
class Bar:
    """One bar of the chart of timings: seconds of wall clock, and their share of the longest bar, in percent."""

    job: str
    seconds: str
    share: float


@dataclass(frozen=True)
class Best:
    """The best ranked method at each NFE budget: what it is the best by, and (NFE, method, value) of each."""

    told: str
    rows: list[tuple[str, str, str]]


def verdict(results: Results) -> list[str]:
    """What became of DPM-OT's rows, the identity test, sigma_M*, and what is claimed of speed and couplings."""
    asked = results.experiment.tables
    speed = table_12_speed.verdict(table_12_speed.make(results), results) if "table_12_speed" in asked else ()
    rewired = _rewired_verdict.verdict(results) if "table_10_coupling" in asked else ()
    return [*_unranked(results), *_identity(results), *_star(results), *speed, *rewired]


def best(results: Results) -> Best:
    """By the Frechet distance of the first features against test, beside real images."""
    metric = f"fd_{results.families[0]}"
    rows = results.pooled()
    rows = rows[(rows["metric"] == metric) & (rows["reference"] == "test") & rows["value"].notna()]
    floor = records(rows[rows["method"] == REAL_TRAIN][:1])
    named = f"{printed_name(metric)} against test ({fact(metric).direction} is better)"
    beside = f". Real images, split A (train): {interval(floor[0])}" if floor else ""
    over = f"95 % intervals over {'training seeds' if results.each.repeated else 'samples of one network'}"
    inside = rows[rows["ranked"].astype(bool) & ~rows["method"].isin(FLOORS) & ~results.of_groups(rows, OUTSIDE)]
    found = []
    for nfe in results.budgets:
        top = records(inside[inside["nfe_budget"] == nfe].nsmallest(1, "value"))
        found.append((nfe, results.title(top[0]["method"]), interval(top[0])) if top else (nfe, "none is ranked", ""))
    told = f"The best ranked method at each number of network evaluations, by {named}{beside}"
    return Best(f"{told}. {over}.", found)


def _unranked(results: Results) -> Iterator[str]:
    rows = results.pooled().drop_duplicates(files.CELL)
    rows = rows[results.of_groups(rows, ["dpm_ot"]) & rows["nfe_budget"].isin(results.budgets)]
    if rows.empty:
        return
    why = Counter(rows.loc[~rows["ranked"].astype(bool), "verdict"])
    told = "; ".join(f"{number} {word}" for word, number in why.most_common())
    methods, ranked = rows["method"].nunique(), rows["ranked"].astype(bool).sum()
    yield (
        f"DPM-OT, {methods} method{'s' * (methods > 1)} at their budgets: {ranked} of {len(rows)} cells ranked"
        f"{f'; not ranked: {told}' if told else ''}."
    )


def _identity(results: Results) -> Iterator[str]:
    table = results.identity
    if table is None or table.empty:
        return
    yield (
        f"Identity test, DPM-OT against copying a random stored image with the same sampler: "
        f"{table['equivalent'].sum()} of {len(table)} comparisons are equivalent within their margins "
        f"(two one-sided tests over {table['seeds'].max():.0f} sample seeds of one network)."
    )


def _star(results: Results) -> Iterator[str]:
    if (star := results.star) is None:
        return
    found = f"{star.sigma:.4g}" if star.sigma is not None else "none found"
    told = f" ({star.reason})" if star.reason and star.sigma is None else ""
    at = next((trial.recovery for trial in star.rows if trial.sigma == star.sigma), None)
    if isinstance(at, list) and len(at) == 3:
        value, low, high = at
        told = f"; source recovery there {Number(value, low, high).text} (95 % interval over samples of one network)"
    yield f"sigma_M*, the smallest level that passes the search for copying: {found}{told}."


def ran(results: Results) -> list[tuple[str, str]]:
    """Name and entry: the data, the code, the machine, and the seconds."""
    plan, file = results.experiment, results.folder / "fingerprint.json"
    found = files.read_json(file) if file.is_file() else {}
    environment = found.get("environment")
    packages = environment.items() if isinstance(environment, dict) else ()
    rows = [
        ("Data", results.source),
        ("Samples", f"{plan.num_samples} a sample seed; sample seeds {', '.join(map(str, plan.sample_seeds))}"),
        ("Training seeds", ", ".join(map(str, plan.trainings))),
        ("NFE budgets", ", ".join(results.budgets)),
        ("Networks", ", ".join(plan.networks) or "none"),
        ("Fingerprint of the rows", fingerprints(results.metrics["fingerprint"], 5)),
        *((str(name), str(value)) for name, value in packages),
    ]
    seconds = _wall(results)
    total = f"{fixed(seconds.sum(), 0)} s of wall clock over {len(seconds)} jobs" if len(seconds) else "no timings.csv"
    return [*rows, ("Time", total)]


def absent(results: Results) -> list[tuple[str, str]]:
    """What was not run, and why: cells that were skipped, metrics without a value, pages that are not there."""
    told: dict[str, list[str]] = {}
    for (name, nfe), why in results.skipped().items():
        told.setdefault(why, []).append(f"{results.title(name)} at NFE {nfe}")
    empty = results.pooled()
    empty = empty[empty["value"].isna() & (empty["reason"].fillna("") != "")]
    for (metric, reason), cells in empty.groupby(["metric", "reason"], sort=False):
        told.setdefault(str(reason), []).append(f"{printed_name(str(metric))} of {len(cells)} cells")
    plan = results.experiment
    for name in sorted(plugins.names("pages"), key=lambda name: (name.split("_")[0], int(name.split("_")[1]))):
        page = plugins.find("pages", name).PAGE
        if name not in (*plan.tables, *plan.figures):
            told.setdefault("the configuration does not name these pages", []).append(name)
        elif not any((results.folder / path).is_file() for path in page.outputs):
            told.setdefault("this folder does not hold these pages", []).append(name)
    return [(", ".join(names), why) for why, names in told.items()]


def bars(results: Results) -> list[Bar]:
    """The longest jobs, longest first, and the others as one."""
    seconds = _wall(results).sort_values(ascending=False, kind="stable")
    shown, rest = seconds[:LONGEST], seconds[LONGEST:]
    if len(rest):
        shown = pd.concat([shown, pd.Series({f"{len(rest)} other jobs": rest.sum()})])
    top = shown.max() if len(shown) and shown.max() > 0 else 1.0
    return [Bar(str(job), fixed(value, 1), round(100 * value / top, 1)) for job, value in shown.items()]


def _wall(results: Results) -> pd.Series:
    """Seconds of wall clock by job; of older files, which lack them, those of arithmetic."""
    table = results.timings
    if table is None:
        return pd.Series(dtype=float)
    column = "wall_s" if "wall_s" in table else "arithmetic_s"
    return pd.to_numeric(table.set_index("job")[column], errors="coerce").dropna().astype(float)
