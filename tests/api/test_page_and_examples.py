"""The page and the examples run as they stand, and the page says what the docstrings say."""

import re
import runpy
import sys

import pytest

import dpmot
from dpmot.plugins import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES = {  # file -> what it prints at its end
    "audit.py": r"sigma 0.1: Verdict: copies: .*\nsigma 10.0: Verdict: no copies found: .*\n$",
    "expressway.py": r"NFE 5 from 2\)\nSamples\(16 of shape \(1, 8, 8\), NFE 5 from 80\)\n$",
    "mixture.py": r"NFE 5 from 2\)\nSamples\(16 .*NFE 5 from 1\)\nSamples\(16 of shape \(1, 8, 8\), NFE 5 from 80\)\n$",
    "sample.py": r"NFE 20 from 1\) torch.Size\(\[64, 1, 8, 8\]\) images \[\d+, \d+, \d+\] classes \[\d, \d, \d\]\n$",
    "save_and_load.py": r"converged\) True\n$",
    "transport.py": r"the same to the bit True\n$",
}


def test_every_example_is_short_and_some_test_names_it():
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for path in (ROOT / "examples").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 15, path.name
        assert f'"{path.name}"' in tests, path.name


SLOW = {"audit.py"}  # five seconds, and images of its own to search


@pytest.mark.parametrize("name", [pytest.param(k, marks=[pytest.mark.slow] * (k in SLOW)) for k in EXAMPLES])
def test_an_example_runs_as_it_stands(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPMOT_CACHE", str(tmp_path / "cache"))
    runpy.run_path(str(ROOT / "examples" / name))
    assert re.search(EXAMPLES[name], capsys.readouterr().out)


def test_every_block_of_the_page_runs_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks, names = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S), {"__name__": "page"}
    assert len(blocks) >= 7
    for block in blocks:
        exec(compile(block, "docs/api.md", "exec"), names)
    told = capsys.readouterr().out
    share = float(re.search(r"handed back their own image: tensor\((.*?)\)", told)[1])
    assert 0 < share < 0.7 and names["way"].converged  # at sigma 2; at 0.1 it is 1


def test_the_reference_is_that_of_the_docstrings(monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = runpy.run_path(str(ROOT / "docs" / "reference.py"))
    assert PAGE.split(made["MARK"])[1] == made["reference"](), "run python docs/reference.py"
    assert all(f"## `dpmot.{name}`" in PAGE for name in dpmot.__all__)


def test_every_public_name_has_a_full_docstring():
    for name in dpmot.__all__:
        value = getattr(dpmot, name)
        assert value.__doc__ and len(value.__doc__) > 100
        if callable(value) and not isinstance(value, type):
            assert all(section in value.__doc__ for section in ("Args:", "Raises:")), name
        if isinstance(value, type):
            bare = [part for part, what in vars(value).items() if part[0] != "_" and not getattr(what, "__doc__", 1)]
            assert not bare, f"{name}: {bare}"
