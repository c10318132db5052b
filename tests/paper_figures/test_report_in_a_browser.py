"""report.html in headless Chromium: fits a desk and a phone, says nothing to the console, sorts, prints."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from paper_figures import _report
from paper_figures._results import load

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason=f"no browser here: none of {', '.join(NAMES)} is on the PATH"),
]
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr")
ASKED = """<script>addEventListener("load", () => {
  const root = document.documentElement, button = document.querySelector("th:nth-child(3) button");
  button.click();
  const values = [...button.closest("table").tBodies].map((body) =>
    [...body.querySelectorAll("td:nth-child(3)")].filter((one) => "v" in one.dataset).map((one) => +one.dataset.v));
  const sorted = values.every((body) => body.every((value, k) => k === 0 || body[k - 1] <= value));
  const unnamed = [...document.querySelectorAll("button, a, summary")].filter((one) =>
    !(one.textContent.trim() || one.ariaLabel)).length;
  document.title = `wide ${root.scrollWidth} of ${innerWidth}; sorted ${sorted} ${button.closest("th").ariaSort};` +
    ` unnamed ${unnamed}`;
});</script></body>"""


@pytest.fixture(scope="module")
def report(smoke_folder):
    folder = smoke_folder()
    (folder / "tables").mkdir()
    (folder / "tables" / "table_1_quality.csv").write_text("")
    file = folder / "report.html"
    file.write_text(_report.html(load(folder), folder), encoding="utf-8")
    return file


def browse(file, *flags):
    """The browser's output and what it said to the console."""
    command = [BROWSER, *FLAGS, *flags, file.as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return run.stdout, re.findall(r".*CONSOLE.*", run.stderr)


def picture(file, width):
    """A screenshot as an array."""
    shot = file.with_name(f"{file.stem}_{width}.png")
    browse(file, f"--window-size={width},2000", f"--screenshot={shot}")
    return np.asarray(Image.open(shot).convert("L"), dtype=float)


@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_sorts_names_its_controls_and_is_quiet(report, width):
    asking = report.with_name("asking.html")
    asking.write_text(report.read_text(encoding="utf-8").replace("</body>", ASKED), encoding="utf-8")
    out, console = browse(asking, f"--window-size={width},900", "--dump-dom")
    told = re.search(r"<title>(.*?)</title>", out)[1]
    wide, screen = map(int, re.match(r"wide (\d+) of (\d+)", told).groups())
    assert wide <= screen, told
    assert told.endswith("sorted true ascending; unnamed 0") and console == []


@pytest.mark.parametrize("width", [1280, 390])
def test_it_looks_the_same_without_javascript(report, width):
    bare = report.with_name("bare.html")  # with scripts switched off, headless Chromium takes no screenshot
    bare.write_text(re.sub(r"<script>.*?</script>", "", report.read_text(encoding="utf-8"), flags=re.S), "utf-8")
    with_script, without = picture(report, width), picture(bare, width)
    assert with_script.shape == without.shape and with_script.std() > 10  # not one colour
    assert (abs(with_script - without) > 32).mean() < 0.01  # headings are buttons in the one: a pixel here and there


def test_it_prints(report):
    pdf = report.with_name("report.pdf")
    _, console = browse(report, "--no-pdf-header-footer", f"--print-to-pdf={pdf}")
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf.read_bytes()))
    assert console == [] and 1 <= pages <= 40
    if shutil.which("pdftotext"):
        text = subprocess.run(["pdftotext", pdf, "-"], capture_output=True, text=True, check=True).stdout
        assert "Verdict" in text and "resolved configuration" in text
