"""Which methods a panel of a figure shows: at most six.

Those of ``headline:`` in the configuration, as in the tables. Else one of each of these, as far as there are such on
the panel's network: a solver from the prior and DDIM from it, DPM-OT, the mixture start, the rewired network, the
copy of an image, DPM-OT where copying ends, one Gaussian, the distilled network. Of several of a kind the one that is
best over all evaluations together (ranked cells first). Places left go to whatever the tables' headline would choose.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dpmot.results import fact
from paper_figures._agreement import OUTSIDE
from paper_figures._headline import chosen
from paper_figures._looks import kind, network_of
from paper_figures._results import Results
from paper_figures._style import Quantity, distances

MOST, CODED = 6, "as coded"
CHOSEN = "Lines: chosen in the configuration."
RULE = "Lines: at most six a panel, the best of each kind of start; the rest is in the tables."
ROLES = (
    *("solver", "distilled", "ddim", "dpm_ot", "mixture", "rewired", "copy", "dpm_ot, sigma_M*", "gaussian"),
    *("discard", "treat", "smooth", "fresh_noise"),
)


def how_chosen(results: Results) -> str:
    """The sentence that says where the lines come from."""
    return CHOSEN if results.experiment.headline else RULE


def role(results: Results, method: str) -> str:
    """One of ROLES, or "" where there is none for a method."""
    own = kind(results, method)
    if own.name == "prior":
        own_group = results.group(method) in ("rivals", "other")
        return ("ddim" if own.sampler == "ddim" else "solver") if own_group else ""
    return own.name if own.name in ROLES and own.sampler != "none" else ""


def at_most_six(results: Results, rows: pd.DataFrame, direction: str = "lower", most: int = MOST) -> list[str]:
    """Methods of a panel, in the configuration's order.

    Args:
        results: with the configuration.
        rows: the panel's measured cells of one metric, with ``method nfe_budget value ranked``.
        direction: "lower" or "higher" is better.
        most: methods.
    """
    there = [method for method in results.methods if method in set(rows["method"])]
    if given := [method for method in results.experiment.headline if method in there]:
        return given[:most]
    if len(there) <= most:
        return there
    roles = {method: role(results, method) for method in there}
    best = [_best([m for m in there if roles[m] == one], rows, direction) for one in ROLES]
    found = dict.fromkeys(method for method in best if method)
    found |= dict.fromkeys(chosen(results, rows, direction, most=len(there)))
    kept = list(found)[:most]
    return [method for method in there if method in kept]


def of_chain(results: Results, cells: pd.DataFrame, chain: str, quantity: Quantity) -> list[str]:
    """Methods of the panels of a chain, without the as-coded ones: chosen by FD where it was measured.

    Args:
        results: with the configuration.
        cells: those of ``main_cells``.
        chain: the network, as Results.chain names it.
        quantity: the panel's, by which methods are chosen where there is no FD.
    """
    own = cells[cells["chain"].isin([chain, ""]) & ~cells["method"].isin(as_coded(results))]
    first = next(one for one in (distances(results)[0], quantity) if one is quantity or len(one.of(own)))
    return at_most_six(results, first.of(own), fact(first.metric).direction)


def as_coded(results: Results) -> list[str]:
    """Methods with options of the authors' code: their figures are apart."""
    return [method for method in results.methods if kind(results, method).name == CODED]


def _best(methods: Sequence[str], rows: pd.DataFrame, direction: str) -> str:
    """Of these methods the one that RULE names, of ranked cells where there are any; "" of none.

    The mean of log(value / the best value at that budget) over the budgets that all of them have, least where lower is
    better; where they share none, of the methods that have the most budgets. A distance that its interval does not tell
    from 0 counts as half the width of that.
    """
    rows = rows[rows["method"].isin(methods)]
    ranked = rows[rows["ranked"].astype(bool)]
    rows = ranked if len(ranked) else rows
    shared = set.intersection(set(rows["nfe_budget"]), *(set(own) for _, own in rows.groupby("method")["nfe_budget"]))
    rows = rows[rows["nfe_budget"].isin(shared)] if shared else rows
    told = np.maximum(rows["value"], (rows["high"] - rows["value"]).fillna(0))
    sizes = np.log(np.maximum(told, 1e-12))
    rows = rows.assign(size=-sizes if direction == "higher" else sizes)
    rows = rows.assign(behind=rows["size"] - rows.groupby("nfe_budget")["size"].transform("min"))
    found = rows.groupby("method")["behind"].agg(["count", "mean"])
    return min(found.index, key=lambda one: (-found["count"][one], found["mean"][one], methods.index(one)), default="")


def main_cells(results: Results, rows: pd.DataFrame) -> pd.DataFrame:
    """Measured cells at a budget, outside the sweep and the identity test, with ``nfe``, as counted, and ``chain``.

    The chain is the network whose panel the method is in. Cells without an evaluation (atoms) stand at the budget whose
    level they have.
    """
    outside = results.of_groups(rows, OUTSIDE)
    rows = rows[rows["value"].notna() & rows["nfe_budget"].isin(results.budgets) & ~outside].copy()
    counted = pd.to_numeric(rows["nfe_counted"].mask(rows["nfe_counted"] == ""))
    rows["nfe"] = counted.where(counted > 0, rows["nfe_budget"].astype(int))
    rows["chain"] = [network_of(results, method) for method in rows["method"]]
    return rows.sort_values("nfe", kind="stable")
