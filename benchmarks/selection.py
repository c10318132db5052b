"""How much does sigma_M* hang on the luck of its seeds? The selected levels of 12 searches, by numbers of samples.

Every search has sample seeds and noises of its own; those of fewer samples take the first of those of more. Once all
searches of all sizes have passed at some level, larger ones are not tried.

example: python -m benchmarks.selection digits --folder pools --levels 5 10 20 40 --csv selection.csv
"""

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from tqdm import tqdm

from benchmarks.audit_power import prepared
from dpmot import plugins
from dpmot.experiment.config import load
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.stages._prepared import read_data
from dpmot.experiment.stages.sample import LoadedMethod
from dpmot.features import pixels
from dpmot.metrics import recovery
from dpmot.metrics.copies import SEARCHED, Copies
from dpmot.statistics.audit import judge
from dpmot.statistics.jackknife import mean_interval

SAMPLES = (1000, 4000)


def main() -> None:
    """Search and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="a configuration with a selection and committed networks")
    parser.add_argument("--folder", type=Path, required=True, help="keeps the prepared data")
    parser.add_argument("--searches", type=int, default=12)
    parser.add_argument("--levels", type=float, nargs="+", help="candidates (default: those of the configuration)")
    parser.add_argument("--csv", type=Path, help="write the rows there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    experiment = load([str(plugins.ROOT / "config" / f"{options.dataset}.yaml")])
    selection = experiment.selection.but(num_samples=max(SAMPLES))
    selection = selection.but(sigmas=options.levels) if options.levels else selection
    experiment = experiment.but(selection=selection)
    layout = prepared(options.folder / options.dataset, experiment, selection.network)
    job = Jobs(experiment, layout).select()
    method, (parts, _, _) = LoadedMethod.load(job, layout, job.task.drawn), read_data(layout.data)
    train = pixels.extract(parts["A"].first(job.task.drawn.num_atoms))
    copies = Copies({name: parts[name].raw.numpy() for name in "AB"})
    rows: list[dict] = []
    for planned in sorted(job.task.drawn.cells, key=lambda cell: cell.sigma_atoms or 0):
        for k in tqdm(range(options.searches), desc=f"sigma {planned.sigma_atoms:g}", mininterval=10):
            drawn, _ = method.draw(replace(planned, sample_seed=selection.sample_seed + k))
            images, source = drawn["images"], drawn["source"].numpy()
            found = replace(pixels.extract(images), source=source)
            ((_, own),) = recovery.pointwise(found, {"train": train}).items()
            for n in SAMPLES:
                share = copies.shares(copies.search(images[: min(n, SEARCHED)].numpy()))["train"]
                rate = mean_interval(own[:n])
                verdict = judge(
                    {},
                    sets=(),
                    num_samples=n,
                    tolerance=job.task.tolerance,
                    recovery=rate,
                    num_sources=len(train),
                )
                told = {
                    "recovery": rate.value,
                    "recovery_high": rate.high,
                    "copies": share.value,
                    "copies_low": share.low,
                }
                rows.append({"search": k, "n": n, "sigma": planned.sigma_atoms, **told, "verdict": verdict.word})
        if options.csv:
            pd.DataFrame(rows).to_csv(options.csv, index=False)
        table = pd.DataFrame(rows)
        passed = table[table.verdict == "ranked"].groupby(["n", "search"]).sigma.min()
        print(
            table[table.sigma == planned.sigma_atoms]
            .groupby("n")
            .agg({"recovery": "mean", "verdict": lambda v: (v == "ranked").sum()}),
            flush=True,
        )
        if len(passed) == len(SAMPLES) * options.searches:
            break
    print(passed.groupby("n").value_counts().to_string())


if __name__ == "__main__":
    main()
