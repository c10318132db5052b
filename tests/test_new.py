"""`dpmot new`: files that work at once, and names that are refused before anything is written."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from dpmot import cli, plugins, templates


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Plug-in folders that hold copies of nothing but names: what is written goes below tmp_path."""
    folders = {}
    for kind, (noun, folder) in plugins.FOLDERS.items():
        copy = tmp_path / folder.relative_to(plugins.ROOT)
        copy.mkdir(parents=True, exist_ok=True)
        for name in plugins.names(kind):
            (copy / f"{name}.py").write_text('"""One."""\n')
        folders[kind] = (noun, copy)
    monkeypatch.setattr(plugins, "FOLDERS", folders)
    monkeypatch.setattr(plugins, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", templates.KINDS)
def test_every_kind_is_written_under_its_name_and_says_what_to_do_next(kind, elsewhere):
    said = templates.new(kind, "my_own")
    path = elsewhere / said.split(":")[0]
    text = path.read_text(encoding="utf-8")
    assert path.stem == "my_own" and path.parent == plugins.FOLDERS[templates.FOLDER_OF[kind]][1]
    assert ast.get_docstring(ast.parse(text)) and templates.PLACE not in text
    assert "pytest tests/contracts -k my_own" in said and "my_own" in said.splitlines()[3] + text


def test_the_longest_name_makes_no_line_too_long(elsewhere):
    for kind in templates.KINDS:
        said = templates.new(kind, "m" * 40)
        text = (elsewhere / said.split(":")[0]).read_text(encoding="utf-8")
        assert max(map(len, text.splitlines())) <= 120 + 2 * (40 - len(templates.PLACE))  # one line names it twice


BAD = {
    "Capital": "lower-case letters",
    "9lives": "a letter first",
    "_hidden": "a letter first",
    "with space": "lower-case letters",
    "../up": "lower-case letters",
    "a.b": "lower-case letters",
    "": "lower-case letters",
    "class": "no word of Python's own",
    "x" * 41: "at most 40",
    "ddim": "exists already: baselines/ddim.py",
    "none": "a word of configurations",
}


@pytest.mark.parametrize(("name", "message"), BAD.items())
def test_a_bad_or_taken_name_is_refused_in_one_line_and_nothing_is_written(name, message, elsewhere, capsys):
    before = sorted(elsewhere.rglob("*"))
    assert cli.main(["new", "sampler", name]) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert sorted(elsewhere.rglob("*")) == before


def test_a_feature_cannot_be_called_like_a_key_of_configurations(elsewhere):
    with pytest.raises(ValueError, match="a word of configurations"):
        templates.new("feature", "transport")


def test_a_template_passes_the_contract_tests_of_its_folder_where_it_lies(tmp_path):
    """The page's names for all kinds are tried by the slow tests/workflow/test_extending.py; here, the cheapest one."""
    from project import copy_project

    project = copy_project(tmp_path)
    done = project.run([sys.executable, "-m", "dpmot", "new", "metric", "mine"])
    assert "dpmot/metrics/mine.py: a working metric" in done.stdout
    code = "from dpmot import plugins; m = plugins.find('metrics', 'mine'); print(m.FACTS.keys(), m.__file__)"
    found = subprocess.run([sys.executable, "-c", code], cwd=project.folder, capture_output=True, text=True, check=True)
    assert "mine" in found.stdout and Path(found.stdout.split()[-1]).is_relative_to(project.folder)
