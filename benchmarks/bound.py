"""The error of DDIM on Gaussian mixtures with a known score, term by term, beside a bound on it.

Laws and score errors are those of `benchmarks.bound_terms`, which measures one repetition; here is the command.

One approximation after the other is switched on, with the same draws; a term is what it adds to the squared distance:

    0                   draws of the law under noise sigma_M, the exact flow
    + discretisation    DDIM, the exact score
    + score             DDIM, the score with its error                     method `exact_start`
    + finite N          from one of N stored latents, each as often        method `copy`
    + transport         from T(z), solved or with heights 0                methods `dpm_ot`, `zero_heights`
    prior: + discretisation, + score from draws under sigma_max, + prior   from N(0, sigma_max^2 I) instead

Distances to the data (`dpmot.theory.distances`), debiased: `w2` is W2^2; `sliced` is d times the mean of W2^2 along
directions; `kl` is KL(samples || data), by change of variables, where the start has a density and each step is shown to
be one to one. It is infinite from stored latents. Score errors, totals, and in 2 and 8 dimensions `w2` and `kl`, are
measured at --exact-nfe alone. Terms are of one half of the
repetitions; `total` is measured on the other half: other latents, maps, noise and fields, with the package's own
sampling (`dpmot.sample`). 95 % intervals are over repetitions. Rows `bound` are of `dpmot.theory.bound`, of W2 and not
its square; the start of stored latents is there their best pairing with fresh draws, on average not below W2.

Laws whose rows are in the csv file with these options are not measured again; they are where the file does not record
all of them.

example: python -m benchmarks.bound --csv results/reference/laws/bound.csv
         python -m benchmarks.bound 2:one 8:near --repetitions 4 --samples 200
         python -m benchmarks.bound 64:far --nfe 5 80 --size 0.3 --seed 7
"""

import argparse
import math
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from benchmarks.bound_terms import CASES, SIGMA_MAX, SIGMA_MIN, Key, afresh, chain, law_of
from dpmot.runtime.files import atomic
from dpmot.statistics.jackknife import mean_interval

OPTIONS = {"sigma_start": "sigma"}  # column -> option, where they differ
SETTINGS = ("samples", "atoms", "repetitions", "sigma_start", "size", "seed", "directions", "exact_nfe")


@dataclass(frozen=True)
class Row:
    """A mean over repetitions with its 95 % interval; `distance` as in the head of this file, or bound, chi2, step."""

    dim: int
    law: str
    components: int
    apart: float
    spread: float
    samples: int
    atoms: int
    repetitions: int
    sigma_start: float
    size: float
    seed: int
    directions: int
    exact_nfe: int
    method: str
    error: str
    nfe: int
    distance: str
    quantity: str
    sigma: float
    value: float
    low: float
    high: float


def rows_of(case: str, options: argparse.Namespace) -> list[Row]:
    """All rows of one case."""
    law, values = law_of(case), defaultdict[Key, list[float]](list)
    for k in tqdm(range(2 * options.repetitions), desc=case, mininterval=1):
        seed = 2 * options.repetitions * options.seed + k
        for key, value in (chain if k % 2 == 0 else afresh)(law, seed, options).items():
            values[key].append(value)
    for key in [key for key in values if key.quantity == "total" and key.distance != "bound"]:
        parts = values[key._replace(quantity="sum")]
        values[key._replace(quantity="total - sum")] = [a - b for a, b in zip(values[key], parts, strict=True)]
    about = {"dim": law.dim, "law": case.partition(":")[2], "components": len(law.means)}
    about |= {"apart": law.radius / law.std, "spread": law.spread}
    about |= {name: getattr(options, OPTIONS.get(name, name)) for name in SETTINGS}
    rows = []
    for key, some in values.items():
        mean = mean_interval(np.array(some), num_groups=len(some))
        rows.append(Row(**about, **key._asdict(), value=mean.value, low=mean.low, high=mean.high))
    return rows


def known(path: Path | None, case: str, options: argparse.Namespace) -> bool:
    """Whether a file has the rows of a case with these options."""
    if path is None or not path.is_file():
        return False
    table = pd.read_csv(path)
    own = table[(table["dim"].astype(str) + ":" + table["law"]).eq(case)]
    if own.empty:
        return False
    if missing := [name for name in SETTINGS if name not in own or own[name].isna().any()]:
        print(f"{case}: {path} does not record {', '.join(missing)}; measured again", flush=True)
        return False
    same = all(own[name].eq(getattr(options, OPTIONS.get(name, name))).all() for name in SETTINGS)
    return same and set(options.nfe) <= set(own["nfe"])


def write(path: Path, rows: list[Row]) -> None:
    """The file with these rows in the place of those of the same law."""
    table = pd.DataFrame([asdict(row) for row in rows])
    if path.is_file():
        before = pd.read_csv(path)
        own = before["dim"].eq(rows[0].dim) & before["law"].eq(rows[0].law)
        table = pd.concat([table, before[~own]])  # in the columns of now, empty where before had none
    keys = ["dim", "components", "apart", "method", "error", "nfe", "distance", "quantity", "sigma"]
    table = table.sort_values(keys, kind="stable")
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.5g", lineterminator="\n")


def main() -> None:
    """Measure, print the sums beside the totals, and write after each law."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("cases", nargs="*", metavar="DIM:LAW", default=CASES, help=f"any of {', '.join(CASES)} (default: all)")
    add("--repetitions", type=int, default=5, help="of each half (default %(default)s)")
    add("--samples", type=int, default=256, help="n (default %(default)s)")
    add("--atoms", type=int, default=128, help="N latents (default %(default)s)")
    add("--sigma", type=float, default=1.0, help="level of the start (default %(default)s)")
    add("--nfe", type=int, nargs="+", default=[5, 10, 20], help="steps of DDIM (default %(default)s)")
    add(
        "--exact-nfe",
        type=int,
        default=10,
        help="where W2 is measured by the best pairing, and totals afresh (default %(default)s)",
    )
    add(
        "--size",
        type=float,
        default=0.1,
        help="of the score errors, over the posterior deviation (default %(default)s)",
    )
    add("--directions", type=int, default=32, help="of the sliced distance (default %(default)s)")
    add("--seed", type=int, default=0, help="of all repetitions (default %(default)s)")
    add("--csv", type=Path, help="write the rows there")
    options = parser.parse_args()
    check(parser, options)
    torch.set_num_threads(1)
    for case in options.cases:
        if known(options.csv, case, options):
            print(f"{case}: {options.csv} has it", flush=True)
            continue
        rows = rows_of(case, options)
        table = pd.DataFrame([asdict(row) for row in rows])
        shown = table[table["quantity"].isin(["sum", "total", "total - sum"]) & table["nfe"].eq(options.exact_nfe)]
        print(shown[["method", "error", "distance", "quantity", "value", "low", "high"]].to_string(), flush=True)
        if options.csv:
            write(options.csv, rows)


def check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuse what cannot be measured, in one line."""
    unknown = [case for case in options.cases if case not in CASES]
    if unknown:
        parser.error(f"no law {unknown[0]}; give some of {', '.join(CASES)}")
    for name, least in (("repetitions", 2), ("samples", 2), ("atoms", 2), ("directions", 1), ("seed", 0)):
        if getattr(options, name) < least:
            parser.error(f"--{name} {getattr(options, name)}; give at least {least}")
    if options.exact_nfe not in options.nfe:
        parser.error(f"--exact-nfe {options.exact_nfe} is none of --nfe; give one of {options.nfe}")
    if min(options.nfe) < 2:
        parser.error(f"--nfe {min(options.nfe)}; give at least 2 steps: the last one begins at {SIGMA_MIN}")
    if not SIGMA_MIN < options.sigma <= SIGMA_MAX:
        parser.error(f"--sigma {options.sigma:g}; give a level in {SIGMA_MIN}..{SIGMA_MAX:g}")
    if not 0 <= options.size < math.inf:
        parser.error(f"--size {options.size:g}; give a number of at least 0")


if __name__ == "__main__":
    main()
