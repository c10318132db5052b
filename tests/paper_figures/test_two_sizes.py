"""A table in two sizes: what a headline holds, that both sizes fit their page, and which digits are printed."""

import dataclasses
import re
import shutil
import subprocess
from math import nan

import pytest
from edits import setting

from dpmot import plugins
from dpmot.experiment.checks import parsed
from paper_figures import _headline, _latex, _widths, table_1_quality
from paper_figures._latex import PAGE
from paper_figures._numbers import Number
from paper_figures._results import load

TABLES = [name for name in plugins.names("pages") if name.startswith("table_")]
COMMITTED = sorted(folder.parent for folder in (plugins.ROOT / "results" / "reference").glob("*/tables"))
ARTICLE = r"""\documentclass[twocolumn,a4paper]{article}
\usepackage{booktabs,siunitx,threeparttable,longtable}
\begin{document}
%s
\end{document}
"""


@pytest.fixture(scope="module")
def documents(tmp_path_factory, request):
    """Every table of a folder with many methods, laid out."""
    results = load(request.getfixturevalue("digits_folder"))
    modules = [plugins.find("pages", name) for name in TABLES]
    return {module.PAGE.name: module.layout(module.make(results), results) for module in modules}


@pytest.mark.parametrize(
    ("number", "text", "short"),
    [
        (Number(21.9, 20.1, 23.7), "21.9 [20.1, 23.7]", "21.9 ± 1.8"),
        (Number(0.0035, -0.7158, 0.7229), "0.00 [−0.72, 0.72]", "0.00 ± 0.72"),
        (Number(1387.18, 1375.37, 1399.0), "1387 [1375, 1399]", "1387 ± 12"),
        (Number(812.7, 640.0, 985.0), "810 [640, 980]", "810 ± 170"),  # 985 is even further from 990 in binary
        (Number(0.9, 0.8004, 0.9996), "0.90 [0.80, 1.00]", "0.90 ± 0.10"),  # a half-width that rounds up
        (Number(2.5, nan, nan), "2.50 [n/a]", "2.50"),
        (Number(4.0, 4.0, 4.0, 3), "4.000 [4.000, 4.000]", "4.000 ± 0.000"),  # exact: the metric's decimals
        (Number(-3.0, -4.0, -2.0), "−3.0 [−4.0, −2.0]", "−3.0 ± 1.0"),
        (Number(231234.0, 230000.0, 232468.0), "2.31e5 [2.30e5, 2.32e5]", "2.31e5"),
    ],
)
def test_two_digits_of_the_half_width_decide_the_digits(number, text, short):
    assert (number.text, number.short) == (text, short)


def test_an_uneven_interval_is_written_out_in_the_supplement_and_half_its_width_in_the_headline():
    even, uneven = Number(0.5, 0.4, 0.6), Number(0.99, 0.90, 1.0)
    assert even.even and not uneven.even
    cells = [_latex.Cell(number.text, number=number) for number in (even, uneven)]
    supplement = [_latex._column("x", cells, uneven=True).set(cell) for cell in cells]
    headline = [_latex._column("x", cells, uneven=False).set(cell) for cell in cells]
    assert supplement == ["0.50 +- 0.10", "{0.990 [0.900, 1.000]}"] and headline[1] == "0.990 +- 0.050"


def test_a_column_leaves_room_for_its_widest_mark():
    cells = [_latex.Cell("1.0", marks=marks, number=Number(1.0, 0.9, 1.1)) for marks in (("†",), ("¶",))]
    assert r"table-space-text-post={$^{\P}$}" in _latex._column("x", cells, uneven=False).spec


def test_a_headline_has_at_most_ten_rows_fits_its_page_and_notes_of_at_most_two_lines(documents):
    shown = {name: document.headline for name, document in documents.items() if document.headline}
    assert {"table_1_quality", "table_2_mode_mixture", "table_3_identity", "table_8_break_even"} <= set(shown)
    for name, panel in shown.items():
        assert 0 < len(panel.rows) <= 10, name
        assert _latex.fits(panel), name
        assert all(_widths.width(note) <= 1.9 * PAGE for note in panel.notes), name  # lines are ragged


def test_every_part_of_a_supplement_fits_its_page(documents):
    for name, document in documents.items():
        for panel in filter(lambda one: one.rows, (*document.panels, *document.latex_panels)):
            for part, columns in _latex._parts(panel, uneven=True):
                assert len(part.header) == len(columns) > panel.heads, name
                assert sum(column.points + _latex.GAP for column in columns) <= PAGE, (name, panel.title)


def test_a_cell_holds_one_quantity(documents):
    for name, document in documents.items():
        cells = [cell for panel in document.panels for row in panel.rows if not isinstance(row, str) for cell in row]
        assert not [cell.text for cell in cells if " / " in cell.text], name


def test_a_caption_has_no_number_of_its_own_and_signs_are_mathematics(documents):
    for name, document in documents.items():
        for text in (_latex.headline(document, name), _latex.full(document, name)):
            assert text.isascii() and not re.search(r"\\caption\{(\\textbf\{[^}]*\} )?Table", text), name
            assert r"sigma\_M" not in text
    assert r"$\sigma_M^*$" in _latex.full(documents["table_1_quality"], "table_1_quality")


def test_the_rule_takes_the_best_ranked_at_each_budget_and_of_every_group_without_looking_at_names(digits_folder):
    results = load(digits_folder)
    cells = table_1_quality.Comparison(table_1_quality.make(results), results)
    rows = _headline.competing(cells, "fd_classifier", "test")
    chosen = _headline.chosen(results, rows)
    best = rows[rows["ranked"].astype(bool)].sort_values("value").groupby("nfe_budget")["method"].first()
    assert set(best) <= set(chosen) and len(chosen) == 10
    assert {results.group(method) for method in chosen} == {results.group(method) for method in rows["method"]}
    other = {name: f"m{index}" for index, name in enumerate(reversed(results.methods))}
    methods = {other[name]: method for name, method in results.experiment.methods.items()}
    renamed = dataclasses.replace(results, experiment=results.experiment.model_copy(update={"methods": methods}))
    again = _headline.chosen(renamed, rows.assign(method=rows["method"].map(other)))
    assert again == [other[name] for name in chosen]


def test_the_configuration_may_name_the_rows(results_folder):
    folder = results_folder("smoke")
    results = load(folder)
    named = results.experiment.but(headline=("copy", "ddim"))
    assert named.written()["headline"] == ["copy", "ddim"] and "headline" not in results.experiment.written()
    assert named.scientific() == results.experiment.scientific()
    results = dataclasses.replace(results, experiment=named)
    panel = table_1_quality.layout(table_1_quality.make(results), results).headline
    assert [row[0].text for row in panel.rows] == ["Copy (DDPM, DDIM)", "DDIM"]
    assert panel.notes[-1] == _headline.CHOSEN


def test_a_headline_of_an_unknown_method_is_refused(results_folder):
    whole = load(results_folder("smoke")).experiment.written()
    with pytest.raises(ValueError, match=r'headline: no method "dddim" here: .*ddim'):
        parsed(whole | {"headline": ["dddim"]})
    with pytest.raises(ValueError, match="headline"):
        parsed(whole | {"headline": [f"m{k}" for k in range(11)]})


def test_a_table_with_nothing_measured_compiles_to_nothing_and_says_so(results_folder):
    results = setting(results_folder("smoke"), {"value": "", "low": "", "high": ""}, metric="fd_classifier")
    document = table_1_quality.layout(table_1_quality.make(results), results)
    assert document.headline is None and "% nothing to show" in _latex.headline(document, "t")


@pytest.mark.slow
@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_committed_tables_equal_their_rebuild(folder):
    results, found = load(folder), sorted(path.name for path in (folder / "tables").iterdir())
    made = {}
    for name in results.experiment.tables:
        made |= plugins.find("pages", name).PAGE.produce(results)
    for name in found:
        assert made[f"tables/{name}"] == (folder / "tables" / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_both_sizes_compile_in_a_two_column_article_without_an_overfull_box(folder, tmp_path):
    for path in sorted((folder / "tables").glob("*.tex")):
        body = (r"\onecolumn " if path.stem.endswith("_full") else "") + path.read_text()
        (tmp_path / "page.tex").write_text(ARTICLE % body)
        command = ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert run.returncode == 0, f"{path}: {run.stdout[-2000:]}"
        log = (tmp_path / "page.log").read_text(errors="replace")
        assert not re.findall(r"^Overfull \\hbox.*", log, re.M), path
