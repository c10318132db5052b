"""The command line of every table and figure: help, outputs, timings, faults, and no torch."""

import ast
import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from edits import read_csv, write_csv

import paper_figures
from dpmot import plugins

FOLDER = Path(paper_figures.__file__).parent
NAMES = plugins.names("pages")


def command(name, *arguments):
    """Run one module's ``main`` here: its exit status."""
    return import_module(f"paper_figures.{name}").PAGE.main([str(argument) for argument in arguments])


def test_all_tables_and_figures_of_the_paper_are_here():
    assert NAMES == [
        "figure_10_smoothness", "figure_11_published_path", "figure_12_frontier", "figure_15_before_after",
        "figure_1_expressway", "figure_2_samples", "figure_3_nfe", "figure_4_mode_mixture", "figure_5_mixed",
        "figure_7_neighbours", "figure_8_sigma_sweep", "figure_9_interpolation",
        "table_10_coupling", "table_12_speed", "table_13_memory", "table_14_trainings", "table_1_quality",
        "table_2_mode_mixture", "table_3_identity", "table_4_distribution", "table_5_differences",
        "table_6_singular_set", "table_7_coupling", "table_8_break_even", "table_9_published_path",
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_help_describes_the_module_and_shows_an_example_that_parses(name, capsys):
    with pytest.raises(SystemExit) as stop:
        command(name, "--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    module = import_module(f"paper_figures.{name}")
    assert module.__doc__.splitlines()[0] in text
    example = f"python -m paper_figures.{name} --results results/digits"
    assert example in text
    assert module.PAGE.parser.parse_args(example.split()[3:]).results == Path("results/digits")


@pytest.mark.parametrize("name", NAMES)
def test_a_command_writes_its_outputs_and_timings_and_nothing_else(name, results_folder):
    folder = results_folder("smoke")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert command(name, "--results", folder) == 0
    after = {path for path in folder.rglob("*") if path.is_file()} - set(before)
    assert all(path.read_bytes() == content for path, content in before.items())
    outputs = import_module(f"paper_figures.{name}").PAGE.outputs
    assert after == {folder / path for path in (*outputs, f"timings/{name}.json")}
    assert all((folder / path).stat().st_size > 0 for path in outputs)
    timings = json.loads((folder / "timings" / f"{name}.json").read_text())
    assert timings["job"] == name
    assert timings["arithmetic_s"] == 0
    assert 0 < timings["io_s"] < timings["wall_s"]


def test_a_module_runs_as_a_process_of_its_own_without_torch_or_pyplot(results_folder):
    folder = results_folder("smoke")
    heavy = ("torch", "matplotlib.pyplot", "sklearn")
    code = (
        "import runpy, sys; sys.argv = ['x', '--results', sys.argv[1]]\n"
        "try: runpy.run_module('paper_figures.figure_3_nfe', run_name='__main__')\n"
        "except SystemExit as stop: assert stop.code == 0, stop.code\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": str(FOLDER.parent)}
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")


def test_no_module_here_imports_torch():
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"torch", "sklearn"}, path.name


def fails(capsys, folder, name="table_1_quality"):
    """The one line that a failing command prints."""
    assert command(name, "--results", folder) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_without_metrics_stops_with_one_line(name, tmp_path, capsys):
    message = fails(capsys, tmp_path / "nothing", name)
    assert message.startswith(f"{name}: ")
    assert "metrics.csv does not exist; run the experiment first, or check --results" in message
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(("file", "column"), [("metrics.csv", "reference"), ("audit.csv", "ranked")])
def test_a_missing_column_is_named(file, column, results_folder, capsys):
    folder = results_folder("smoke")
    rows = read_csv(folder / file)
    for row in rows:
        del row[column]
    write_csv(folder / file, rows)
    message = fails(capsys, folder)
    assert f"{file} lacks the column {column}; it needs" in message
    assert not (folder / "tables").exists()


def test_a_number_that_is_none_is_refused(results_folder, capsys):
    folder = results_folder("smoke")
    rows = read_csv(folder / "metrics.csv")
    rows[0]["value"] = "many"
    write_csv(folder / "metrics.csv", rows)
    assert "column value" in fails(capsys, folder)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("metrics.csv", "", "metrics.csv is no readable CSV file"),
        ("experiment.json", "{", "experiment.json is no readable JSON file"),
        ("experiment.json", "[]", "experiment.json must hold one JSON object, got list"),
        ("experiment.json", '{"methods": {}}', 'experiment.json: config: the key "experiment" is missing'),
        (
            "audit.csv",
            "method,nfe_budget,sigma_start,verdict,ranked,reasons\nddim,5,,,yes,\n",
            'column ranked: found "yes"',
        ),
    ],
)
def test_a_malformed_file_stops_with_one_line(file, content, words, results_folder, capsys):
    folder = results_folder("smoke")
    (folder / file).write_text(content)
    assert words in fails(capsys, folder)


def test_a_damaged_samples_file_stops_with_one_line_and_leaves_old_outputs_alone(results_folder, capsys):
    folder = results_folder("smoke")
    assert command("figure_2_samples", "--results", folder) == 0
    output = folder / "figures" / "figure_2_samples.png"
    old = output.read_bytes()
    samples = folder / "samples" / "ddim.safetensors"
    samples.write_bytes(samples.read_bytes()[:100])
    assert "ddim.safetensors" in fails(capsys, folder, "figure_2_samples")
    assert output.read_bytes() == old
    assert sorted(path.name for path in output.parent.iterdir()) == ["figure_2_samples.pdf", "figure_2_samples.png"]
