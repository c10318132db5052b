"""What does a shard cost? One job of one thread that draws a method, beside two shards of one thread each, at once.

Each is the command that the workflow runs, start-up and imports included; the shards are followed by the job that
merges them. The method is DDIM on an untrained network of digits' size, whose samples take as long as those of a
trained one. Of the two shards with their merge at most .6 of the time of the one job is asked, on two cores that do
nothing else. "overhead" is the processor time that shards and merge spend beyond the one job, for each of these three
jobs, of which at most 3 s is asked. Both ways must write the same bytes.

example: python -m benchmarks.shards
         python -m benchmarks.shards --samples 20000 --nfe 50 --rounds 5
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

MOST, OVERHEAD = 0.6, 3.0  # of the one job's time; seconds a job
SHARDS = 2


def configuration(samples: int, nfe: int, channels: int) -> dict:
    """One method, one cell."""
    network = {"kind": "ddpm", "unet": {"channels": channels}, "training": {"steps": 1, "batch": 8}}
    return {
        "experiment": "shards",
        "dataset": "digits",
        "nfe_budgets": [nfe],
        "num_samples": samples,
        "sample_seeds": [0],
        "threads": 1,
        "networks": {"ddpm": network},
        "methods": {"ddim": {"network": "ddpm", "sampler": "ddim"}},
    }


class Workplace:
    """A folder with one configuration, in which verbs run as the workflow runs them."""

    def __init__(self, folder: Path, config: dict) -> None:
        self.folder = folder
        (folder / "shards.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")

    def start(self, *verb: str, shards: int = 1) -> subprocess.Popen:
        """A verb, begun."""
        given = ["--configfile", "shards.yaml", "--config", f"shards={shards}"]
        command = [sys.executable, "-m", "dpmot", *verb, *given]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)

    def end(self, *begun: subprocess.Popen) -> None:
        """Wait for verbs.

        Raises:
            RuntimeError: one failed.
        """
        if any(process.wait() for process in begun):
            raise RuntimeError((self.folder / "log").read_text(encoding="utf-8")[-2000:])

    @property
    def samples(self) -> bytes:
        """What was drawn."""
        return (self.folder / "results/shards/samples/ddim.safetensors").read_bytes()


def timed(work: Workplace, shards: int) -> tuple[float, float, bytes]:
    """Wall seconds and processor seconds of drawing everything, and what was drawn."""
    shutil.rmtree(work.folder / "results/shards/samples", ignore_errors=True)
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    if shards > 1:
        work.end(*(work.start("sample", "ddim", "--shard", str(k + 1), shards=shards) for k in range(shards)))
    work.end(work.start("sample", "ddim", shards=shards))
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, work.samples


def main() -> int:
    """Print the table; exit status 1 where the bytes differ or a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=10_240)
    parser.add_argument("--nfe", type=int, default=50)
    parser.add_argument("--channels", type=int, default=16, help="width of the U-Net (default 16)")
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < SHARDS:
        raise SystemExit(f"{SHARDS} shards at once need {SHARDS} cores, and there is one")
    with tempfile.TemporaryDirectory() as name:
        work = Workplace(Path(name), configuration(options.samples, options.nfe, options.channels))
        for verb in (("prepare",), ("train", "ddpm")):
            work.end(work.start(*verb))
        rows: dict[int, list[tuple[float, float, bytes]]] = {1: [], SHARDS: []}
        for _ in range(options.rounds):
            for shards, found in rows.items():
                found.append(timed(work, shards))
    same = len({drawn for found in rows.values() for *_, drawn in found}) == 1
    one, two = ((statistics.median(column) for column in list(zip(*rows[shards], strict=True))[:2]) for shards in rows)
    (wall, work_of_one), (wall_of_two, work_of_two) = one, two
    ratio, overhead = wall_of_two / wall, (work_of_two - work_of_one) / (SHARDS + 1)
    print(f"{options.samples} samples at NFE {options.nfe}, medians of {options.rounds} rounds")
    print(f"one job of one thread      {wall:7.1f} s")
    print(f"{SHARDS} shards at once, merged   {wall_of_two:7.1f} s, {ratio:.2f} of it (at most {MOST} is asked)")
    print(f"overhead                   {overhead:7.1f} s a job (at most {OVERHEAD:g} s is asked)")
    print(f"bytes                      {'the same' if same else 'differ'}")
    return int(not same or ratio > MOST or overhead > OVERHEAD)


if __name__ == "__main__":
    sys.exit(main())
