"""What a run says at its end: where its results are, the headline of its first table, how long it took."""

from collections.abc import Iterator
from pathlib import Path

from dpmot import plugins
from dpmot.experiment.layout import Layout
from dpmot.experiment.plan import Experiment
from dpmot.monitor import tables
from dpmot.monitor.forecast import duration


def finished(given: Experiment, layout: Layout, seconds: float) -> str:
    """After a run whose jobs all succeeded."""
    if not (layout.root / "metrics.csv").is_file():  # a target before measuring was asked for
        return f"\n{given.experiment}: finished in {duration(seconds)}; what was asked for is in {layout.root}"
    lines = [
        f"{given.experiment}: finished in {duration(seconds)}; tables, figures and metrics.csv are in {layout.root}"
    ]
    for path in sorted((layout.root / "tables").glob("table_1_*.csv"))[:1]:
        lines += _headline(path)
    lines += left_out(given)
    told = f"dpmot show table_1 {given.experiment} prints the table; words are explained in docs/glossary.md"
    return "\n".join(["", *lines, told])


def stopped(given: Experiment, layout: Layout, seconds: float) -> str:
    """After a run in which a job failed, or that was interrupted."""
    told = f"{given.experiment}: stopped after {duration(seconds)}, not finished; logs are in {layout.root / 'logs'}"
    return f"\n{told}; run the same command again: it goes on where it was"


def left_out(given: Experiment) -> Iterator[str]:
    """A line on the pages that there are and that a configuration does not ask for."""
    asked = {*given.tables, *given.figures}
    for kind in ("tables", "figures"):
        names = [name for name in plugins.names("pages") if name.startswith(kind[:-1]) and name not in asked]
        if names:
            yield f"{kind} not made, for the configuration does not name them under `{kind}:`: {', '.join(names)}"


def _headline(path: Path) -> list[str]:
    try:
        return tables.best(path)
    except ValueError as error:
        return [f"{path.stem}: {error}"]
