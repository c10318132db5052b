"""A finished results folder as one file for a browser: ``report.html``, which needs no network and no other file.

``python -m paper_figures._report --results results/digits`` writes ``results/digits/report.html``: the verdict, what
ran on what, what was not run and why, every table (sortable) and figure with its caption, and where the time went.
Tables are made from metrics.csv, as the pages are; figures are those in ``figures/``. It reads without JavaScript, on
a phone, in print and by keyboard.
"""

import argparse
import base64
import io
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import jinja2
from PIL import Image

from dpmot import plugins
from dpmot.runtime.files import atomic
from paper_figures import _report_facts
from paper_figures._page import Page
from paper_figures._panels import Cell, Document, Panel
from paper_figures._results import Results, load

TEMPLATES = Path(__file__).with_name("report")
MOST = 2_000_000  # bytes of a report
WIDTHS = (None, 1600, 1200, 900, 600)  # pixels of a figure, tried in this order until the report is small enough


@dataclass(frozen=True)
class Block:
    """Rows of a table under one heading, "" for none: sorting stays inside."""

    heading: str
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Section:
    """One page as the report shows it.

    Attributes:
        name: as ``table_1_quality``.
        title: its heading.
        caption: what it shows.
        document: a table; None for a figure.
        image: a figure as PNG; b"" for a table.
        links: (ending, path) of its files, as seen from the report.
    """

    name: str
    title: str
    caption: str
    document: Document | None
    image: bytes
    links: tuple[tuple[str, str], ...]

    @property
    def alternative(self) -> str:
        """What the figure shows, for whoever does not see it."""
        return f"{self.title}; the caption below describes it."


def plain(told: str) -> str:
    """A docstring without its marks."""
    return " ".join(re.sub(r":\w+:|[`*~]", "", told).split())


def blocks(panel: Panel) -> list[Block]:
    """The rows of a panel, parted at its headings."""
    found: list[tuple[str, list[tuple[Cell, ...]]]] = [("", [])]
    for row in panel.rows:
        if isinstance(row, str):
            found.append((row, []))
        else:
            found[-1][1].append(row)
    return [Block(heading, tuple(rows)) for heading, rows in found if rows]


def sections(results: Results, home: Path) -> list[Section]:
    """The tables and figures of the configuration that the folder holds; ``home`` is where the report will lie."""
    plan, found = results.experiment, list[Section]()
    for name in (*plan.tables, *plan.figures):
        page: Page = plugins.find("pages", name).PAGE
        there = [path for path in page.outputs if (results.folder / path).is_file()]
        if not there:
            continue  # told among what was not run
        links = tuple((path.partition(".")[2], os.path.relpath(results.folder / path, home)) for path in there)
        links = tuple((f"full {kind}" if "_full." in path else kind, path.replace(os.sep, "/")) for kind, path in links)
        if page.document is not None:
            made = page.document(results)
            found.append(Section(name, made.title, made.caption, made, b"", links))
        elif there[0].endswith(".png"):
            title, _, told = (page.doc or name).strip().partition("\n")
            image = (results.folder / there[0]).read_bytes()
            found.append(Section(name, title.rstrip("."), plain(told), None, image, links))
    return found


def html(results: Results, home: Path, *, most: int = MOST) -> str:
    """The report, at most ``most`` bytes: figures become smaller until it fits, then they are links."""
    pages, text = sections(results, home), ""
    for width in (*WIDTHS, 0):
        text = _rendered(results, pages, width)
        if len(text.encode()) <= most:
            break
    return text


def _rendered(results: Results, pages: Sequence[Section], width: int | None) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    shown = {page.name: "" if width == 0 else _embedded(page.image, width) for page in pages if page.image}
    return environment.get_template("report.html").render(
        name=results.experiment.experiment,
        warning=results.warning,
        best=_report_facts.best(results),
        verdict=_report_facts.verdict(results),
        ran=_report_facts.ran(results),
        absent=_report_facts.absent(results),
        pages=pages,
        images=shown,
        bars=_report_facts.bars(results),
        config=(results.folder / "experiment.json").read_text(encoding="utf-8"),
        style=(TEMPLATES / "style.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "sort.js").read_text(encoding="utf-8"),
        blocks=blocks,
        isfinite=isfinite,
    )


def _embedded(png: bytes, width: int | None) -> str:
    """A PNG as a data address, scaled down and with 256 colours where ``width`` is given."""
    if width is not None:
        with Image.open(io.BytesIO(png)) as image:
            small = image.convert("RGB")
            small.thumbnail((width, 10 * width))
            buffer = io.BytesIO()
            small.quantize(256).save(buffer, "PNG", optimize=True)
        png = min(png, buffer.getvalue(), key=len)
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report; exit status 0, or 1 after one line on standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m paper_figures._report",
        description=__doc__,
        epilog="example:\n  python -m paper_figures._report --results results/digits",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--results", type=Path, required=True, metavar="FOLDER", help="results folder with metrics.csv")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the report (default FOLDER/report.html)")
    options = parser.parse_args(arguments)
    out = options.out or options.results / "report.html"
    try:
        text = html(load(options.results), out.parent)
        with atomic(out) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except (ValueError, OSError) as error:
        print(f"report: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    size = len(text.encode())
    told = f", more than {MOST / 1e6:g} MB: its tables alone are that long" if size > MOST else ""
    print(f"{out}: {size / 1e6:.2f} MB{told}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
