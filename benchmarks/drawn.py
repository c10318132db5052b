"""A benchmark's page: `<table>.md`, and its figure as PNG and PDF, from `<table>.csv` of the same folder."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from dpmot.runtime.files import atomic
from paper_figures import _style as style


def main(
    doc: str | None,
    table: str,
    name: str,
    *,
    page: Callable[[pd.DataFrame], str],
    figure: Callable[[pd.DataFrame], Figure],
) -> None:
    """Read the folder of the command line and write the three files there, each as a whole or not at all.

    Args:
        doc: help of the command.
        table: name of the csv file, and of the page, without its ending.
        name: that of the figure.
        page: the rows as Markdown.
        figure: the rows drawn.

    Raises:
        SystemExit: the folder has no such csv file.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("results/reference/laws"))
    folder = parser.parse_args().folder
    if not (folder / f"{table}.csv").is_file():
        parser.error(f"no {table}.csv in {folder}; give the folder that has it")
    rows = pd.read_csv(folder / f"{table}.csv")
    png, pdf = style.encode(figure(rows))
    for file, content in ((f"{table}.md", page(rows).encode()), (f"{name}.png", png), (f"{name}.pdf", pdf)):
        with atomic(folder / file) as temporary:
            temporary.write_bytes(content)
