"""Axes of distances, levels and shares: logarithmic, with ticks that can be read."""

import math
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.scale import SymmetricalLogTransform

from paper_figures._labels import ticks

MOST = 9  # ticks upwards


def distance_scale(axes: Axes, cells: pd.DataFrame) -> None:
    """Logarithmic where distances are certain, linear through 0 below: a debiased distance may be negative.

    The linear part ends at the decade of the smallest value whose interval excludes 0.
    """
    certain = cells.loc[cells["low"] > 0, "value"]
    start = 10.0 ** math.floor(math.log10(certain.min())) if len(certain) else 1.0
    axes.set_yscale("symlog", linthresh=start, linscale=0.4)


def distance_ticks(axes: Axes) -> None:
    """Ticks at 0 and at 1, 2, 5 of each decade above the linear part, or at 1 where the labels grow."""
    low, high = axes.get_ylim()
    scale = axes.yaxis.get_transform()
    assert isinstance(scale, SymmetricalLogTransform), "distance_scale comes first"
    places = [digit * 10.0**power for power in range(-9, 10) for digit in (1, 2, 5)]
    places = [place for place in places if max(low, scale.linthresh) <= place * (1 + 1e-9) and place <= high]
    if len(places) > MOST:
        places = [place for place in places if f"{place:e}".startswith("1.")]
    places = [0.0, *places] if low <= 0 else places
    ticks(axes.yaxis, places, [f"{place:g}" for place in places])


def level_axis(axes: Axes, limits: tuple[float, float], places: Sequence[float], form: str = "{x:g}") -> None:
    """A logarithmic x axis with these ticks alone, and the distances' ticks upwards where y is a distance."""
    axes.set_xscale("log")
    axes.set_xlim(*limits)
    ticks(axes.xaxis, places, [form.format(x=place) for place in places])
    if axes.get_yscale() == "symlog":
        distance_ticks(axes)


def decades(axis: Axis, places: Sequence[float] = ()) -> None:
    """Ticks of a logarithmic axis at these places, or at 1, 2, 5 of each decade, or at 1 where these are many."""
    low, high = sorted(axis.get_view_interval())
    if not len(places):
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
        places = [place for place in found if low <= place * (1 + 1e-9) and place <= high * (1 + 1e-9)]
        if len(places) > MOST:
            places = [place for place in places if f"{place:e}".startswith("1.")]
    ticks(axis, places, [f"{place:g}" for place in places])
