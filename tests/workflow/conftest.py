"""Copies of the project that hold no results."""

import re
import shutil

import pytest
from project import Project, copy_project

from dpmot.plugins import ROOT


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
