"""A page: one table or figure of the paper, made from a results folder by one file of its own.

``python -m paper_figures.table_1_quality --results results/digits`` reads the results folder, makes the page in
memory, and writes each output whole or not at all, with the job's timings beside them. A page reads metrics.csv,
audit.csv, experiment.json and fingerprint.json; its constant ``READS`` names what else, so that the workflow can wait
for it: "identity", "replicates", "copies", "mixed", "ideal", "coupling" and "trainings" (.csv), "star" (.json), "data"
and "strips" (.safetensors), "samples", "timings" and "fits" (folders), "reported" (published numbers, which come with
the code).
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.runtime.files import atomic
from dpmot.runtime.stopwatch import Stopwatch
from paper_figures._panels import Document
from paper_figures._results import Results, fingerprints, load

NOTES = ("fingerprint.json", "ideal.csv")  # what a new page does without


@dataclass(frozen=True)
class Page:
    """One table or figure.

    Attributes:
        file: its module's ``__file__``; page and job are called like it.
        doc: its module's docstring, printed by ``--help``.
        folder: of the outputs, below the results folder.
        endings: of the name of each output, as ``.md``.
        contents: results -> the content of each output.
        document: results -> a table as it is laid out, for the report; None for figures.
    """

    file: str
    doc: str | None
    folder: str
    endings: tuple[str, ...]
    contents: Callable[[Results], Iterable[bytes]]
    document: Callable[[Results], Document] | None = None

    @property
    def name(self) -> str:
        """As ``table_1_quality``."""
        return Path(self.file).stem

    @property
    def outputs(self) -> tuple[str, ...]:
        """Paths below the results folder."""
        return tuple(f"{self.folder}/{self.name}{ending}" for ending in self.endings)

    @property
    def parser(self) -> argparse.ArgumentParser:
        """The command line."""
        result = argparse.ArgumentParser(
            prog=f"python -m paper_figures.{self.name}",
            description=self.doc,
            epilog=f"example:\n  python -m paper_figures.{self.name} --results results/digits",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        told = "results folder with metrics.csv"
        result.add_argument("--results", type=Path, required=True, metavar="FOLDER", help=told)
        return result

    def produce(self, results: Results) -> dict[str, bytes]:
        """Content of each output."""
        return dict(zip(self.outputs, self.contents(results), strict=True))

    def _gone(self, results: Results) -> list[str]:
        """Files below the results folder whose content the page shows, that a run has, and that are not there."""
        layout = Layout(results.folder)
        gone = [path for path in Jobs(results.experiment, layout).page(self.name).inputs if not path.is_file()]
        names = [path.relative_to(layout.root).as_posix() for path in gone if path.is_relative_to(layout.root)]
        names = [name for name in names if not (name.startswith("timings/") and layout.timings.is_file())]
        return [name for name in names if name not in NOTES]

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Read, make, write, record timings; returns the exit status, 0, or 1 after one line on standard error.

        A page that is there already is kept where files that it shows are gone: it says more than a new one could.
        """
        folder = self.parser.parse_args(arguments).results
        watch = Stopwatch(self.name)
        try:
            with watch.io():
                results = load(folder)
            written = [path for path in self.outputs if (folder / path).is_file()]
            if written and (gone := self._gone(results)):
                told = f"kept {', '.join(written)}: {folder} no longer holds {fingerprints(gone, 3)}, which it shows"
                print(f"{self.name}: {told}; bring these back, or delete the page to make it without", file=sys.stderr)
                return 0
            files = self.produce(results)
            with watch.io():
                for path, content in files.items():
                    with atomic(folder / path) as temporary:
                        temporary.write_bytes(content)
            watch.write(folder / "timings")
        except (ValueError, OSError) as error:
            print(f"{self.name}: {' '.join(str(error).split())}", file=sys.stderr)
            return 1
        return 0
