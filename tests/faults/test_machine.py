"""What machines do to runs: stopped in the middle of a write, full disks, nowhere to write, two at once."""

import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from dpmot import cli
from dpmot.plugins import ROOT

SMOKE = ["--configfile", str(ROOT / "config" / "smoke.yaml")]
WRITER = """
import pathlib, sys, torch
from dpmot.experiment.jobs import Job
from dpmot.experiment.layout import Layout
from dpmot.runtime.session import session
with session(Job("train", "train_x", None), Layout(pathlib.Path(sys.argv[1]))) as stage:
    for value in range(1, 10**9):
        if value == 2:
            print("writing", flush=True)
        stage.checkpoint("training").save({"w": torch.full((1 << 20,), float(value))}, {"step": value})
"""
READER = """
import json, pathlib, sys
from dpmot.experiment.jobs import Job
from dpmot.experiment.layout import Layout
from dpmot.runtime.session import session
with session(Job("train", "train_x", None), Layout(pathlib.Path(sys.argv[1]))) as stage:
    tensors, facts = stage.checkpoint("training").load()
    print(json.dumps([facts["step"], float(tensors["w"].min()), float(tensors["w"].max())]))
"""


def python(code, *arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], env=environment, text=True, **options)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("moment", [0.005, 0.021, 0.05])
def test_a_process_stopped_while_it_saves_leaves_a_whole_state(tmp_path, stop, moment):
    writer = python(WRITER, tmp_path, stdout=subprocess.PIPE)
    assert writer.stdout.readline() == "writing\n"
    time.sleep(moment)
    writer.send_signal(stop)
    writer.wait()
    reader = python(READER, tmp_path, stdout=subprocess.PIPE)
    found = reader.communicate(timeout=60)[0].splitlines()[-1]
    step, least, most = json.loads(found)
    assert step >= 1 and least == most == step


def dpmot(*words, limit=None):
    def limited():
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "dpmot", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, preexec_fn=limited, check=False)


@pytest.mark.parametrize("limit", [1000, 50_000])
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path, limit):
    done = dpmot("prepare", *SMOKE, "--results", tmp_path, limit=limit)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("dpmot prepare: ")]) == 1, done.stderr
    assert not list(tmp_path.rglob("*.safetensors")) and not list(tmp_path.rglob("*.tmp"))
    assert dpmot("prepare", *SMOKE, "--results", tmp_path).returncode == 0


def test_results_that_cannot_be_written_are_one_line(tmp_path, capsys):
    (tmp_path / "taken").write_text("a file")
    assert cli.main(["prepare", *SMOKE, "--results", str(tmp_path / "taken")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dpmot prepare: ") and "taken" in line


def test_two_processes_do_not_share_a_resume_point(tmp_path, capsys):
    writer = python(WRITER, tmp_path, stdout=subprocess.PIPE)
    assert writer.stdout.readline() == "writing\n"
    reader = python(READER, tmp_path, stderr=subprocess.PIPE)
    assert "train_x is in use by another process: wait until it ends, or stop it" in reader.communicate(timeout=60)[1]
    writer.kill()
    writer.wait()
    assert python(READER, tmp_path, stdout=subprocess.DEVNULL).wait() == 0  # the lock went with its process
