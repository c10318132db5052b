"""What LaTeX and Markdown do with a table, and what every table says."""

import dataclasses
import re

import pytest
from edits import BUDGETS, FD, section

from paper_figures import (
    _latex,
    _tables,
    table_1_quality,
    table_2_mode_mixture,
    table_3_identity,
    table_4_distribution,
    table_5_differences,
    table_9_published_path,
)
from paper_figures._panels import Cell, Document, Panel
from paper_figures._results import load

NOTE = "CIFAR-10; cifar10.npz: 111 of 60000 images are JPEG copies, not the authors' pixels"


def test_every_table_states_n_seeds_and_fingerprint_in_markdown_and_latex(digits_folder):
    results = load(digits_folder)
    for module in (table_1_quality, table_2_mode_mixture):
        files = module.PAGE.produce(results)
        for ending in (".md", "_full.tex"):
            text = files[f"tables/{module.PAGE.name}{ending}"].decode()
            assert "n = 1500 samples a cell, pooled over 3 sample seeds" in text
            assert "3f9a1c0de5b2774a" in text


def test_latex_escapes_every_special_character():
    text = _latex.escape(r"a_b & 50 % #1 $x$ {y} ~ ^ \z <|> – †")
    assert text == (
        r"a\_b \& 50 \% \#1 \$x\$ \{y\} \textasciitilde{} \textasciicircum{} \textbackslash{}z "
        r"\textless{}\textbar{}\textgreater{} -- $^{\dagger}$"
    )


def test_a_latex_table_is_balanced_and_has_as_many_cells_in_each_row_as_columns(digits_folder):
    results = load(digits_folder)
    for module in (table_1_quality, table_2_mode_mixture, table_3_identity):
        files = module.PAGE.produce(results)
        for ending, kind in ((".tex", "tabular*"), ("_full.tex", "longtable")):
            text = files[f"tables/{module.PAGE.name}{ending}"].decode()
            assert text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")
            assert text.isascii()
            assert not re.search(r"(?<!\\)_(?!M)", re.sub(r"\\label\{[^}]*\}|^%.*$", "", text, flags=re.M))
            assert text.count(f"\\begin{{{kind}}}") == text.count(r"\bottomrule") > 0
            for body in re.findall(rf"\\begin{{{re.escape(kind)}}}(.*?)\\end{{{re.escape(kind)}}}", text, re.S):
                head = next(line for line in body.splitlines() if " & " in line)
                rows = [line for line in body.splitlines() if line.startswith(r"\relax ")]
                assert rows
                assert {row.count(" & ") for row in rows} == {head.count(" & ")}


def test_a_bold_cell_keeps_its_marks_outside_in_both_formats():
    cell = Cell("1.0", bold=True, marks=("‡", "(2)"))
    panel = Panel("p", ("a",), ((cell,),))
    document = Document("t", "c", (panel,), ())
    assert "**1.0** ‡ (2)" in _tables.markdown(document)
    assert r"\textbf{1.0}$^{\ddagger}$$^{\mathrm{(2)}}$" in _latex.full(document, "d")


def test_markdown_columns_line_up_when_read_raw(digits_folder):
    results = load(digits_folder)
    text = _tables.markdown(table_1_quality.layout(table_1_quality.make(results), results))
    lines = [line for line in section(text, FD) if line.startswith("|")]
    assert len(lines) == 2 + 17 + 4  # header and rule, methods, groups
    assert len({len(line) for line in lines}) == 1


def test_a_pipe_in_a_label_does_not_break_the_markdown_row(results_folder):
    results = load(results_folder("smoke"))
    methods = {**results.experiment.methods, "ddim": results.experiment.methods["ddim"].but(label="a|b")}
    results = dataclasses.replace(results, experiment=results.experiment.but(methods=methods))
    text = _tables.markdown(table_1_quality.layout(table_1_quality.make(results), results))
    line = next(line for line in section(text, FD) if "a\\|b" in line)
    assert len(re.findall(r"(?<!\\)\|", line)) == 2 + 2 + len(BUDGETS["smoke"]) - 1


@pytest.mark.parametrize(
    "page",
    [table_1_quality, table_2_mode_mixture, table_3_identity, table_4_distribution, table_5_differences,
     table_9_published_path],
    ids=lambda module: module.PAGE.name,
)  # fmt: skip
def test_every_table_says_how_exact_its_data_are(page, results_folder):
    folder = results_folder("smoke")
    (folder / "fingerprint.json").write_text(f'{{"data": {{"note": "{NOTE}"}}}}')
    markdown, _, latex, _ = page.PAGE.produce(load(folder)).values()
    assert f"Data set digits ({NOTE}); " in markdown.decode() and "111 of 60000 images" in latex.decode()
