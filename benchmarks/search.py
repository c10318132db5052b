"""Does a search by inverted lists pay where noises are mapped to atoms, argmax_j <z, y_j> + h_j, beside the exact one?

The atoms are split by k-means of their augmented vectors (y_j, h_j), which meet (z, 1), into about sqrt(N) lists. No
atom of a list L with centre m_L, radius r_L = max |y_j - m_L| and highest height t_L scores more than

    U_L(z) = <z, m_L> + |z| r_L + t_L    (Cauchy-Schwarz).

A noise visits a share of the lists, those first where the typical best score is highest: <z, m_L> + mean height + root
mean square of |y_j - m_L| times sqrt(2 log n_L). Its atom is proven to be the exact one where no list that was left out
has an upper bound above it, rounding included. Else only a measured share says how good it is: noises, drawn for
nothing else, that the lists sent elsewhere than the exact search did, with its Clopper-Pearson interval.

    looked    share of all atoms that a noise met, on average
    proven    share of noises whose atom is proven
    missed    share of noises whose atom is another than the exact one [95 % interval]
    loss      mean score lost by a missed noise, over the mean |y_j|
    seconds   of the processor a 1000 noises, one thread, beside the exact search
    proof     share of all atoms in lists whose bound reaches the best score: what an exact search by lists meets

Heights are the closed form's, near those of a solved map. Real sets are latents sqrt(abar) x0 + sqrt(1 - abar) eps.

example: DPMOT_DATA=data python -m benchmarks.search
         python -m benchmarks.search --cases gaussian-8 digits-0.99 --atoms 5000 --csv search.csv
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits
from torch import Tensor

from benchmarks.transport import latents_of
from dpmot.plugins import find
from dpmot.seeds import generator
from dpmot.statistics.jackknife import share_interval
from dpmot.transport import BrenierPotential, SemiDiscreteProblem
from dpmot.transport.closed_form import closed_form_start

SHARES = (1 / 32, 1 / 8, 1 / 2)  # of the lists
CASES = (
    "gaussian-3", "gaussian-8", "gaussian-64", "clusters-64", "digits-0.9", "digits-1", "fashion_mnist-0.9",
    "fashion_mnist-1", "cifar10-0.9",
)  # fmt: skip
EPS = 2.0**-24  # of float32


@dataclass(frozen=True, eq=False)
class Found:
    """What a search says of B noises.

    Attributes:
        cell: the best atom met, int64 (B,).
        score: its <z, y_j> + h_j, (B,).
        proven: whether no other atom scores more, bool (B,).
        looked: share of all atoms met, on average.
    """

    cell: Tensor
    score: Tensor
    proven: Tensor
    looked: float


class InvertedLists:
    """Atoms y (N, d) with heights h (N,), both float32 and centred, in lists.

    Attributes:
        members: numbers of the atoms of each list, int64; none is empty.
    """

    def __init__(self, y: Tensor, h: Tensor, number: int) -> None:
        clusters = MiniBatchKMeans(number, random_state=0, n_init=1, max_iter=20, batch_size=4096)
        with threadpool_limits(1):
            labels = clusters.fit_predict(torch.cat([y, h[:, None]], 1).numpy())
        self.members = [torch.from_numpy(np.flatnonzero(labels == k)) for k in np.unique(labels)]
        self.y, self.h, self.number = [y[some] for some in self.members], [h[some] for some in self.members], len(y)
        self.centres = torch.stack([part.mean(0) for part in self.y])
        apart = [(part - m).double().norm(dim=1) for part, m in zip(self.y, self.centres, strict=True)]
        self.sizes = torch.tensor([len(some) for some in self.members])
        self.radii = torch.stack([part.max() for part in apart]).float()
        self.highest = torch.stack([part.max() for part in self.h])
        spread = torch.stack([part.square().mean().sqrt() for part in apart]).float()
        self.typical = torch.stack([part.mean() for part in self.h]) + spread * (2 * self.sizes.log()).sqrt()
        self.rounding = 2 * y.shape[1] * EPS * float(y.norm(dim=1).max())  # of a score, over |z|

    def bounds(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """U (B, K), and what orders the lists, (B, K)."""
        middle, size = z @ self.centres.T, z.norm(dim=1, keepdim=True)
        return middle + size * (self.radii + self.rounding) + self.highest, middle + self.typical

    def search(self, z: Tensor, lists: int) -> Found:
        """The best atoms of so many lists a noise, z (B, d)."""
        upper, order = self.bounds(z)
        chosen = order.topk(lists, dim=1).indices
        score, cell = torch.full((len(z),), -torch.inf), torch.zeros(len(z), dtype=torch.int64)
        visits = torch.zeros_like(upper, dtype=torch.bool).scatter_(1, chosen, True)
        for k, (y, h, members) in enumerate(zip(self.y, self.h, self.members, strict=True)):
            rows = visits[:, k].nonzero()[:, 0]
            if len(rows):
                best, place = torch.addmm(h, z[rows], y.T).max(1)
                better = best > score[rows]
                score[rows[better]], cell[rows[better]] = best[better], members[place[better]]
        left = upper.masked_fill(visits, -torch.inf).amax(1)
        return Found(cell, score, score >= left, float((visits * self.sizes).sum(1).float().mean()) / self.number)

    def proof(self, z: Tensor, best: Tensor) -> float:
        """Share of all atoms in lists whose bound reaches the best score (B,), on average."""
        return float(((self.bounds(z)[0] >= best[:, None]) * self.sizes).sum(1).float().mean()) / self.number


def atoms_of(case: str, most: int) -> Tensor:
    """At most so many points, float32 (N, d)."""
    name, level = case.rsplit("-", 1)
    rng = generator(0, "search", case)
    if name == "gaussian":
        return torch.from_numpy(rng.standard_normal((most, int(level)), dtype=np.float32))
    if name == "clusters":  # as narrow as images of one kind, a tenth of their distance
        middle = rng.standard_normal((100, int(level)), dtype=np.float32)
        near = 0.1 * rng.standard_normal((most, int(level)), dtype=np.float32)
        return torch.from_numpy(middle[rng.integers(100, size=most)] + near)
    if name == "digits":
        from sklearn.datasets import load_digits

        return latents_of(load_digits().data[:most].astype(np.float32) / 8 - 1, float(level), case)
    return latents_of(find("data", name).load().images[:most], float(level), case)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of the processor, and the result."""
    work()
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def rows(case: str, most: int, noises: int) -> list[dict[str, object]]:
    """The lines of a case: one a share of the lists."""
    problem = SemiDiscreteProblem(atoms_of(case, most))
    centred, number = closed_form_start(problem), len(problem.atoms)
    potential = BrenierPotential(problem.atoms, problem.original_heights(centred))
    y = problem.centred.block(0, number)
    start = time.process_time()
    index = InvertedLists(y, centred.float(), round(number**0.5))
    building = time.process_time() - start
    z = torch.from_numpy(generator(0, "search", case, "noise").standard_normal((noises, y.shape[1]), dtype=np.float32))
    exact, truth = timed(partial(potential.cell, z))
    best = (z * y[truth]).sum(1) + centred.float()[truth]
    proof, size = index.proof(z, best), float(y.norm(dim=1).mean())
    found = []
    for share in SHARES:
        seconds, seen = timed(partial(index.search, z, max(1, round(share * len(index.members)))))
        missed = seen.cell != truth
        told = share_interval(int(missed.sum()), noises)
        loss = float((best - seen.score)[missed].mean()) / size if bool(missed.any()) else 0.0
        found.append({
            "case": case, "atoms": number, "dim": y.shape[1], "lists": len(index.members), "share": share,
            "looked": seen.looked, "proven": float(seen.proven.float().mean()), "missed": told.value,
            "low": told.low, "high": told.high, "loss": loss, "seconds": 1000 * seconds / noises,
            "exact": 1000 * exact / noises, "proof": proof, "building": building, "noises": noises,
        })  # fmt: skip
    return found


def told(row: dict[str, object]) -> str:
    """A line of the table."""
    return (
        "{case:18} N {atoms:6} lists {lists:4}: looked {looked:5.1%}, proven {proven:6.1%}, missed {missed:6.1%} "
        "[{low:.1%}, {high:.1%}], loss {loss:.2g}, {seconds:.3f} s, exact {exact:.3f} s, proof {proof:.1%}, "
        "building {building:.1f} s"
    ).format(**row)


def main() -> None:
    """Print the table; write it with --csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--atoms", type=int, default=10_000)
    parser.add_argument("--noises", type=int, default=1024)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = []
    for case in options.cases:
        table += rows(case, options.atoms, options.noises)
        print("\n".join(map(told, table[-len(SHARES) :])), flush=True)
    if options.csv:
        pd.DataFrame(table).to_csv(options.csv, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()
