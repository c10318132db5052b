"""Training by several processes as a job: what is planned, refused, trained, killed and resumed, and said of it."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch

from dpmot.experiment.config import load, validate
from dpmot.experiment.cost import cost
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.stages import prepare, train
from dpmot.monitor.steps import steps
from dpmot.plugins import ROOT
from dpmot.runtime import seals, together
from dpmot.runtime.files import read_json, write_json
from dpmot.runtime.together import LEFT, Place

UNET = {"channels": 8, "multipliers": [1], "embedding": 16, "attention": False, "dropout": 0.2}
LONG = 100_000  # steps of a training that is stopped


def config(steps):
    training = {"steps": steps, "batch": 8, "warmup": 4, "checkpoint_seconds": 1e-9}
    networks = {
        "edm": {"kind": "edm", "unet": UNET, "training": training},
        "student": {"distillation": "consistency", "teacher": "edm", "training": {"steps": 2, "batch": 1}},
    }
    methods = {name: {"network": name, "sampler": "ddim"} for name in networks}
    return {
        **{"experiment": "x", "dataset": "digits", "nfe_budgets": [2], "num_samples": 20, "sample_seeds": [0]},
        **{"networks": networks, "methods": methods, "tables": []},
    }


def jobs(root, steps=6, **more):
    return Jobs(validate({**config(steps), **more}), Layout(root))


def test_a_training_asks_for_the_threads_of_all_its_processes_and_others_for_their_own(tmp_path):
    two = jobs(tmp_path, processes=2, threads=3)
    assert (two.train("edm").threads, two.train("edm").cores, two.train("edm").processes) == (3, 6, 2)
    assert {job.name: job.cores for job in two.compute() if job.cores != 3} == {"train_edm": 6, "prepare": 1}
    threads = {step.name: step.threads for step in steps(two.experiment, two.layout)}
    assert threads["train_edm"] == 6 and threads["train_student"] == 3
    assert "2 processes of 3 threads train each network but students" in cost(two.experiment)
    assert "processes" not in cost(jobs(tmp_path).experiment)
    exact = {"exact": {"kind": "ideal"}}
    methods = {"exact": {"network": "exact", "sampler": "ddim"}}
    assert "processes" not in cost(jobs(tmp_path, processes=2, networks=exact, methods=methods).experiment)


def test_one_process_plans_what_is_planned_without_the_key(tmp_path):
    one, none = jobs(tmp_path, processes=1), jobs(tmp_path)
    assert [job.identity for job in one.all()] == [job.identity for job in none.all()]
    assert "processes" not in json.dumps([one.experiment.written(), [job.identity for job in one.all()]])


def test_processes_are_in_the_fingerprint_and_not_in_what_an_unfinished_training_keeps(tmp_path):
    one, two = jobs(tmp_path), jobs(tmp_path, processes=2)
    assert two.measure().task.config["processes"] == 2 and two.measure().identity != one.measure().identity
    assert two.train("edm").identity == one.train("edm").identity | {"processes": 2}
    assert two.train("edm").identity_of_pieces == one.train("edm").identity
    assert two.train("student").identity == one.train("student").identity
    assert validate(two.experiment.written()).processes == 2  # a job reads it again


def test_the_command_line_leaves_the_results_in_their_folder():
    whole = load([ROOT / "config" / "smoke.yaml"], ["processes=3"])
    assert whole.experiment == "smoke" and whole.processes == 3
    assert load([ROOT / "config" / "mnist.yaml"], ["scale=smoke", "processes=64"]).processes == 2


def test_more_processes_than_images_in_a_batch_are_refused(tmp_path):
    told = "processes: 9 are more than networks.edm.training.batch = 8, which they share; give at most as many"
    with pytest.raises(ValueError, match=f"^{told}$"):
        jobs(tmp_path, processes=9)
    with pytest.raises(ValueError, match=r"^processes: 0 should be greater than or equal to 1$"):
        jobs(tmp_path, processes=0)


def test_a_compiled_network_is_trained_by_one(tmp_path):
    compiled = {"edm": {"kind": "edm", "training": {"steps": 2, "compile": True}}}
    told = "networks.edm.training.compile: a compiled network is trained by one process; leave it out, or give"
    with pytest.raises(ValueError, match=f"^{told} processes=1$"):
        jobs(tmp_path, processes=2, networks=compiled, methods={"edm": {"network": "edm", "sampler": "ddim"}})


def test_torchrun_says_how_many_there_are(monkeypatch):
    monkeypatch.delenv(together.TORCHRUN, raising=False)
    assert together.of_torchrun(2) is None
    for key, value in {together.TORCHRUN: "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(key, value)
    assert together.of_torchrun(4) == Place(3, 4, 1, "env://")
    with pytest.raises(
        ValueError,
        match=r"^processes: 1 do this job, but torchrun started 4; give processes=4 for a network that is trained, or",
    ):
        together.of_torchrun(1)


@pytest.mark.parametrize(
    ("ended", "lines", "told"),
    [
        ({0: 0, 1: 0}, ["", ""], "^$"),
        ({1: -9, 0: LEFT}, ["another process has ended", ""], "^process 2 of 2 was killed by SIGKILL, as where memory"),
        ({0: LEFT, 1: 1}, ["another process has ended", "no such file"], "^no such file$"),
        ({0: 1, 1: LEFT}, ["", "another"], "^process 1 of 2 failed, as its traceback above says; the others were"),
        ({0: LEFT}, ["another process has ended", ""], "^another process has ended$"),
        ({0: LEFT}, ["", ""], "^a process of this job has ended without a word; the others were stopped; run the same"),
    ],
)
def test_the_cause_is_told_before_what_came_of_it(ended, lines, told):
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(together._told(ended, lines))


def test_what_cannot_be_started_says_why():
    with pytest.raises(Exception, match=r"[Pp]ickle"):  # of which kind depends on the Python
        together.launch(lambda place: None, (), 2)


def test_memory_that_runs_out_is_no_process_that_ended():
    with pytest.raises(torch.OutOfMemoryError, match=r"^full$"), together.speaking():
        raise torch.OutOfMemoryError("full")
    told = "^another process of this job has ended or does not answer: gone$"
    with pytest.raises(together.Left, match=told), together.speaking():
        raise RuntimeError("gone")


# --- trained ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A results folder with the prepared data, and the weights that one process trains there."""
    of = jobs(tmp_path_factory.mktemp("one"))
    prepare.run(of.prepare(), of.layout)
    train.run(of.train("edm"), of.layout)
    return of


def beside(prepared, root, **more):
    """The same experiment in another folder, from the same data."""
    root.mkdir(exist_ok=True)
    os.link(prepared.layout.data, Layout(root).data)
    return jobs(root, **more)


def trained(of):
    tensors, texts = seals.load(of.layout.network("edm"))
    return tensors, json.loads(texts["card"])["trained"]


def command(of, name="edm"):
    """``dpmot train`` by the configuration in the folder."""
    write_json(of.layout.config, of.experiment.written())
    where = ["--configfile", str(of.layout.config), "--results", str(of.layout.root.parent)]
    return [sys.executable, "-m", "dpmot", "train", name, *where]


def started(of):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command(of), env=environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def begun(process, of):
    """The children of a training that has kept a state."""
    state, end = of.layout.resume("train_edm") / "training.safetensors", time.monotonic() + 300
    while not state.exists():
        assert process.poll() is None and time.monotonic() < end, process.stdout.read()
        time.sleep(0.05)
    return [child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline())]


def state_of(of):
    """The facts of the state that a training has kept last; it may be writing the next one."""
    folder = of.layout.resume("train_edm")
    for file in 100 * (folder / "training.safetensors", folder / "training.safetensors.1"):
        try:
            return json.loads(seals.load(file)[1]["facts"])
        except (FileNotFoundError, seals.Damaged):
            time.sleep(0.05)
    raise AssertionError(f"no state in {folder}")


def assert_same(of, prepared, sizes):
    (one, facts), (other, told) = trained(prepared), trained(of)
    assert told["processes"] == sizes and told["images_seen"] == facts["images_seen"] == 48
    assert told["losses"] == pytest.approx(facts["losses"], rel=2e-5)
    assert one.keys() == other.keys() and "processes" not in facts
    for name in one:
        if not name.endswith("bias"):  # of which some have no gradient but rounding
            assert float((one[name] - other[name]).abs().max()) < 1e-4, name


@pytest.mark.slow
def test_two_processes_write_one_network_and_nothing_else(prepared, tmp_path):
    two = beside(prepared, tmp_path / "x", processes=2)
    train.run(two.train("edm"), two.layout)
    assert_same(two, prepared, [2])
    written = {path.relative_to(two.layout.root).as_posix() for path in two.layout.root.rglob("*") if path.is_file()}
    assert written == {"data.safetensors", "networks/edm.safetensors", "timings/train_edm.json"}
    assert read_json(two.layout.timing("train_edm"))["images_per_s"] > 0


@pytest.mark.slow
def test_a_training_that_diverges_leaves_its_batch_and_names_it_in_one_line(prepared, tmp_path):
    steep = {"edm": {"kind": "edm", "unet": UNET, "training": {"steps": 6, "batch": 8, "warmup": 4, "lr": 1e30}}}
    methods = {"edm": {"network": "edm", "sampler": "ddim"}}
    two = beside(prepared, tmp_path / "x", processes=2, networks=steep, methods=methods)
    kept = two.layout.root / "faults" / "train_edm.safetensors"
    told = f"edm: the loss is (nan|inf) at step 1, sigma .*; the batch is in {re.escape(str(kept))}"
    with pytest.raises(ChildProcessError, match=f"^{told}$"):
        train.run(two.train("edm"), two.layout)
    assert len(seals.load(kept)[0]["sigma"]) == 8


@pytest.mark.slow
def test_a_killed_process_ends_the_training_in_one_line_and_another_number_goes_on(prepared, tmp_path):
    two = beside(prepared, tmp_path / "x", steps=LONG, processes=2)
    process = started(two)
    ranks = begun(process, two)
    assert len(ranks) == 2
    ranks[1].send_signal(signal.SIGKILL)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1 and not any(rank.is_running() for rank in ranks)
    last = out.strip().splitlines()[-1]
    told = "dpmot train: process 2 of 2 was killed by SIGKILL, as where memory runs out; the others were stopped; run"
    assert told in last  # behind a progress bar, where the first one was stopped before it had ended its own
    assert "Traceback" not in out
    before = state_of(two)
    assert before["sizes"] == [2]
    process = started(jobs(two.layout.root, steps=LONG, processes=3))
    end = time.monotonic() + 300
    while (now := state_of(two))["sizes"] == [2]:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.2)
    children = psutil.Process(process.pid).children()
    process.kill()  # whoever waits for the others: they follow
    assert "resume: continuing training" in process.communicate(timeout=60)[0]
    assert not psutil.wait_procs(children, timeout=60)[1] and len(children) >= 3
    assert now["step"] > before["step"] and now["sizes"] == [2, 3]
