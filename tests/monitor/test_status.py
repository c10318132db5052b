"""What `dpmot status` says of results folders in every state, none of which it touches."""

import os
import subprocess
import sys
import time
from functools import cache

import pytest

from dpmot import cli
from dpmot.experiment.config import validate
from dpmot.experiment.layout import Layout
from dpmot.monitor import watch
from dpmot.monitor.status import status
from dpmot.monitor.steps import steps
from dpmot.plugins import ROOT
from dpmot.runtime.files import write_json

CONFIG = {
    "experiment": "tiny",
    "dataset": "gaussians",
    "nfe_budgets": [5, 10],
    "num_samples": 200,
    "sample_seeds": [0, 1],
    "networks": {"exact": {"kind": "mixture"}},
    "methods": {
        "ddim": {"network": "exact", "sampler": "ddim"},
        "dpm_ot": {"network": "exact", "start": "transport", "sampler": "ddim", "level": 0.5},
    },
    "tables": ["table_1_quality"],
    "figures": ["figure_3_nfe"],
}


@pytest.fixture
def layout(tmp_path):
    """A results folder in which nothing has run."""
    experiment = validate(CONFIG)
    found = Layout(tmp_path / "results" / "tiny")
    write_json(found.config, experiment.written())
    return found


@cache
def all_steps(layout):
    return {step.name: step for step in steps(validate(CONFIG), layout)}


def finish(layout, *names, at=None):
    """Write the outputs of these steps, a second apart."""
    found = all_steps(layout)
    for number, name in enumerate(names):
        for path in found[name].outputs:
            path.parent.mkdir(parents=True, exist_ok=True)
            is_timing = path == layout.timing(name)
            path.write_text(f'{{"job": "{name}", "wall_s": 10.0, "arithmetic_s": 6.0}}' if is_timing else "x")
            moment = (time.time() - 3600 if at is None else at) + number
            os.utime(path, (moment, moment))


def log(layout, name, text, *, age=3600.0):
    path = layout.root / "logs" / f"{name}.log"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    os.utime(path, (time.time() - age,) * 2)


def said(layout, width=200):
    return "\n".join(status(layout.root, width=width))


ORDER = ("prepare", "train_exact", "solve", "sample_ddim", "sample_dpm_ot", "measure")


def test_a_folder_in_which_nothing_ran_waits(layout):
    told = said(layout)
    assert "tiny: nothing runs" in told and "not measured yet" in told and "jobs   0 of 10 done, 10 waiting" in told
    assert "cells  0 of 8 done, 8 waiting" in told
    assert f"to go on: snakemake --cores all --configfile {layout.config}" in told.replace("\n       ", " ")


def test_done_and_waiting_jobs_cells_and_the_time_left_are_told(layout):
    finish(layout, *ORDER[:4])
    told = said(layout)
    assert "jobs   4 of 10 done, 6 waiting" in told and "cells  4 of 8 done, 4 waiting" in told
    assert "40 s of all jobs together so far" in told
    # dpm_ot's evaluations are those of ddim: it takes the same ten seconds; pages and measure were never timed
    assert "about 10 s left" in told and "(ideal, measure, page: not timed yet)" in told


def test_a_finished_run_is_called_finished_and_its_fingerprint_told(layout):
    finish(layout, *all_steps(layout))
    write_json(layout.root / "fingerprint.json", {"fingerprint": "abc123"})
    os.utime(layout.root / "fingerprint.json", (time.time() - 3595,) * 2)
    told = said(layout)
    assert "tiny: finished; " in told and "fingerprint abc123" in told and "jobs   10 of 10 done" in told
    assert "left" not in told and f"dpmot show table_1 {layout.root}" in told.replace("\n       ", " ")


def test_a_finished_run_of_which_only_numbers_and_pages_were_kept_is_finished(layout):
    write_json(layout.root / "fingerprint.json", {"fingerprint": "abc123"})
    assert status(layout.root) == [
        f"tiny: finished; its samples and networks were not kept; {layout.root}, fingerprint abc123"
    ]
    finish(layout, "prepare")
    assert "tiny: nothing runs" in said(layout)


def test_a_committed_run_is_finished():
    told = status(ROOT / "results/reference/digits")
    assert len(told) == 2 and told[0].startswith("digits: finished; its samples") and "show table_1" in told[1]


def test_a_failed_job_is_told_with_the_last_line_of_its_log(layout):
    finish(layout, *ORDER[:3])
    log(layout, "sample_ddim", "ddim: 50%|█ | 2/4 [00:01<00:01]\rdpmot sample: images hold NaN or infinite values\n")
    told = said(layout)
    assert "tiny: failed; " in told and "failed   sample_ddim  0 of 4 cells; dpmot sample: images hold NaN" in told
    assert "4 failed" in told and "run the same command again" in told


@pytest.mark.parametrize(
    "text", ["", "ddim: 50%|█ | 2/4 [00:01<00:01]", "dpmot sample: interrupted; run", "Traceback\nKeyboardInterrupt"]
)
def test_a_job_that_was_killed_or_interrupted_is_no_failure(layout, text):
    finish(layout, *ORDER[:3])
    log(layout, "sample_ddim", text)
    told = said(layout)
    assert "1 stopped" in told and "stopped  sample_ddim" in told and "failed" not in told


def test_a_log_that_moves_is_a_job_that_runs_on_another_machine(layout):
    finish(layout, *ORDER[:3])
    log(layout, "sample_ddim", "ddim: 50%|█ | 2/4 [00:01<00:01]", age=5)
    assert "tiny: running; " in said(layout)


def test_cells_that_a_job_has_kept_count_as_done(layout):
    finish(layout, *ORDER[:3])
    log(layout, "sample_ddim", "ddim: 50%|█ | 2/4 [00:01<00:01]", age=5)
    key = all_steps(layout)["sample_ddim"].cells[0]
    kept = layout.resume("sample_ddim") / f"{key}.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_text("x")
    kept.with_name(f"{kept.name}.1").write_text("x")  # the one before it is no second cell
    told = said(layout)
    assert "cells  1 of 8 done, 1 running, 6 waiting" in told and "sample_ddim  1 of 4 cells; " in told


def test_what_is_older_than_what_it_read_waits_and_so_does_what_needs_it(layout):
    finish(layout, *ORDER)
    finish(layout, "train_exact", at=time.time() - 10)
    told = said(layout)
    assert (
        "jobs   3 of 10 done" in told and "waiting  sample (2), ideal (1), measure (1)" in told
    )  # no network in the map


def test_a_process_that_runs_a_job_is_seen_with_its_time(layout):
    finish(layout, *ORDER[:3])
    log(layout, "sample_ddim", "", age=0)
    words = ["dpmot", "sample", "ddim", "--configfile", "results/tiny/experiment.json"]
    code = "import time; time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code, *words], cwd=layout.root.parents[1])
    try:
        found = watch.processes(layout.root)
        assert set(found) == {"sample_ddim"} and found["sample_ddim"].started == pytest.approx(time.time(), abs=30)
        assert watch.processes(layout.root.parent / "other") == {}
        assert "running  sample_ddim  " in said(layout)
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("line", "job"),
    [
        ("python /bin/dpmot train edm --configfile a.json", "train_edm"),
        ("python -m dpmot solve --configfile a.json", "solve"),
        ("dpmot measure --cores 2 --configfile a.json", "measure"),
        ("dpmot sample edm --shard 2 --configfile a.json", "sample_edm-2-of-"),
        ("dpmot measure --cores 2 --shard 3 --configfile a.json", "measure_3-of-"),
        ("python -m paper_figures.table_1_quality --results a.json", "table_1_quality"),
        ("bash -c dpmot", ""),
        ("python -m dpmot evaluate a.npz", ""),
    ],
)
def test_jobs_are_known_by_their_command_lines(line, job):
    assert watch._job(line.split()) == (job, "a.json" if job else "")


def test_lines_fit_the_terminal(layout):
    finish(layout, *ORDER[:3])
    log(layout, "sample_ddim", "x" * 500)
    assert max(map(len, said(layout, width=60).splitlines())) <= 60


def test_nothing_is_written(layout):
    finish(layout, *ORDER[:3])
    log(layout, "sample_ddim", "dpmot sample: no\n")
    before = {path: path.stat().st_mtime_ns for path in layout.root.rglob("*")}
    said(layout)
    assert {path: path.stat().st_mtime_ns for path in layout.root.rglob("*")} == before


def test_the_experiment_is_found_by_name_by_path_by_configuration_or_as_the_last(layout, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "results/older/experiment.json", validate({**CONFIG, "experiment": "older"}).written())
    os.utime(tmp_path / "results/older/experiment.json", (1, 1))
    (tmp_path / "own.yaml").write_text(layout.config.read_text())
    for words, name in (
        (["status"], "tiny"),
        (["status", "older"], "older"),
        (["status", "results/older"], "older"),
        (["status", "--configfile", "own.yaml"], "tiny"),
        (["status", "--results", "results/older"], "older"),
    ):
        assert cli.main(words) == 0
        assert capsys.readouterr().out.startswith(f"{name}: nothing runs")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tinny"], 'No experiment "tinny" in results: did you mean "tiny"? found tiny'),
        (["tiny", "--configfile", "own.yaml"], "tiny and --configfile both name an experiment; give one of them"),
        (["--results", "nowhere"], "nowhere holds no experiment: `make run` or `snakemake` makes one"),
    ],
)
def test_what_cannot_be_found_is_one_line(layout, words, told, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["status", *words]) == 1
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_show_with_the_folder_before_the_table_is_told_the_order(layout, capsys):
    assert cli.main(["show", str(layout.root), "table_1"]) == 1
    assert "the table comes first: dpmot show TABLE FOLDER" in capsys.readouterr().err


def test_a_configuration_of_another_version_is_one_line(layout, capsys):
    layout.config.write_text('{"experiment": "tiny", "from_the_future": 1}')
    assert cli.main(["status", str(layout.root)]) == 1
    assert "is no configuration that this version reads" in capsys.readouterr().err


def test_a_configuration_whose_parts_do_not_fit_together_is_one_line(layout):
    written = validate(CONFIG).written()
    written["methods"]["ddim"]["network"] = "gone"
    write_json(layout.config, written)
    with pytest.raises(ValueError, match=r"experiment\.json is no configuration that this version reads: .*gone"):
        status(layout.root)


def test_timings_that_were_half_written_are_not_known(layout):
    layout.timings.write_text("job,wall_s\nprepare,\n")
    assert "time left unknown" in said(layout)
