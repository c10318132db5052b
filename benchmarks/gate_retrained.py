"""Does the gate cry wolf where nothing but the training seed has changed?

A gate's reference is one network's numbers. Here each network of a results folder with several training seeds is the
reference in turn, and judged are: other draws of the same network, which is what the gate's level promises; one draw of
another network; and all draws of another network together. Seeds differ, so every test is from the intervals.

An alarm is a cell that changed beyond its margin, or an invariant: samplers that change places, a row that the audit
ranks in one and marks in the other (of all draws: a single one has no audit), more evaluations counted.

example: python -m benchmarks.gate_retrained results/training_lottery --csv gate_retrained.csv
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import permutations
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from dpmot.gate.compare import compare
from dpmot.gate.runs import Run
from dpmot.results import NO_TRAINING, PLAIN, POOLED

SAME, OTHER, WHOLE = "same network, other draw", "other network, one draw", "other network, all draws"
Pairs = Iterable[tuple[tuple[str, int | None], tuple[str, int | None]]]


def trainings(run: Run) -> list[str]:
    """The training seeds of a run.

    Raises:
        SystemExit: there is one.
    """
    found = sorted({run.trainings[one] for members in run.members.values() for one in members}, key=int)
    if len(found) < 2:
        raise SystemExit(f"{run.path} has one training seed; give a folder of `training_seeds: [0, 1, ...]`")
    return found


def draws(run: Run, training: str) -> list[str]:
    """The sample seeds of one training, ascending; they differ from training to training."""
    own = run.metrics[run.metrics["training_seed"] == training]
    return sorted(set(own["sample_seed"]) - {POOLED}, key=int)


def alone(run: Run, training: str, draw: int | None) -> Run:
    """The run that one network would have made, of its draw number ``draw`` or of all."""
    owner = {one: name for name, members in run.members.items() for one in members if run.trainings[one] == training}
    table = run.metrics[~run.metrics["metric"].str.startswith(PLAIN)]
    own = table[table["method"].isin(owner)]
    wanted = POOLED if draw is None else draws(run, training)[draw]
    own = own[own["sample_seed"] == wanted].assign(sample_seed=POOLED)
    network = own["network"].map(lambda name: re.sub(rf"_t{training}$", "", name))
    own = own.assign(method=own["method"].map(owner), network=network, training_seed="0")
    rows = pd.concat([table[table["training_seed"] == NO_TRAINING], own])
    name = f"training {training}, {'all draws' if draw is None else f'draw {draw}'}"
    found = Run(Path(name) / "metrics.csv", rows.assign(fingerprint=name), run.methods)
    if draw is None and run.audit is not None:  # of all draws, as it was made
        ranks = {(owner[key[0]], *key[1:]): row for key, row in run.audit.items() if key[0] in owner}
        found.__dict__["audit"] = {key: {**row, "method": key[0]} for key, row in ranks.items()}
    return found


def designs(run: Run) -> Iterator[tuple[str, Pairs]]:
    """What is compared: (training, draw) as candidate and reference; every training is a reference as often."""
    known = trainings(run)
    number = len(draws(run, known[0]))
    if number > 1:
        yield SAME, [((t, (s + 1) % number), (t, s)) for t in known for s in range(number)]
        yield OTHER, [((u, k % number), (t, k % number)) for k, (t, u) in enumerate(permutations(known, 2))]
    yield WHOLE, [((u, None), (t, None)) for t, u in permutations(known, 2)]


def alarms(run: Run) -> pd.DataFrame:
    """One row a comparison: design, candidate, reference, how many cells changed, invariants violated, the first."""
    made: dict[tuple[str, int | None], Run] = {}
    rows = []
    for design, pairs in designs(run):
        for candidate, reference in tqdm([*pairs], desc=design, mininterval=5):
            for one in (candidate, reference):
                if one not in made:
                    made[one] = alone(run, *one)
            failed = compare(made[candidate], made[reference]).failed
            violated = [one for one in failed if one.verdict == "violated"]
            told = [f"{one.cell}, {one.metric}: {one.verdict}" for one in failed]
            rows.append({
                "design": design, "candidate": made[candidate].path.parent.name,
                "reference": made[reference].path.parent.name, "changed": len(failed) - len(violated),
                "violated": len(violated), "told": "; ".join(told),
            })  # fmt: skip
    return pd.DataFrame(rows)


def main() -> None:
    """Print the share of alarms of each design and what was told most often."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="a results folder with several training seeds")
    parser.add_argument("--csv", type=Path, help="write every comparison here")
    options = parser.parse_args()
    found = alarms(Run.read(options.results))
    if options.csv:
        found.to_csv(options.csv, index=False, lineterminator="\n")
    for design, part in found.groupby("design", sort=False):
        stopped = (part["changed"] > 0) | (part["violated"] > 0)
        both = f"{(part['changed'] > 0).sum()} by a test, {(part['violated'] > 0).sum()} by an invariant"
        print(f"{design}: {stopped.sum()} of {len(part)} stopped ({stopped.mean():.1%}; {both})")
        for told, count in Counter(one for text in part["told"] for one in text.split("; ") if one).most_common(5):
            print(f"  {count} times {told}")


if __name__ == "__main__":
    main()
