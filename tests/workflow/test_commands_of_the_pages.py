"""Every `snakemake …` of README and docs/ as a dry run, but for those that another test runs whole."""

import importlib.util
import re
import shlex
import sys

import pytest
from project import copy_project

from dpmot.plugins import ROOT

pytestmark = [pytest.mark.workflow, pytest.mark.slow]
PAGES = [ROOT / "README.md", *(page for page in (ROOT / "docs").rglob("*.md") if "templates" not in page.parts)]
EXECUTORS = {"profiles/slurm": "slurm", "profiles/kubernetes": "kubernetes"}  # profile -> what it asks Snakemake for
OTHERWISE = {  # commands that are no run, and why a dry run of them says nothing
    "snakemake --report report.html": "a report is of a finished run: tests/workflow/test_smoke.py makes one",
    "snakemake": "the name alone",
    **{
        f"snakemake --cores all --configfile config/{name}.yaml": "its reader writes the file and has the weights: "
        "tests/workflow/test_extending.py does, and runs it whole"
        for name in ("theirs", "their_ddpm", "bars")
    },
}


def commands():
    """Each command once: lines of blocks of code, and code in a line of text."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found += re.findall(r"^(snakemake\b.*?)(?: +#.*)?$", text, re.M) + re.findall(r"`(snakemake [^`]+)`", text)
    return sorted(dict.fromkeys(found) - OTHERWISE.keys())


def dry(command):
    """The words of a command as a dry run, without the profile of a cluster whose plug-in is not installed."""
    words = shlex.split(command)[1:]
    for profile, executor in EXECUTORS.items():
        if profile in words and importlib.util.find_spec(f"snakemake_executor_plugin_{executor}") is None:
            place = words.index(profile)
            words[place - 1 : place + 1] = []
    return [sys.executable, "-m", "snakemake", *(["-n"] if "--unlock" not in words else ["--cores", "1"]), *words]


def test_commands_are_found_and_what_is_left_out_is_still_there():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert len(commands()) >= 15 and all(command in text for command in OTHERWISE)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """With the committed runs, whose weights some configurations load."""
    project = copy_project(tmp_path_factory.mktemp("commands"))
    (project.folder / "results").mkdir()
    (project.folder / "results" / "reference").symlink_to(ROOT / "results" / "reference", target_is_directory=True)
    return project


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_pages_runs_dry(command, project, monkeypatch):
    monkeypatch.delenv("DPMOT_DATA", raising=False)
    done = project.run(dry(command), check=False)
    told = done.stdout + done.stderr
    assert done.returncode == 0 and "Traceback" not in told and "config: " not in told, told[-3000:]
