"""What is said before a run of the files that were edited since the last one."""

import pytest

from dpmot.experiment.edits import SHOWN, edits, record
from dpmot.experiment.layout import Layout

NOW = {"baselines/edm.py": "1", "dpmot/metrics/fd.py": "2"}


@pytest.fixture
def run(tmp_path):
    """A results folder after a run of files as they are NOW."""
    layout = Layout(tmp_path)
    layout.config.write_text("{}")
    record(layout, NOW)
    return layout


def test_a_new_folder_and_one_whose_code_is_the_same_say_nothing(run, tmp_path):
    assert edits(Layout(tmp_path / "new"), NOW) == edits(run, NOW) == ""


def test_an_edited_file_is_named_and_one_that_only_a_new_method_uses_is_not(run):
    told = edits(run, {**NOW, "baselines/edm.py": "3", "baselines/new.py": "4"})
    assert told == f"edited since the last run of {run.root}: baselines/edm.py; what uses it runs again"


def test_many_edited_files_are_counted(run):
    many = {f"{k}.py": "old" for k in range(SHOWN + 2)}
    record(run, many)
    assert "0.py, 1.py, 2.py, 3.py, 4.py and 2 more; what" in edits(run, dict.fromkeys(many, "new"))


def test_a_folder_of_an_older_version_says_that_all_runs_again_and_how_to_keep_its_numbers(run):
    run.code.unlink()
    assert "What Snakemake made runs again; to keep its numbers" in edits(run, NOW) and "--touch" in edits(run, NOW)
    run.code.write_text("{")  # damaged: a note is no reason to stop
    assert "has no record of its code" in edits(run, NOW)


def test_of_a_copied_folder_nothing_is_promised_to_run_again(run):
    told = edits(run, {**NOW, "baselines/edm.py": "3"}, noted=False)
    assert "baselines/edm.py; Snakemake has no record" in told and "--forceall" in told and "uses it runs" not in told
