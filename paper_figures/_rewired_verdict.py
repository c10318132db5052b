"""The verdict on rewired networks, in sentences made from the numbers.

The claim, at CLAIMED evaluations: after at most TENTH of the training images the FD is at most HALF of what it was
before, intervals apart, the upper end of the share of copies lies below the tolerance, and as many images with
independent noise, the control, show no such gain. Where it breaks, that is said, and at which evaluations the network
is better at all, what other trainings give in as many seconds, and what a student of the same network gives.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import isnan

from dpmot.results import REAL_TEST, printed_name
from paper_figures._numbers import Number
from paper_figures._results import Results, Row
from paper_figures._rewired import Compared, compared, networks

CLAIMED, TENTH, HALF = "4", 0.1, 0.5
LIKE = 1.3  # seconds that are equal: at most so many times as long, or as short
MISSED = 0.01  # share of prior draws that may be no point of the coupling


def text(row: Row) -> str:
    """``8.3 [6.0, 10.7]``."""
    return Number(row["value"], row["low"], row["high"]).text


def verdict(results: Results) -> list[str]:
    """The verdict in sentences, from the numbers: first whether the claim holds. None where nothing is compared."""
    found = [one for one in compared(results) if one.budgets]
    if not found:
        return []
    small = [one for one in found if CLAIMED in one.budgets and one.network.share <= TENTH]
    told = [f"The claim is not tested: no row at NFE {CLAIMED} is known to have gone on for at most {TENTH:.0%}."]
    if small:
        told = list(_claim(max(small, key=lambda one: one.network.images)))
    last = {(one.before, one.sampler): one for one in found}  # the longest of each sampler, as configured
    told += [*map(_reach, last.values()), *_at_best([*last.values()])]
    alike = [one for one in found if (one.before, one.sampler) == (found[0].before, found[0].sampler)]
    told += [sentence for one in alike for sentence in _seconds(one)]
    longest = max(alike, key=lambda one: one.network.images)
    return [*told, *_students(longest), *_off(longest)]


def _claim(one: Compared) -> Iterator[str]:
    """What is claimed at CLAIMED evaluations, sentence by sentence, and first whether all of it holds."""
    before, after = one.fd(one.before, CLAIMED), one.fd(one.after, CLAIMED)
    assert before is not None and after is not None
    ratio = after["value"] / before["value"]
    halved, apart = ratio <= HALF, after["high"] < before["low"]
    copies, tolerance = one.copies(one.after, CLAIMED), one.results.experiment.copying_tolerance
    clean = copies is not None and copies["high"] < tolerance
    control = one.fd(one.control, CLAIMED) if one.control else None
    gained = control is not None and (control["value"] <= HALF * before["value"] or control["low"] <= after["high"])
    broken = [
        *([] if halved else [f"the FD is {ratio:.2f} of what it was, not at most half"]),
        *([] if apart else ["the intervals overlap"]),
        *([] if clean else [_copied(copies, tolerance)]),
        *(
            ["the control gains as much, or cannot be told apart"]
            if gained
            else ["the control was not run"]
            if control is None
            else []
        ),
    ]
    share = "" if isnan(one.network.share) else f" ({one.network.share:.1%} of those before)"
    what = (
        f"{one.sampler} at NFE {CLAIMED}, {one.network.images:,.0f} images more{share} with the semi-discrete coupling"
    )
    yield f"The claim {'breaks: ' + '; '.join(broken) if broken else 'holds'}."
    name, over = printed_name(one.metric), "training seeds" if one.results.each.repeated else "samples of one network"
    yield f"{what}: {name} against test {text(after)}, before {text(before)} (95 % intervals over {over})."
    if copies is not None:
        beside = {"before": one.copies(one.before, CLAIMED), "real images of split C": one.copies(REAL_TEST, "0")}
        others = "".join(f", {name} {text(row)}" for name, row in beside.items() if row)
        yield f"Share of copies of train {text(copies)}{others}; tolerance {tolerance:g}."
    if control is not None:
        yield f"The control, as many images with independent noise: {text(control)}."
    if one.minibatch and (other := one.fd(one.minibatch, CLAIMED)):
        yield f"As many with an assignment inside each batch: {text(other)}."


def _copied(copies: Row | None, tolerance: float) -> str:
    """Why the audit does not say that there are few copies: it finds some, cannot tell, or was not run."""
    if copies is None:
        return "copies were not looked for"
    if copies["low"] > tolerance:
        return f"it copies, at least {copies['low']:.2g} of its samples"
    return f"the audit cannot tell, a share of copies up to {copies['high']:.2g} is possible"


def _reach(one: Compared) -> str:
    """At which budgets the rewired network is better than the one before, by the same sampler."""
    pairs = {nfe: (one.fd(one.after, nfe), one.fd(one.before, nfe)) for nfe in one.budgets}
    which = f"{one.results.label(one.after)} beside {one.results.label(one.before)}"
    return f"{which} ({one.sampler}): {_where(pairs)}."


def _at_best(found: Sequence[Compared]) -> Iterator[str]:
    """The same of the best sampler on each network, where there are several of both."""
    if len({one.before for one in found}) < 2:
        return
    pairs: dict[str, tuple[Row | None, Row | None]] = {}
    for nfe in found[0].results.budgets:
        after = _least(one.fd(one.after, nfe) for one in found)
        before = _least(one.fd(one.before, nfe) for one in found)
        if after and before:
            pairs[nfe] = after, before
    yield f"With the best of these samplers on each network: {_where(pairs)}."
    row, other = pairs.get(CLAIMED, (None, None))
    if row and other:
        yield f"At NFE {CLAIMED} that is {text(row)} beside {text(other)}, {row['value'] / other['value']:.2f} of it."


def _least(rows: Iterable[Row | None]) -> Row | None:
    return min((row for row in rows if row), key=lambda row: float(row["value"]), default=None)


def _where(pairs: Mapping[str, tuple[Row | None, Row | None]]) -> str:
    """At which budgets the interval of the first row lies below that of the second, and from which on it does not."""
    below = [nfe for nfe, (row, other) in pairs.items() if row and other and row["high"] < other["low"]]
    after = [nfe for nfe in pairs if all(int(one) < int(nfe) for one in below)]
    if not below:
        return f"its interval lies below at none of NFE {', '.join(pairs)}"
    return f"its interval lies below at NFE {', '.join(below)}" + (f", from {after[0]} on no longer" if after else "")


def _students(one: Compared) -> Iterator[str]:
    """Students of the network before, at the budgets at which the rewired one is measured."""
    known, planned = networks(one.results), one.results.experiment
    for name, method in planned.drawn.items():
        if planned.networks[method.network].teacher != one.network.origin:
            continue
        told = _beside(one, name)
        images = known[method.network].images
        seen = "" if isnan(images) else f" after {images:,.0f} images more"
        if told:
            own = f"{one.results.label(one.after)} after {one.network.images:,.0f}"
            yield f"{own}, beside {one.results.label(name)}{seen}: {told}."


def _beside(one: Compared, other: str) -> str:
    """The rewired network beside another method, at CLAIMED evaluations and all more at which both are measured."""
    budgets = (nfe for nfe in one.budgets if int(nfe) >= int(CLAIMED))
    pairs = ((nfe, one.fd(one.after, nfe), one.fd(other, nfe)) for nfe in budgets)
    return "; ".join(f"NFE {nfe} {text(own)} beside {text(row)}" for nfe, own, row in pairs if own and row)


def _off(one: Compared) -> Iterator[str]:
    """How far the noise end is from that of the coupling, where it is known."""
    if one.network.off >= MISSED:
        yield (
            f"At the level from which samples start {one.network.off:.0%} of the prior draws are no point of the "
            f"coupling (below {MISSED:.0%} they would hardly count): there the network extrapolates."
        )


def _seconds(one: Compared) -> Iterator[str]:
    """What trainings with other couplings give in about as many seconds as training and map together took."""
    spent = one.network.seconds
    known, drawn = networks(one.results), one.results.experiment.drawn
    own = drawn[one.after]
    for coupling, name in (("independent", "independent noise"), ("minibatch", "minibatch OT")):
        rivals = {
            other: known[method.network].seconds
            for other, method in drawn.items()
            if (method.sampler, method.grid, method.start) == (own.sampler, own.grid, own.start)
            and known[method.network].origin == one.network.origin
            and known[method.network].coupling == coupling
            and spent / LIKE <= known[method.network].seconds <= LIKE * spent
            and _beside(one, other)
        }
        if rivals:
            best = max(rivals, key=lambda other: rivals[other])
            parts = f"{one.network.train_s:,.0f} s of training and {one.network.map_s:,.0f} s of the map"
            yield (
                f"By seconds of the clock, on cores shared with other work: {one.results.label(one.after)} in {parts}, "
                f"beside {name} in {rivals[best]:,.0f} s: {_beside(one, best)}."
            )
