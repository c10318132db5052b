"""Thirty-odd kinds of bad input: exit status, one clear line, no traceback, nothing written."""

import re

import pytest
from bad_inputs import COMMANDS, CONFIGURATIONS, FILES, pairs

from dpmot import cli
from dpmot.plugins import ROOT

SMOKE = str(ROOT / "config" / "smoke.yaml")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A results folder with the data of the smoke experiment."""
    folder = tmp_path_factory.mktemp("prepared")
    assert cli.main(["prepare", "--configfile", SMOKE, "--results", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(tmp_path):
    """A folder with files that hold nothing good."""
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def files_of(*folders):
    return {path for folder in folders for path in folder.rglob("*") if path.is_file()}


def one_line(capsys, message):
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("dpmot ")]
    assert len(lines) == 1 and "Traceback" not in err
    assert re.search(message, lines[0]), err


def test_there_are_thirty_kinds():
    assert len(COMMANDS) + len(CONFIGURATIONS) >= 30


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_configuration_that_cannot_run_is_answered_with_one_line(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DPMOT_DATA", raising=False)
    overrides, message = CONFIGURATIONS[name]
    assert cli.main(["plan", "--configfile", SMOKE, "--config", *pairs(overrides)]) == 1
    one_line(capsys, message)
    assert not files_of(tmp_path)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_cannot_run_is_answered_with_one_line(name, folder, prepared, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DPMOT_DATA", raising=False)
    before = files_of(folder, prepared)
    text, message = COMMANDS[name]
    words = [
        word.replace("\u00a0", " ") for word in text.format(folder=folder, prepared=prepared, smoke=SMOKE).split(" ")
    ]
    assert cli.main(words) in (1, 2)
    one_line(capsys, message)
    left = {path for path in files_of(folder, prepared) - before if ".resume" not in path.parts}
    assert not {path for path in left if path.name != "experiment.json"} and not (folder / "owned").exists()
