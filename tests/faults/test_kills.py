"""kill -9 at a random moment of a stage: the run goes on, and its numbers are those of a run that was left alone.

Four trials, one a stage; ``DPMOT_KILL_TRIALS=20 pytest tests/faults/test_kills.py`` is the long run.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dpmot.plugins import ROOT

pytestmark = pytest.mark.workflow

STAGES = {  # job -> what it writes
    "train_edm": ["networks/edm.safetensors"],
    "solve": ["transport.safetensors"],
    "sample_dpm_ot_ddpm": ["samples/dpm_ot_ddpm.safetensors"],
    "measure": ["metrics.csv", "replicates.csv", "audit.csv", "identity.csv", "fingerprint.json"],
}
NUMBERS = ("metrics.csv", "replicates.csv", "audit.csv", "identity.csv")
TRIALS = int(os.environ.get("DPMOT_KILL_TRIALS", len(STAGES)))
PARTS = ["dpmot", "baselines", "paper_figures", "config", "profiles", "Snakefile"]


def snakemake(folder: Path, *arguments: str, also: Sequence[str] = (), wait: bool = True):
    """The smoke experiment of a copy of the project, up to metrics.csv and what else is asked for."""
    targets = [f"results/smoke/{name}" for name in (*NUMBERS, *also)]
    command = [
        sys.executable,
        "-m",
        "snakemake",
        *targets,
        *arguments,
        "--cores",
        "2",
        "--configfile",
        "config/smoke.yaml",
    ]
    options = {"cwd": folder, "env": {**os.environ, "PYTHONPATH": str(folder)}}
    if wait:
        return subprocess.run(command, **options, capture_output=True, text=True, check=False, timeout=600)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, **options, **quiet, start_new_session=True)


def finished(done: subprocess.CompletedProcess) -> None:
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A copy of the project whose smoke experiment has been measured once."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for part in PARTS:
        source, target = ROOT / part, folder / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    finished(snakemake(folder))
    return folder


@pytest.mark.parametrize("trial", range(TRIALS))
def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(undisturbed, tmp_path, trial):
    job = list(STAGES)[trial % len(STAGES)]
    random = np.random.default_rng(trial)
    folder = tmp_path / "project"
    shutil.copytree(undisturbed, folder, symlinks=True)
    results = folder / "results" / "smoke"
    seconds = json.loads((results / "timings" / f"{job}.json").read_text())
    for name in STAGES[job]:
        (results / name).unlink()
    process = snakemake(folder, also=STAGES[job], wait=False)
    marker, end = results / ".resume" / job / "identity.json", time.monotonic() + 120
    while not marker.exists():
        assert process.poll() is None and time.monotonic() < end, f"{job} did not start"
        time.sleep(0.02)
    time.sleep(random.uniform(0, max(0.3, seconds["wall_s"] - seconds["startup_s"])))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    again = snakemake(folder, also=STAGES[job])
    if again.returncode:  # unless the run had ended just before
        assert "--unlock" in again.stderr + again.stdout  # the message names the way on
        finished(snakemake(folder, "--unlock"))
        finished(snakemake(folder, also=STAGES[job]))
    for name in NUMBERS:
        assert (results / name).read_bytes() == (undisturbed / "results" / "smoke" / name).read_bytes(), name


def test_a_second_run_at_once_is_turned_away_and_the_first_ends_well(undisturbed, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(undisturbed, folder, symlinks=True)
    (folder / "results/smoke/transport.safetensors").unlink()
    first = snakemake(folder, also=["transport.safetensors"], wait=False)
    while not (folder / "results/smoke/.resume/solve").exists():
        assert first.poll() is None
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGSTOP)  # stays in the middle of its job, however slow the second's start is
    try:
        second = snakemake(folder)
    finally:
        os.killpg(first.pid, signal.SIGCONT)
    assert second.returncode == 1 and "cannot be locked" in second.stderr + second.stdout
    assert first.wait(timeout=300) == 0
    for name in NUMBERS:
        ours, theirs = (path / "results" / "smoke" / name for path in (folder, undisturbed))
        assert ours.read_bytes() == theirs.read_bytes()


def test_files_from_the_future_change_no_number(undisturbed, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(undisturbed, folder, symlinks=True)
    heights = folder / "results/smoke/transport.safetensors"
    tomorrow = time.time() + 86400
    os.utime(heights, (tomorrow, tomorrow))
    finished(snakemake(folder))
    for name in NUMBERS:
        ours, theirs = (path / "results" / "smoke" / name for path in (folder, undisturbed))
        assert ours.read_bytes() == theirs.read_bytes()


def test_the_number_of_cores_changes_no_number(undisturbed, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(undisturbed, folder, symlinks=True)
    command = [sys.executable, "-m", "dpmot", "measure", "--configfile", "config/smoke.yaml"]
    before = {name: (undisturbed / "results" / "smoke" / name).read_bytes() for name in STAGES["measure"]}
    for cores in ("1", "3"):
        for name in before:
            (folder / "results" / "smoke" / name).unlink()
        finished(
            subprocess.run(
                [*command, "--cores", cores],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(folder)},
                capture_output=True,
                text=True,
                check=False,
                timeout=600,
            )
        )
        assert before == {name: (folder / "results" / "smoke" / name).read_bytes() for name in before}
