"""Say how often an exact denoiser of the stored images hands back the image behind its start, by DDIM, at each level.

The share E p_T(x) of :mod:`dpmot.theory.recovery`: it asks the images alone, no network, and needs no more than some
latents, n of them: as many as ``WORK`` allows, in ``FEWEST`` to ``MOST``. The interval is the exact binomial one of n p
in n, wider than the spread of p_T says, which does not know of images unlike all that were drawn.
"""

from typing import TYPE_CHECKING

import pandas as pd
from tqdm import tqdm

from dpmot.experiment.stages._prepared import read_data
from dpmot.images import to_float
from dpmot.results import IDEAL
from dpmot.runtime.files import atomic, read_json
from dpmot.runtime.session import session
from dpmot.statistics.jackknife import share_interval
from dpmot.theory.recovery import Stored, recovery

if TYPE_CHECKING:
    from dpmot.experiment.jobs import Ideal, Job
    from dpmot.experiment.layout import Layout

WORK = 2**31  # latents x images x dimensions
FEWEST, MOST = 50, 1000  # latents


def run(job: "Job[Ideal]", layout: "Layout") -> None:
    """Write ``ideal.csv``: one row a level."""
    with session(job, layout) as stage:
        parts, _, _ = read_data(layout.data)
        images = parts["A"].first(job.task.num_atoms)
        star = read_json(layout.star)["sigma"] if job.task.star else None
        levels = sorted({*job.task.levels, *([] if star is None else [float(star)])})
        stored = Stored(images if images.is_floating_point() else to_float(images))
        rows: list[dict] = []
        for sigma in tqdm(levels, desc="ideal", unit="level", mininterval=5):
            row = stage.kept_json(f"{sigma!r}")
            if row is None:
                with stage.watch.arithmetic():
                    row = row_of(stored, sigma)
                stage.keep_json(f"{sigma!r}", row)
            rows.append(row)
        with stage.watch.io(), atomic(layout.ideal) as temporary:
            pd.DataFrame(rows, columns=IDEAL.columns).to_csv(temporary, index=False)
        print(f"{len(rows)} levels, {rows[0]['num_latents'] if rows else 0} latents each")


def row_of(stored: Stored, sigma: float) -> dict[str, float]:
    """The row of a level sigma > 0."""
    number = latents(len(stored), stored.images[0].numel())
    (found,) = recovery(stored, [sigma], num_latents=number, seed=0)
    share = share_interval(min(found.ode.value, 1.0) * number, number)
    told = {"sigma": sigma, "num_images": len(stored), "num_latents": number, "chance": stored.chance}
    return told | {"value": share.value, "low": share.low, "high": share.high}


def latents(num_images: int, dim: int) -> int:
    """How many are asked of so many images of so many values."""
    return max(FEWEST, min(MOST, WORK // (num_images * dim)))
