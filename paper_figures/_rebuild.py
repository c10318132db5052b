"""Committed tables made again from the files beside them, without torch.

``python -m paper_figures._rebuild FOLDER ...``


Of each folder with metrics.csv the tables that are there already are written anew, with both sizes of LaTeX where there
was one. A folder without metrics.csv keeps its pages.
"""

import sys
from pathlib import Path

from dpmot import plugins
from paper_figures._results import load


def rebuild(folder: Path) -> list[Path]:
    """Write the tables of a folder that are there; returns what was written."""
    names, results = {path.name for path in (folder / "tables").glob("*")}, load(folder)
    written = []
    for page in results.experiment.tables:
        if not any(name.startswith(page) for name in names):
            continue
        for path, content in plugins.find("pages", page).PAGE.produce(results).items():
            if Path(path).name.replace("_full.tex", ".tex") in names:
                (folder / path).write_bytes(content)
                written.append(folder / path)
    return written


if __name__ == "__main__":
    for given in map(Path, sys.argv[1:]):
        if (given / "metrics.csv").is_file() and (given / "tables").is_dir():
            print(f"{given}: {len(rebuild(given))} files", flush=True)
