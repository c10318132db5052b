"""kill -9 at a random moment of a stage: the run goes on, and its numbers are those of a run that was left alone.

Four trials, one a stage; ``DPMOT_KILL_TRIALS=20 pytest tests/faults/test_kills.py`` is the long run.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Iterable

import numpy as np
import pytest
from project import Project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

STAGES = {  # job -> what it writes
    "train_edm": ["networks/edm.safetensors"],
    "solve": ["transport.safetensors"],
    "sample_dpm_ot_ddpm": ["samples/dpm_ot_ddpm.safetensors"],
    "measure": ["metrics.csv", "replicates.csv", "audit.csv", "identity.csv", "fingerprint.json"],
}
NUMBERS = ("metrics.csv", "replicates.csv", "audit.csv", "identity.csv")
TRIALS = int(os.environ.get("DPMOT_KILL_TRIALS", len(STAGES)))


def targets(*also: str) -> list[str]:
    """The numbers of the smoke experiment, and what else is asked for."""
    return [f"results/smoke/{name}" for name in (*NUMBERS, *also)]


def bytes_of(project: Project, names: Iterable[str] = NUMBERS) -> dict[str, bytes]:
    return {name: project.results(name).read_bytes() for name in names}


@pytest.mark.parametrize("trial", range(TRIALS))
def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(finished, finished_copy, trial):
    job = list(STAGES)[trial % len(STAGES)]
    random = np.random.default_rng(trial)
    seconds = json.loads(finished.results(f"timings/{job}.json").read_text())
    for name in STAGES[job]:
        finished_copy.results(name).unlink()
    process = finished_copy.start(*targets(*STAGES[job]))
    marker, end = finished_copy.results(f".resume/{job}/identity.json"), time.monotonic() + 120
    while not marker.exists():
        assert process.poll() is None and time.monotonic() < end, f"{job} did not start"
        time.sleep(0.02)
    time.sleep(random.uniform(0, max(0.3, seconds["wall_s"] - seconds["startup_s"])))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    again = finished_copy.snakemake(*targets(*STAGES[job]), check=False)
    if again.returncode:  # unless the run had ended just before
        assert "--unlock" in again.stderr + again.stdout  # the message names the way on
        finished_copy.snakemake("--unlock")
        finished_copy.snakemake(*targets(*STAGES[job]))
    assert bytes_of(finished_copy) == bytes_of(finished)


def test_a_second_run_at_once_is_turned_away_and_the_first_ends_well(finished, finished_copy):
    finished_copy.results("transport.safetensors").unlink()
    first = finished_copy.start(*targets("transport.safetensors"))
    while not finished_copy.results(".resume/solve").exists():
        assert first.poll() is None
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGSTOP)  # stays in the middle of its job, however slow the second's start is
    try:
        second = finished_copy.snakemake(*targets(), check=False)
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    assert second.returncode == 1 and "cannot be locked" in second.stderr + second.stdout
    assert first.wait(timeout=300) == 0
    assert bytes_of(finished_copy) == bytes_of(finished)


def test_files_from_the_future_change_no_number(finished, finished_copy):
    tomorrow = time.time() + 86400
    os.utime(finished_copy.results("transport.safetensors"), (tomorrow, tomorrow))
    finished_copy.snakemake(*targets())
    assert bytes_of(finished_copy) == bytes_of(finished)


def test_the_number_of_cores_changes_no_number(finished, finished_copy):
    command = [sys.executable, "-m", "dpmot", "measure", "--configfile", "config/smoke.yaml"]
    for cores in ("1", "3"):
        for name in STAGES["measure"]:
            finished_copy.results(name).unlink()
        finished_copy.run([*command, "--cores", cores])
        assert bytes_of(finished_copy, STAGES["measure"]) == bytes_of(finished, STAGES["measure"])
