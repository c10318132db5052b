"""What is read in the terminal by someone who runs a workflow, interrupts it, and makes mistakes."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

CONFIG = """experiment: tiny
dataset: gaussians
nfe_budgets: [5]
num_samples: 200
sample_seeds: [0]
networks: {exact: {kind: mixture}}
methods:
  ddim: {label: DDIM, group: rivals, network: exact, sampler: ddim}
  copy: {label: Copy, group: controls, network: exact, start: copy, sampler: ddim, level: 0.5}
tables: [table_1_quality]
figures: []
"""
RUN = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile"]
NOISE = ("Traceback", "Select jobs", "Building DAG", "localrule", "jobid", "RuleException", "Elapsed time")


@pytest.fixture
def tiny(fresh):
    """A project with a configuration of nine jobs."""
    (fresh.folder / "tiny.yaml").write_text(CONFIG)
    return fresh


def interrupted(tiny):
    """What is printed by a run that is interrupted in its first job, and its exit status."""
    process = subprocess.Popen(
        [*RUN, "tiny.yaml"],
        cwd=tiny.folder,
        env=tiny.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    log, end = tiny.folder / "results/tiny/logs/prepare.log", time.monotonic() + 300
    while not log.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    return process.communicate(timeout=300)[0], process.returncode


def test_a_run_is_interrupted_goes_on_and_says_what_it_does_and_where_it_ends(tiny):
    text, status = interrupted(tiny)
    assert status != 0 and not any(word in text for word in NOISE), text
    assert "interrupted: stopping what runs" in text and "run the same command again: it goes on where it was" in text

    done = tiny.run([*RUN, "tiny.yaml"])
    text = done.stdout + done.stderr
    lines = [line for line in text.strip().splitlines() if " running: " not in line]  # on a busy machine
    assert not any(word in text for word in NOISE), text
    jobs = [line for line in lines if line.startswith("[")]
    assert len(jobs) == 9 and jobs[-1].startswith("[100 %] timings") and len(lines) <= 20, text
    assert any(line.startswith("9 jobs, ") and "results go to results/tiny" in line for line in lines)
    assert "tiny: finished in " in text and "Table 1, FD (mixture) against test, lower is better" in text
    assert "figures not made, for the configuration does not name them under `figures:`: figure_10_" in text

    again = tiny.run([*RUN, "tiny.yaml"])
    assert "Nothing to be done" in again.stdout + again.stderr
    told = tiny.run([sys.executable, "-m", "dpmot", "status"]).stdout
    assert told.startswith("tiny: finished; results/tiny, fingerprint ") and "jobs   9 of 9 done" in told
    shown = tiny.run([sys.executable, "-m", "dpmot", "show", "table_1"]).stdout
    assert "experiment tiny" in shown and "DDIM" in shown


@pytest.mark.parametrize("dry", [[], ["-n"]], ids=["run", "dry run"])
def test_a_configuration_that_is_not_there_is_one_line(tiny, dry):
    done = tiny.run([*RUN, "config/smok.yaml", *dry], check=False)
    text = done.stdout + done.stderr  # a dry run speaks on standard output
    told = [line for line in text.splitlines() if line.startswith("config: ")]
    assert done.returncode == 1 and "Traceback" not in text and len(told) == 1
    assert (
        'Cannot read the configuration config/smok.yaml: No such file or directory; did you mean "config/smoke'
        in told[0]
    )


def test_a_job_that_fails_shows_the_end_of_its_log_and_status_names_it(tiny):
    prepare = tiny.folder / "dpmot/experiment/stages/prepare.py"
    prepare.write_text(
        prepare.read_text().replace("    with session(", '    raise ValueError("broken on purpose")\n    with session(')
    )
    done = tiny.run([*RUN, "tiny.yaml"], check=False)
    text = done.stdout + done.stderr
    assert done.returncode == 1 and not any(word in text for word in NOISE), text
    assert "failed: prepare; results/tiny/logs/prepare.log ends with\n    dpmot prepare: broken on purpose\n" in text
    told = tiny.run([sys.executable, "-m", "dpmot", "status"]).stdout
    assert told.startswith("tiny: failed; ") and "failed   prepare  dpmot prepare: broken on purpose" in told
