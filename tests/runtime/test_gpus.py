"""Each job of a machine has a GPU of its own."""

import subprocess
import sys

import pytest

from dpmot.plugins import ROOT
from dpmot.runtime import gpus

HOLD = (
    "import os, sys; from pathlib import Path; from dpmot.runtime import gpus\n"
    "lock = gpus.claim(sys.argv[2].split(','), Path(sys.argv[1]))\n"
    "print(os.environ['CUDA_VISIBLE_DEVICES'], flush=True)\n"
    "sys.stdin.read()\n"
)


@pytest.fixture
def environment(monkeypatch):
    """Neither a number of GPUs nor which of them."""
    for name in (gpus.COUNT, gpus.VISIBLE):
        monkeypatch.setenv(name, "")  # restored at the end, also where the code sets it
        monkeypatch.delenv(name)
    return monkeypatch


def holding(folder, names):
    command = [sys.executable, "-c", HOLD, str(folder), names]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_two_jobs_have_two_gpus_and_one_that_was_killed_gives_its_own_back(tmp_path, environment):
    jobs = [holding(tmp_path, "0,1")]
    first = jobs[0].stdout.readline().strip()
    jobs.append(holding(tmp_path, "0,1"))
    assert {first, jobs[1].stdout.readline().strip()} == {"0", "1"}
    jobs[0].kill()
    jobs[0].wait()
    [lock] = gpus.claim(["0", "1"], tmp_path)
    assert lock.is_locked and gpus.os.environ[gpus.VISIBLE] == first
    jobs[1].communicate("")


def test_a_job_that_finds_none_free_says_so_and_waits(tmp_path, environment, capsys):
    job = holding(tmp_path, "GPU-a1")
    assert job.stdout.readline().strip() == "GPU-a1"
    environment.setattr(gpus.time, "sleep", lambda _: job.kill() or job.wait())
    [lock] = gpus.claim(["GPU-a1"], tmp_path)
    assert lock.is_locked
    assert "GPUs GPU-a1 are taken by other jobs" in capsys.readouterr().err


def test_the_gpus_to_choose_from_are_those_that_cuda_may_see(environment):
    assert gpus.shared() == [] and gpus.claim([]) == []
    environment.setenv(gpus.COUNT, "2")
    assert gpus.shared() == ["0", "1"]
    environment.setenv(gpus.VISIBLE, "3, 5,7")
    assert gpus.shared() == ["3", "5", "7"]
    environment.setenv(gpus.COUNT, "4")
    with pytest.raises(ValueError, match=r"names 3 GPUs, --resources gpu=4 asks for 4; give the number"):
        gpus.shared()
    environment.setenv(gpus.VISIBLE, "")
    assert gpus.shared() == []  # hidden on purpose


def test_a_job_of_several_processes_has_several_gpus_or_none(tmp_path, environment, capsys):
    job = holding(tmp_path, "0,1")
    assert job.stdout.readline().strip() == "0"

    def looked(_):
        [one] = gpus.claim(["1"], tmp_path)  # the one that is free was let go again
        one.release()
        job.communicate("")

    environment.setattr(gpus.time, "sleep", looked)
    locks = gpus.claim(["0", "1"], tmp_path, number=2)
    assert all(lock.is_locked for lock in locks) and gpus.os.environ[gpus.VISIBLE] == "0,1"
    assert "GPUs 0, 1 are taken by other jobs" in capsys.readouterr().err


def test_processes_that_torchrun_started_take_none(environment):
    environment.setenv(gpus.COUNT, "2")
    environment.setenv(gpus.TORCHRUN, "x")
    with gpus.claimed("cuda", 2):
        assert gpus.VISIBLE not in gpus.os.environ


def test_more_processes_than_gpus_are_refused(environment):
    told = (
        "processes: 3 need a GPU each, and jobs share 2; give --resources gpu=3 where there are as many, or processes=2"
    )
    with pytest.raises(ValueError, match=f"^{told}$"):
        gpus.claim(["0", "1"], number=3)
