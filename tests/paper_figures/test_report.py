"""report.html: one file that needs nothing else, in which whatever is shown has a name, and whatever is not is told."""

import io
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from dpmot import plugins
from dpmot.plugins import ROOT
from paper_figures import _report
from paper_figures import _report_facts as facts
from paper_figures._panels import Cell, Panel
from paper_figures._results import load

HOSTILE = '<script>alert("x")</script><img src=x> & </td>'
VOID = {"meta", "link", "img", "rect"}


class Page(HTMLParser):
    """The tags of a page with their attributes and texts, and whether each one is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.texts = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, *names):
        return [attributes for tag, attributes in self.tags if tag in names]


def noise(size):
    """A PNG that does not compress."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(smoke_folder):
    """A results folder of a few methods, one with a hostile label, with one figure and the files of three tables."""
    folder = smoke_folder()
    plan = json.loads((folder / "experiment.json").read_text())
    plan["methods"]["ddim"]["label"] = HOSTILE
    plan["tables"] = ["table_1_quality", "table_2_mode_mixture", "table_5_differences"]
    plan["figures"] = ["figure_3_nfe", "figure_4_mode_mixture"]
    (folder / "experiment.json").write_text(json.dumps(plan))
    for name in plan["tables"][:2]:
        for path in plugins.find("pages", name).PAGE.outputs:
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text("")
    (folder / "figures").mkdir()
    (folder / "figures" / "figure_3_nfe.png").write_bytes(noise(300))
    head = "job,startup_s,arithmetic_s,io_s,wall_s,peak_mb,images_per_s\n"
    jobs = "".join(f"sample_{k},1,{k},0,{k + 0.5},100,\n" for k in range(30))
    (folder / "timings.csv").write_text(head + jobs)
    return folder


@pytest.fixture(scope="module")
def text(folder):
    return _report.html(load(folder), folder)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_it_needs_no_other_file_and_its_links_lead_somewhere(page, folder, text):
    assert len(text.encode()) <= _report.MOST
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    assert not [script for script in page.all("script", "iframe") if "src" in script]
    assert [link["rel"] for link in page.all("link")] == ["icon"]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        target = link["href"]
        assert target[1:] in ids if target.startswith("#") else (folder / target).is_file(), target
    assert {"tables/table_1_quality.csv", "tables/table_1_quality_full.tex"} <= {link["href"] for link in page.all("a")}


def test_whatever_is_shown_has_a_name_for_whoever_does_not_see_it(page):
    assert page.all("html")[0]["lang"] == "en" and page.all("title")
    assert len(page.all("img")) == 1 and "Figure 3" in page.all("img")[0]["alt"]
    chart = page.all("svg")
    assert len(chart) == facts.LONGEST + 1 and all(one["aria-label"] for one in chart)
    regions = [attributes for _, attributes in page.tags if "tabindex" in attributes]
    assert regions and all(one["role"] == "region" and one["aria-label"] for one in regions)
    assert all(head.get("scope") in ("col", "row", "rowgroup") for head in page.all("th"))
    assert len(page.all("details")) == len(page.all("summary"))


def test_a_label_is_text_whatever_it_holds(page, text):
    assert HOSTILE in "".join(page.texts) and len(page.all("script")) == 1
    assert "<script>alert" not in text and "<img src=x>" not in text


def test_numbers_can_be_sorted_by_their_value_not_by_their_digits(page):
    values = [float(cell["data-v"]) for cell in page.all("td") if "data-v" in cell]
    assert len(values) > 50 and np.isfinite(values).all()
    assert len([table for table in page.all("table") if table.get("class", "").startswith("sortable")]) >= 3


def test_rows_stay_under_their_heading():
    row, other = (Cell("a"),), (Cell("b"),)
    found = _report.blocks(Panel("t", ("x",), (row, "Rivals", other, row, "Nobody")))
    assert [(block.heading, block.rows) for block in found] == [("", (row,)), ("Rivals", (other, row))]


def test_what_is_not_there_is_told_with_its_reason(folder):
    told = {why: names for names, why in facts.absent(load(folder))}
    assert told["this folder does not hold these pages"] == "figure_4_mode_mixture, table_5_differences"
    assert "table_6_singular_set, table_7_coupling" in told["the configuration does not name these pages"]


def test_the_longest_jobs_have_bars_and_the_others_are_one(folder):
    bars = facts.bars(load(folder))
    assert bars[0].job == "sample_29" and bars[0].seconds == "29.5" and bars[-1].job == "10 other jobs"
    assert max(bar.share for bar in bars) == 100 and bars[-1].seconds == "50.0"


def test_figures_become_smaller_until_the_file_is_small_enough_and_then_links(folder, text):
    results = load(folder)
    tables = len(text.encode()) - len(_report._embedded(noise(300), None))
    smaller = _report.html(results, folder, most=len(text.encode()) - 1000)
    assert tables < len(smaller.encode()) < len(text.encode()) and "data:image/png" in smaller
    without = _report.html(results, folder, most=1)
    assert "data:image/png" not in without and "too large to lie in this file" in without


def test_one_folder_gives_one_file_and_no_folder_one_line(folder, tmp_path, capsys):
    for name in ("a.html", "b.html"):
        assert _report.main(["--results", str(folder), "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert "a.html: 0." in capsys.readouterr().out
    assert _report.main(["--results", str(tmp_path)]) == 1
    assert "metrics.csv does not exist; run the experiment first" in capsys.readouterr().err


def test_what_is_said_of_the_best_and_of_sigma_star_says_what_its_interval_is_over(smoke_folder):
    folder = smoke_folder()
    star = json.loads((ROOT / "results" / "reference" / "digits" / "star.json").read_text())
    star["rows"] = [{"sigma": star["sigma"], "recovery": [0.05, 0.03, 0.07]}]
    (folder / "star.json").write_text(json.dumps(star))
    results = load(folder)
    assert facts.best(results).told.endswith(" 95 % intervals over samples of one network.")
    (told,) = [one for one in facts.verdict(results) if one.startswith("sigma_M*")]
    assert "there 0.050 [0.030, 0.070] (95 % interval over samples of one network)." in told
