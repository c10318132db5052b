"""Digits, tiny, through Snakemake in four shards: one is killed, goes on alone, and the bytes are those of one job."""

import os
import signal
import time

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.slow]
FOUR = ("--config", "shards=4")
MEASURED = ("metrics", "replicates", "audit", "identity", "copies", "mixed")


def _wait_for(path, process, *, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)


def test_a_killed_shard_is_drawn_again_alone_and_all_files_are_those_of_the_local_run(finished, finished_copy):
    samples = finished_copy.results("samples")
    for path in samples.iterdir():
        path.unlink()
    first = finished_copy.results("shards/edm-1-of-4.safetensors")
    finished_copy.snakemake("results/smoke/shards/edm-1-of-4.safetensors", *FOUR)
    written = first.stat().st_mtime_ns
    process = finished_copy.start("results/smoke/samples/edm.safetensors", *FOUR)
    _wait_for(finished_copy.results(".resume/sample_edm-2-of-4/identity.json"), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished_copy.snakemake("--unlock", cores=None)
    planned = finished_copy.planned("results/smoke/samples/edm.safetensors", "--rerun-incomplete", *FOUR)
    assert planned >= {"sample_edm", "sample_edm-2-of-4"} and "sample_edm-1-of-4" not in planned
    finished_copy.snakemake("results/smoke/samples/edm.safetensors", "--notemp", *FOUR)
    assert first.stat().st_mtime_ns == written
    finished_copy.snakemake(*FOUR)
    assert not list(finished_copy.results("shards").glob("ddpm-*"))  # merged, and removed
    for path in finished.results("samples").iterdir():
        assert path.read_bytes() == (samples / path.name).read_bytes(), path.name
    for name in MEASURED:
        assert finished.results(f"{name}.csv").read_bytes() == finished_copy.results(f"{name}.csv").read_bytes(), name
    assert finished.results("fingerprint.json").read_bytes() == finished_copy.results("fingerprint.json").read_bytes()
    table = "tables/table_1_quality.csv"
    assert finished.results(table).read_bytes() == finished_copy.results(table).read_bytes()


def test_a_wrong_number_of_shards_is_one_line(fresh):
    done = fresh.snakemake("-n", "--config", "shards=0", check=False)
    assert done.returncode == 1
    assert "config: shards: 0 should be greater than or equal to 1" in done.stderr.splitlines()
