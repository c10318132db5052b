"""A real Slurm of one machine: through profiles/slurm, though slurmd and power fail, the bytes are the local ones."""

import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil
import pytest
from project import Project, copy_project

SCRIPT = Path(__file__).with_name("slurm.sh")
CANNOT = 77  # its exit status where no cluster can be run
SECONDS = 1800  # to wait for anything, on a busy machine; an idle one needs minutes for all
CONFIG = """
experiment: smoke
dataset: digits
nfe_budgets: [5]
num_samples: 100
sample_seeds: [0]
networks:
  edm:
    kind: edm
    options: {sigma_data: 0.75}
    unet: {channels: 8}
    training: {steps: 300, batch: 64, checkpoint_seconds: 0.2}
classifier: {epochs: 2}
transport: {chi2: 0.05}
methods:
  prior: {label: DDIM, group: rivals, network: edm, sampler: ddim}
  dpm_ot: {label: DPM-OT, group: dpm_ot, network: edm, start: transport, sampler: ddim}
tables: [table_1_quality]
figures: []
"""
JOBS = {
    "prepare",
    "classify",
    "train",
    "solve",
    "ideal",
    "sample",
    "measure",
}  # submitted; pages are made here


@dataclass(frozen=True)
class Job:
    """What Slurm says of a job at the end."""

    number: int
    rule: str
    state: str
    restarts: int
    to_start: int  # seconds from submission
    on_node: int  # seconds

    LINE = re.compile(r"slurm: job (\d+) rule_(\S+) (\w+) (\d+) restarts, (\d+) s to start, (\d+) s on the node")

    @classmethod
    def all(cls, told: str) -> "list[Job]":
        """Those of the script's last lines."""
        found = cls.LINE.findall(told)
        return [cls(int(i), rule, state, *map(int, numbers)) for i, rule, state, *numbers in found]


def _project(folder: Path) -> Project:
    project = copy_project(folder)
    (project.folder / "config" / "smoke.yaml").write_text(CONFIG, encoding="utf-8")
    return project


def _script(*words: str) -> list[str]:
    return ["bash", str(SCRIPT), *words]


@contextmanager
def _cluster(log: Path, *command: str, project: Project | None = None) -> Iterator[subprocess.Popen]:
    """A command on a cluster that ends with the block, and with this process, however that ends."""
    install = ["--install"] * (os.environ.get("DPMOT_SLURM") == "install")
    with log.open("w") as file:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *_script(*install, *command)],
            cwd=project and project.folder,
            env={**(project.environment if project else os.environ), "PYTHON": sys.executable},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def _wait(process: subprocess.Popen, log: Path, happened: Callable[[], bool]) -> None:
    """Until it happened; skips where no cluster can be run, fails where the run ends before."""
    end = time.monotonic() + SECONDS
    while not happened():
        if process.poll() == CANNOT:
            pytest.skip(log.read_text(encoding="utf-8").strip().splitlines()[-1])
        assert process.returncode is None, log.read_text(encoding="utf-8")[-6000:]
        assert time.monotonic() < end, f"waited {SECONDS} s:\n{log.read_text(encoding='utf-8')[-6000:]}"
        time.sleep(0.05)


def _left(told: str) -> list[psutil.Process]:
    """The processes of a cluster that has ended."""
    (folder,) = re.findall(r"^slurm: up: .* in (\S+)$", told, re.MULTILINE)
    assert not Path(folder).exists()
    left = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("SLURM_CONF", "").startswith(folder):
                left.append(process)
    return left


def _kept(project: Project) -> dict[str, bytes]:
    """Every file of the results but logs and how long jobs took."""
    root = project.results("")
    files = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
    return {str(file): (root / file).read_bytes() for file in files if not re.match(r"logs/|timings[/.]", str(file))}


@pytest.mark.workflow
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Slurm runs on Linux")
def test_through_slurm_the_numbers_are_the_local_ones_though_slurmd_is_killed_and_power_fails(tmp_path):
    here, there = _project(tmp_path / "here"), _project(tmp_path / "there")
    log = tmp_path / "slurm.log"
    snakemake = [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/slurm"]
    squeue = ["--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"]
    with _cluster(log, *snakemake, *squeue, "--configfile", "config/smoke.yaml", project=there) as process:
        _wait(process, log, there.results("logs/train_edm.log").exists)
        process.send_signal(signal.SIGUSR1)  # slurmd is killed, and started again; jobs go on
        state = there.results(".resume/train_edm/training.safetensors")
        _wait(process, log, lambda: state.exists() and "slurmd was killed" in log.read_text(encoding="utf-8"))
        process.send_signal(signal.SIGUSR2)  # power fails half-way through training
        _wait(process, log, lambda: process.poll() == 0)
    told = log.read_text(encoding="utf-8")
    assert _left(told) == []
    jobs = Job.all(told)
    assert {job.rule.split("_")[0] for job in jobs} == JOBS
    assert {job.state for job in jobs} == {"COMPLETED"}, told[-6000:]
    assert [job.restarts for job in jobs if job.rule == "train_wildcards_edm"] == [1]  # by power, not by slurmd alone
    assert "resume: continuing training" in there.results("logs/train_edm.log").read_text(encoding="utf-8")
    here.snakemake()
    local, through = _kept(here), _kept(there)
    assert through.keys() == local.keys()
    assert [name for name in local if through[name] != local[name]] == []
    _print_overhead(jobs, there)


def _print_overhead(jobs: list[Job], project: Project) -> None:
    """Seconds that Slurm and Snakemake on the node add to a job; pytest -s shows them."""
    left_alone = [job for job in jobs if job.restarts == 0]
    walls = pd.read_csv(project.results("timings.csv")).set_index("job").wall_s
    added = [job.on_node - walls[job.rule.replace("_wildcards", "")] for job in left_alone]
    to_start = statistics.median(job.to_start for job in left_alone)
    print(f"overhead a job: {to_start} s to start, {statistics.median(added):.1f} s on the node beside the job's own")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Slurm runs on Linux")
def test_nothing_is_left_of_a_cluster_that_was_told_to_stop(tmp_path):
    log = tmp_path / "slurm.log"
    job = "sbatch --output=/dev/null --wrap 'sleep 1000'; until squeue -h -o %T | grep RUNNING; do sleep .1; done"
    with _cluster(log, "bash", "-c", f"{job}; sleep 1000") as process:
        _wait(process, log, lambda: "RUNNING" in log.read_text(encoding="utf-8"))
    assert process.returncode == 128 + signal.SIGTERM
    assert _left(log.read_text(encoding="utf-8")) == []


@pytest.mark.skipif(sys.platform != "linux", reason="Slurm runs on Linux")
@pytest.mark.parametrize("words, told", [([], "no COMMAND given"), (["--instal", "true"], "unknown option --instal")])
def test_the_script_says_what_it_was_not_given(words, told):
    done = subprocess.run(_script(*words), env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True)
    assert done.returncode == 64 and told in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="Slurm runs on Linux")
def test_without_slurm_the_script_says_what_is_missing_and_runs_nothing(tmp_path):
    programs = ["bash", "cat", "chmod", "dirname", "env", "id", "mktemp", "rm", "sed", "setpriv", "tail"]
    for program in programs:
        (tmp_path / program).symlink_to(subprocess.check_output(["which", program], text=True).strip())
    # Debian's daemons lie in /usr/sbin, which the script adds: only programs of slurm-client and munged are not there.
    environment = {**os.environ, "PATH": str(tmp_path), "PYTHON": sys.executable}
    done = subprocess.run(_script("touch", "ran"), env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == CANNOT and not (tmp_path / "ran").exists()
    assert re.search(r"cannot run here: no .*scontrol .*--install installs them", done.stderr)
