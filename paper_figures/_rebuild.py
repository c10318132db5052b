"""Committed tables and figures made again from the files beside them, without torch.

``python -m paper_figures._rebuild FOLDER ...``, as many folders at once as there are processors.

Of each folder with metrics.csv the tables that are there already are written anew, with both sizes of LaTeX where there
was one, and, as PNG and PDF, the figures that show nothing but these files: no samples, data or strips, which are not
committed. A folder without metrics.csv keeps its pages.
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from dpmot import plugins
from dpmot.runtime.packed import stored
from paper_figures._results import Results, load

UNCOMMITTED = {"samples", "data", "strips"}


def rebuild(folder: Path) -> list[Path]:
    """Write the tables and figures of a folder that are there; returns what was written."""
    results, written = load(folder), []
    for name in (*results.experiment.tables, *drawn(results)):
        page = plugins.find("pages", name).PAGE
        names = {path.name for path in (folder / page.folder).glob(f"{name}*")}
        if not names:
            continue
        for path, content in page.produce(results).items():
            if page.folder == "figures" or Path(path).name.replace("_full.tex", ".tex") in names:
                (folder / path).write_bytes(content)
                written.append(folder / path)
    return written


def drawn(results: Results) -> list[str]:
    """The figures of an experiment that are drawn from committed files alone."""
    reads: dict[str, Any] = {
        name: plugins.constant("pages", name, "READS") or () for name in results.experiment.figures
    }
    return [name for name, asked in reads.items() if not UNCOMMITTED & set(asked)]


if __name__ == "__main__":
    folders = [one for one in map(Path, sys.argv[1:]) if stored(one / "metrics.csv").is_file()]
    folders = [one for one in folders if (one / "tables").is_dir()]
    folders.sort(key=lambda one: -stored(one / "metrics.csv").stat().st_size)  # what takes longest begins first
    with ProcessPoolExecutor() as pool:
        for folder, files in zip(folders, pool.map(rebuild, folders), strict=True):
            print(f"{folder}: {len(files)} files", flush=True)
