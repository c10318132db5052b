"""A copy of the project in a temporary folder, in which one smoke experiment runs for all workflow tests."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from dpmot.plugins import ROOT

PARTS = ["dpmot", "baselines", "paper_figures", "config", "profiles", "Snakefile"]
TIMEOUT = 400


@dataclass(frozen=True)
class Project:
    """A working copy whose own files are imported, not the installed ones."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.folder)}

    def command(self, *arguments: str, cores: int | None = 2) -> list[str]:
        # Targets come first: --configfile and --config take all words that follow them.
        command = [sys.executable, "-m", "snakemake", *arguments, *([] if cores is None else ["--cores", str(cores)])]
        return [*command, "--configfile", "config/smoke.yaml"]

    def snakemake(self, *arguments: str, cores: int | None = 2, check: bool = True) -> subprocess.CompletedProcess:
        return self.run(self.command(*arguments, cores=cores), check=check)

    def run(self, command: list[str], *, check: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=TIMEOUT
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
        return done

    def planned(self, *arguments: str) -> set[str]:
        """Log files of the jobs that a dry run would start, without folder and ending: one name per job."""
        shown = self.snakemake("--dry-run", "--workflow-profile", "none", *arguments)  # the profile hides the rules
        lines = (shown.stdout + shown.stderr).splitlines()
        return {Path(line.split()[1]).stem for line in lines if line.strip().startswith("log: results/")}

    def results(self, name: str) -> Path:
        return self.folder / "results" / "smoke" / name


def copy_project(folder: Path) -> Project:
    """Copy the workflow's files; results are not copied."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)
    return Project(folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Project:
    """A project whose smoke experiment has run once; tests leave its results as they are."""
    project = copy_project(tmp_path_factory.mktemp("finished"))
    project.snakemake()
    return project


@pytest.fixture
def fresh(tmp_path) -> Project:
    """A project without results."""
    return copy_project(tmp_path)


@pytest.fixture(scope="session")
def extended(tmp_path_factory) -> Project:
    """A project with tests, to which the diffs of docs/extending.md have been applied."""
    project = copy_project(tmp_path_factory.mktemp("extended"))
    shutil.copytree(ROOT / "tests", project.folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", project.folder)
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    for diff in re.findall(r"```diff\n(.*?)```", text, re.DOTALL):
        (project.folder / "change.diff").write_text(diff, encoding="utf-8")
        project.run(["git", "apply", "change.diff"])
    return project
