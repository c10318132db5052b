"""Which results folder a user means."""

from collections.abc import Iterator
from pathlib import Path

from dpmot import plugins
from dpmot.experiment.layout import Layout
from dpmot.experiment.plan import Experiment
from dpmot.runtime.files import read_json


def folder(results: Path, name: str | None = None) -> Path:
    """The folder of one experiment: by its name or its path, or the one in which something happened last.

    Args:
        results: folder of experiments' folders, or the folder of one.
        name: of an experiment, or its path.

    Raises:
        ValueError: there is none; the message lists those that there are.
    """
    path = results if name is None else Path(name)
    if (path / "experiment.json").is_file():
        return path
    there = sorted(_experiments(results), key=_touched)
    names = sorted(path.name for path in there)
    if name is None and there:
        return there[-1]
    if name in names:
        return results / str(name)
    if not names:
        told = "`make run` or `snakemake` makes one; --results names another folder of results"
        raise ValueError(f"{results} holds no experiment: {told}")
    hint = plugins.did_you_mean(str(name), names)
    raise ValueError(f'No experiment "{name}" in {results}: {hint}found {", ".join(names)}')


def experiment(root: Path) -> Experiment:
    """The experiment that a results folder is of, as its last run resolved it.

    Raises:
        ValueError: its experiment.json is damaged, or of another version.
        OSError: it is not there.
    """
    path = Layout(root).config
    try:
        return Experiment.model_validate(read_json(path)).completed()
    except ValueError as error:
        told = " ".join(str(error).split())[:300]
        raise ValueError(f"{path} is no configuration that this version reads: {told}") from None


def _experiments(results: Path) -> Iterator[Path]:
    for path in results.iterdir() if results.is_dir() else ():
        if (path / "experiment.json").is_file():
            yield path


def _touched(root: Path) -> float:
    """When something last happened there."""
    paths = [root / "experiment.json", root / "logs", root / "timings", root / ".resume"]
    logs = (root / "logs").glob("*.log") if (root / "logs").is_dir() else ()
    return max(path.stat().st_mtime for path in (*paths, *logs) if path.exists())
