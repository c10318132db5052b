"""One command line for every table and figure.

``python -m paper_figures.table_1_quality --results results/digits`` reads the results folder, makes the
table or figure in memory, and writes each output whole or not at all, with the job's timings beside them.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dpmot.runtime.files import atomic
from dpmot.runtime.stopwatch import Stopwatch
from paper_figures._results import Results, load


def parser(name: str, doc: str) -> argparse.ArgumentParser:
    """Command line of one table or figure; ``doc`` is its module's docstring."""
    result = argparse.ArgumentParser(
        prog=f"python -m paper_figures.{name}",
        description=doc,
        epilog=f"example:\n  python -m paper_figures.{name} --results results/digits",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument(
        "--results",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="results folder with metrics.csv",
    )
    return result


def run(
    name: str, doc: str, produce: Callable[[Results], Mapping[str, bytes]], arguments: Sequence[str] | None = None
) -> int:
    """Read, make, write, record timings.

    Args:
        name: module and job name, e.g. ``"table_1_quality"``.
        doc: the module's docstring, printed by ``--help``.
        produce: results -> {path below the results folder: file content}.
        arguments: command line, default ``sys.argv[1:]``.

    Returns:
        Exit status: 0, or 1 after one line on standard error.
    """
    folder = parser(name, doc).parse_args(arguments).results
    watch = Stopwatch(name)
    try:
        with watch.io():
            results = load(folder)
        files = produce(results)
        with watch.io():
            for path, content in files.items():
                with atomic(folder / path) as temporary:
                    temporary.write_bytes(content)
        watch.write(folder / "timings")
    except (ValueError, OSError) as error:
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0
