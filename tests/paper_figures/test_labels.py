"""A label is plain text wherever it is printed: in Markdown, LaTeX and CSV, and in figures."""

import csv
import dataclasses
import io
import json
import re
import warnings

import pytest
from edits import BUDGETS, FD, section, write_csv

from paper_figures import (
    _latex,
    _markdown,
    _panels,
    _style,
    _tables,
    figure_3_nfe,
    figure_10_smoothness,
    table_1_quality,
)
from paper_figures._results import load

LABELS = (
    *("Ba$$in", r"a $\foo$ b", "$x$", "cost $5", "_plain", "__x__", "a|b", "50 %", "a_b^c", "#1 & more", "\\", r"\$"),
    *(
        "<b>bold</b>",
        "*star*",
        "a*b*c",
        "na\u00efve \u00c5",
        "`code`",
        "[a](b)",
        "~t~",
        "{brace}",
        "&amp;",
        "sigma_M* $",
    ),
)
# as GitHub prints Markdown: an escaped sign is itself, whatever else marks nothing
MARKS = re.compile(r"(?<!\\)(?:\\\\)*(?:[`$~]|\*(?=\w)|(?<!\w)_(?=\w)|<(?=[a-zA-Z/]))")


@pytest.fixture
def labelled(results_folder):
    """Results of a smoke folder with other labels, of ddim first."""
    results = load(results_folder("smoke"))

    def give(*labels):
        planned = results.experiment.methods
        new = {
            name: planned[name].model_copy(update={"label": label})
            for name, label in zip(planned, labels, strict=False)
        }
        return dataclasses.replace(results, experiment=results.experiment.model_copy(update={"methods": planned | new}))

    return give


def test_a_label_is_one_cell_and_itself_in_every_form_of_a_table(labelled):
    for first in range(0, len(LABELS), 6):  # methods of the folder
        labels = LABELS[first : first + 6]
        files = table_1_quality.PAGE.produce(labelled(*labels))
        markdown, _, latex, table = (content.decode() for content in files.values())
        rows = [line for line in section(markdown, FD) if re.search(r"\| (ddpm|edm) ", line)]
        for label, row in zip(labels, rows, strict=False):
            (cell, *rest) = re.split(r"(?<!\\)\|", row.strip("|"))  # a pipe of the label is escaped
            assert len(rest) == 1 + len(BUDGETS["smoke"]), (label, row)
            assert re.sub(r"\\(?=[^\w\s])", "", cell.strip()).replace("\\", "") == label.replace("\\", ""), label
            assert not MARKS.search(cell.strip()), (label, cell)
            assert f"\\relax {_latex.typeset(label)} & " in latex, label
            assert label in {entry["label"] for entry in csv.DictReader(io.StringIO(table))}


def test_line_ends_and_tabs_of_a_label_are_spaces(labelled):
    for label in ("two\nlines", "two\r\nlines", "two\tlines", "two\u2028lines", " two\x00 lines "):
        assert labelled(label).label("ddim") == "two lines"


def test_latex_keeps_apart_what_it_would_join():
    assert _latex.escape("a--b ``c'' ?` \\") == r"a-{}-b `{}`c'{}' ?{}` \textbackslash{}"


def test_markdown_leaves_readable_what_marks_nothing():
    for text in ("sigma_M*", "p < 0.05", "[0.1, 0.2]", "a_b", "50 %", r"C:\dir"):
        assert _markdown.plain(text) == text
    assert [_markdown.plain(text) for text in ("*a*", "_a_", "<b>", "$x$", r"\*", "&lt;")] == [
        r"\*a*", r"\_a\_", r"\<b>", r"\$x\$", r"\\\*", r"\&lt;",
    ]  # fmt: skip


def test_a_heading_of_a_group_may_end_in_a_star():
    panel = _panels.Panel("p", ("a", "b"), ("DPM-OT, sigma_M*", (_panels.Cell("1"), _panels.Cell("2"))))
    assert r"| *DPM-OT, sigma_M\** |" in _tables.markdown(_panels.Document("t", "c", (panel,), ()))


def test_figures_draw_a_label_as_the_text_it_is_in_the_tables(labelled):
    label = r"Ba$$in $\foo$ _x\ | *y*"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = figure_3_nfe.make(labelled(label))
        assert _style.encode(figure)
    drawn = [text.get_text().replace("\n", " ") for axes in figure.axes for text in axes.texts]
    assert label.replace("$", r"\$") in drawn  # matplotlib draws \$ as the sign


def test_symbols_stand_in_labels_without_signs_of_mathematics_only():
    assert _style.symbols("DPM-OT, sigma_M*") == r"DPM-OT, $\sigma_M^*$"
    assert _style.symbols("sigma_M* for $5") == r"sigma_M* for \$5" and _style.symbols(r"\sigma_M") == r"\sigma_M"


def test_a_long_label_is_cut_in_figures_and_leaves_room_for_the_panels(labelled):
    assert _style.symbols("x" * 200) == "x" * 59 + "…"
    for count in (1, 2, 3, 12):
        places = _style.room(count, ["x" * 200])
        assert 0 < places["left"] < places["right"] < 1 and places["wspace"] < 10
    texts = [text.get_text() for axes in figure_3_nfe.make(labelled("y" * 200)).axes for text in axes.texts]
    assert {text.replace("\n", "") for text in texts if "yy" in text} == {"y" * 59 + "…"}


def test_a_figure_names_methods_whose_label_begins_with_an_underscore(results_folder):
    folder = results_folder("smoke")
    common = {"network": "ddpm", "start": "transport", "sampler": "ddim", "sigma_start": 1, "nfe_counted": 10}
    values = {"value": 0.2, "low": 0.1, "high": 0.3, "num_noises": 400, "fingerprint": "17cafe"}
    moved = [(quantity, e) for quantity in ("cell_changes", "sample_distance") for e in (0.1, 1.0)]
    write_csv(
        folder / "coupling.csv",
        [common | values | {"method": "dpm_ot_ddim", "quantity": quantity, "move": e} for quantity, e in moved],
    )
    plan = json.loads((folder / "experiment.json").read_text())
    plan["methods"]["dpm_ot_ddim"]["label"] = "_plain"
    (folder / "experiment.json").write_text(json.dumps(plan))
    right = figure_10_smoothness.make(load(folder)).axes[1]
    assert [text.get_text() for text in right.texts] == ["_plain"]
