"""The lines of a run: one a job, with percent and time left; what fails, stops or is silent; the end."""

import csv
import json
import logging
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry
from test_status import CONFIG, ORDER, finish, layout  # noqa: F401 - a fixture

from dpmot.experiment.config import validate
from dpmot.monitor.ending import finished, left_out, stopped
from dpmot.monitor.progress import Progress
from dpmot.plugins import ROOT, names

STATS = {"prepare": 1, "train": 1, "solve": 1, "sample": 2, "measure": 1, "table": 1, "figure": 1, "timings": 1}


class Clock:
    """Seconds that pass when they are told to."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def run(layout):  # noqa: F811
    """A run of nine jobs on two cores, and its clock."""
    clock = Clock()
    progress = Progress(clock)
    for event in (
        {"event": LogEvent.WORKFLOW_STARTED},
        {"event": LogEvent.RESOURCES_INFO, "cores": 2},
        {"event": LogEvent.RUN_INFO, "stats": {**STATS, "all": 1, "total": 10}},
    ):
        assert progress.told(event, "Provided cores: 2") == []
    return SimpleNamespace(progress=progress, clock=clock, root=layout.root, layout=layout)


def begin(run, number, name, rule="sample"):
    log = [f"{run.root}/logs/{name}.log"]
    return run.progress.told({"event": LogEvent.JOB_INFO, "jobid": number, "rule_name": rule, "log": log}, "rule:")


def end(run, number):
    lines = run.progress.told({"event": LogEvent.JOB_FINISHED, "job_id": number}, "Finished jobid")
    assert run.progress.told({"event": LogEvent.PROGRESS, "done": 1, "total": 9}, "1 of 9 steps done") == []
    return lines


def test_the_start_says_how_many_jobs_where_results_go_and_where_words_are_explained(run):
    (line,) = begin(run, 1, "prepare", "prepare")
    assert line.startswith("9 jobs, time left unknown on 2 cores") and f"results go to {run.root};" in line
    assert "dpmot status" in line and "docs/glossary.md" in line
    assert begin(run, 2, "train_exact", "train") == []


def test_a_run_that_was_timed_before_says_its_duration_at_the_start(run):
    rows = [f"{name},0,0,0,10,0," for name in (*ORDER, "table_1_quality", "figure_3_nfe")]
    head = "job,startup_s,arithmetic_s,io_s,wall_s,peak_mb,images_per_s"
    (run.root / "timings.csv").write_text("\n".join([head, *rows]) + "\n")
    (line,) = begin(run, 1, "prepare", "prepare")
    # prepare; train beside solve; two methods side by side; measure alone, on both cores; two pages side by side
    assert line.startswith("9 jobs, about 50 s left on 2 cores; ")


def test_a_finished_job_is_one_line_with_percent_and_time_left(run):
    begin(run, 1, "prepare", "prepare")
    finish(run.layout, "prepare")
    run.clock.now = 12.0
    assert end(run, 1) == ["[ 11 %] prepare  12 s; 1 of 9 jobs"]  # nothing like the others was timed
    begin(run, 2, "sample_ddim")
    finish(run.layout, "sample_ddim")
    run.clock.now = 22.0
    assert end(run, 2) == ["[ 22 %] sample_ddim  10 s; 2 of 9 jobs, more than 10 s left"]  # dpm_ot, alike


def test_the_percent_never_falls_and_ends_at_a_hundred(run):
    found, jobs = [], [*ORDER, "table_1_quality", "figure_3_nfe", "timings"]
    for number, name in enumerate(jobs):
        rule = name.split("_")[0]
        begin(run, number, name, rule)
        run.clock.now += 10
        finish(run.layout, name)
        found += end(run, number)
    percents = [int(line[1:4]) for line in found]
    assert len(found) == 9 and percents == sorted(percents) and percents[-1] == 100
    assert all(percent < 100 for percent in percents[:-1])


def test_rule_all_is_no_job(run):
    begin(run, 1, "prepare", "prepare")
    assert run.progress.told({"event": LogEvent.JOB_INFO, "jobid": 0, "rule_name": "all", "log": []}, "") == []
    assert end(run, 0) == []


def test_a_minute_of_silence_is_broken_by_what_runs(run):
    begin(run, 1, "sample_ddim")
    (run.root / "logs").mkdir()
    (run.root / "logs/sample_ddim.log").write_text("ddim:  25%|█ | 1/4 [00:01<00:03]\rddim:  50%|█ | 2/4 [00:02<00:02]")
    run.clock.now = 59
    assert run.progress.beat() == ""
    run.clock.now = 61
    assert run.progress.beat() == "[  0 %] running: sample_ddim, 1 min 1 s (ddim:  50%|█ | 2/4 [00:02<00:02])"
    assert run.progress.beat() == ""  # said a moment ago


def test_a_failed_job_shows_the_end_of_its_log(run):
    begin(run, 1, "sample_ddim")
    (run.root / "logs").mkdir()
    log = run.root / "logs/sample_ddim.log"
    log.write_text("\n".join(["early", *(f"line {k}" for k in range(40)), "dpmot sample: images hold NaN"]))
    event = {"event": LogEvent.JOB_ERROR, "jobid": 1, "rule_name": "sample", "log": [f"{log}"]}
    lines = run.progress.told(event, "Error in rule sample")
    assert lines[0] == f"failed: sample_ddim; {log} ends with" and lines[-1] == "    dpmot sample: images hold NaN"
    assert "    early" not in lines and len(lines) == 26


def test_after_ctrl_c_no_traceback_is_shown(run):
    begin(run, 1, "sample_ddim")
    (run.root / "logs").mkdir()
    log = run.root / "logs/sample_ddim.log"
    log.write_text("Traceback (most recent call last):\n  File ...\nKeyboardInterrupt\n")
    event = {"event": LogEvent.JOB_ERROR, "jobid": 1, "rule_name": "sample", "log": [str(log)]}
    assert run.progress.told(event, "Error in rule sample") == ["stopped: sample_ddim"]
    (line,) = run.progress.told({"levelno": logging.INFO}, "Terminating processes on user request, this might take")
    assert "the same command goes on where this run was" in line
    assert run.progress.told(event, "Error in rule sample") == []
    error = {"event": LogEvent.ERROR, "exception": "RuleException"}
    assert run.progress.told(error, "RuleException:\nCalledProcessError in file ...") == []


def test_a_job_that_failed_without_a_word_is_told_in_snakemakes(run):
    begin(run, 4, "sample_ddim")
    event = {
        "event": LogEvent.JOB_ERROR,
        "jobid": 4,
        "rule_name": "sample",
        "log": [f"{run.root}/logs/sample_ddim.log"],
    }
    lines = run.progress.told(event, "Error in rule sample:\n    external_jobid: 17, out of memory")
    assert lines[0].startswith("failed: sample_ddim;") and "is empty; Snakemake says" in lines[0]
    assert lines[-1].strip() == "external_jobid: 17, out of memory"


def test_what_failed_is_told_by_snakemake_where_quiet_rules_hides_the_job(run):
    error = {"event": LogEvent.ERROR, "exception": "RuleException"}
    text = "RuleException:\nCalledProcessError in file rules/networks.smk"
    assert run.progress.told(error, text) == [] and run.progress.rest() == [text]


def test_a_configfile_that_is_not_there_is_one_line_with_the_nearest_name(run, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = (
        "Traceback\n  in load_configfile\nFileNotFoundError: [Errno 2] No such file or directory: 'config/digit.yaml'"
    )
    (line,) = run.progress.told({"event": LogEvent.ERROR, "exception": "FileNotFoundError"}, text)
    assert line.startswith("config: Cannot read the configuration config/digit.yaml: No such file")
    assert 'did you mean "config/digits.yaml"?' in line and "give targets before it" not in line
    text = text.replace("config/digit.yaml", "results/digits/star.json_")
    (line,) = run.progress.told({"event": LogEvent.ERROR, "exception": "FileNotFoundError"}, text)
    assert "give targets before it" in line


def test_what_is_not_known_as_noise_is_shown(run):
    assert run.progress.told({}, "Building DAG of jobs...") == []
    assert run.progress.told({}, "Nothing to be done (all requested files are present and up to date).") != []
    assert run.progress.told({"event": LogEvent.ERROR}, "MissingInputException in rule x") != []


def test_snakemake_finds_the_plug_in_by_its_name():
    plugin = LoggerPluginRegistry().get_plugin("dpmot")
    handler = plugin.log_handler(SimpleNamespace(stdout=False, dryrun=False), None)
    assert handler.writes_to_stream and not handler.writes_to_file and not handler.has_filter
    handler.close()


def test_the_plug_in_prints_on_standard_error_and_a_closed_pipe_stops_it_quietly(run, capsys):
    plugin = LoggerPluginRegistry().get_plugin("dpmot")
    handler = plugin.log_handler(SimpleNamespace(stdout=False, dryrun=False), None)
    record = logging.LogRecord("snakemake", logging.WARNING, "x.py", 1, "beware", (), None)
    handler.handle(record)
    assert capsys.readouterr().err == "beware\n"

    class Closed:
        def write(self, _):
            raise BrokenPipeError

    handler.stream = Closed()
    handler.handle(record)
    handler.close()
    assert capsys.readouterr().err == ""


def test_the_end_says_where_results_are_the_headline_and_how_long_it_took(layout):  # noqa: F811
    tables = layout.root / "tables"
    tables.mkdir()
    committed = ROOT / "results/reference/digits/tables/table_1_quality.csv"
    (tables / committed.name).write_bytes(committed.read_bytes())
    assert finished(validate(CONFIG), layout, 200.0).endswith(f"what was asked for is in {layout.root}")
    (layout.root / "metrics.csv").write_text("")
    text = finished(validate(CONFIG), layout, 200.0)
    assert f"tiny: finished in 3 min 20 s; tables, figures and metrics.csv are in {layout.root}" in text
    rows = csv.DictReader(committed.open())
    head = {"metric": "fd_classifier", "reference": "test", "best": "True", "nfe_budget": "5"}
    best = min(float(row["measured"]) for row in rows if row.items() >= head.items())
    assert "FD (classifier) against test, lower is better" in text and f"NFE    5  {best:.1f} [" in text
    assert "dpmot show table_1 tiny prints the table" in text


def test_pages_that_a_configuration_leaves_out_are_named(capsys):
    told = "\n".join(left_out(validate(CONFIG)))
    assert all((name in told) == (name not in ("table_1_quality", "figure_3_nfe")) for name in names("pages"))
    every = {kind: [one for one in names("pages") if one.startswith(kind[:-1])] for kind in ("tables", "figures")}
    experiment = json.loads((ROOT / "results/reference/digits/experiment.json").read_text())
    assert list(left_out(SimpleNamespace(**{**experiment, **every}))) == []


def test_a_run_that_stopped_says_to_run_the_same_command_again(layout):  # noqa: F811
    told = stopped(validate(CONFIG), layout, 61.0)
    assert "tiny: stopped after 1 min 1 s, not finished" in told and "run the same command again" in told
