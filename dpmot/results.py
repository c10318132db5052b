"""The results folder as files: columns, keys and names, stated once for what writes, compares and prints them.

A *cell* is a method at one NFE budget and one level sigma of its start; metrics.csv has a row for each cell, sample
seed (or "pooled" over all), metric and reference. Rows are counted as a spreadsheet does: the header is row 1.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from dpmot import plugins
from dpmot.metrics import AUDITED as AUDITED
from dpmot.metrics import REAL_TEST, REAL_TRAIN, Fact

POOLED = "pooled"  # sample seed of the rows over all seeds
SKIPPED = "all"  # metric of the one row of a cell that was not sampled; its reason says why
PLAIN = "plain_"  # before the name of a metric: its value with the bias, as published numbers have it
COPY = "copy_"  # before the name of a metric: what an exact copier of the training images tends to
FLOORS = {REAL_TRAIN: "real, split A (train)", REAL_TEST: "real, split C (test)"}  # real images as if they were samples


@dataclass(frozen=True)
class Schema:
    """One CSV file of a results folder.

    Attributes:
        columns: in the order in which they are written.
        key: columns that no two rows share.
        numbers: columns of finite numbers.
        optional: those of them that may be empty.
        flags: columns of True and False.
        integers: columns of integers, which pandas writes as "5.0" where a column has empty entries.
        unread: columns that readers do without: files of older versions may lack them.
    """

    columns: tuple[str, ...]
    key: tuple[str, ...]
    numbers: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    integers: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()


INTERVAL = ("value", "low", "high")
CELL = ("method", "nfe_budget", "sigma_start")
KEY = (*CELL, "features", "reference", "metric")
METRICS = Schema(
    columns=(
        *("experiment", "dataset", "method", "network", "start", "sampler", "nfe_budget", "nfe_counted"),
        *("sigma_start", "sigma_atoms", "training_seed", "sample_seed", "num_samples", "features"),
        *("reference", "metric", *INTERVAL, "reason", "fingerprint"),
    ),
    key=(*KEY, "sample_seed"),
    numbers=(*INTERVAL, "sigma_start", "sigma_atoms"),
    optional=(*INTERVAL, "sigma_start", "sigma_atoms"),
    integers=("nfe_budget", "nfe_counted", "num_samples"),
)
REPLICATES = Schema(
    columns=("cell", "metric", "reference", "group", "value"),
    key=("cell", "metric", "reference", "group"),
    numbers=("value",),
)
AUDIT = Schema(
    columns=(*CELL, "ranked", "reasons"),
    key=CELL,
    numbers=("sigma_start",),
    optional=("sigma_start",),
    flags=("ranked",),
    integers=("nfe_budget",),
)
_TESTED = ("mean_difference", "low", "high", "margin", "p_value", "p_difference")
IDENTITY = Schema(
    columns=("pair", "metric", "reference", "nfe", "seeds", *_TESTED[:5], "equivalent", "p_difference"),
    key=("pair", "metric", "reference", "nfe"),
    numbers=_TESTED,
    optional=_TESTED,
    flags=("equivalent",),
)
COUPLING = Schema(
    columns=(
        *("experiment", "dataset", "method", "network", "start", "sampler", "sigma_start", "nfe_counted"),
        *("quantity", "move", *INTERVAL, "num_noises", "fingerprint"),
    ),
    key=("method", "quantity", "move"),
    numbers=("sigma_start", "move", *INTERVAL),
    optional=("sigma_start", "move"),
    integers=("nfe_counted",),
    unread=("experiment", "dataset"),
)
TIMINGS = Schema(
    columns=("job", "startup_s", "arithmetic_s", "io_s", "wall_s", "peak_mb", "images_per_s"),
    key=("job",),
    numbers=("arithmetic_s",),
    unread=("startup_s", "io_s", "wall_s", "peak_mb", "images_per_s"),
)


def sigma_key(sigma: float | str | None) -> str:
    """A level as part of a key: six significant digits, for the last ones differ between machines; "" for none."""
    return "" if sigma in (None, "") or pd.isna(sigma) else f"{float(sigma):.6g}"


def cell_key(method: str, budget: object, sigma: float | str | None) -> str:
    """A cell as text, as replicates.csv has it: ``method/budget/sigma``; real images have no level."""
    return f"{method}/{budget}" if method in FLOORS else f"{method}/{budget}/{sigma_key(sigma) or 0}"


@cache
def facts() -> dict[str, Fact]:
    """Stem of a metric's name -> its facts, from the files of ``dpmot/metrics/``."""
    return {
        stem: fact for name in plugins.names("metrics") for stem, fact in plugins.find("metrics", name).FACTS.items()
    }


@cache
def stem(metric: str) -> str:
    """The longest stem of a metric file that a name starts with, or the whole name."""
    return max((known for known in facts() if metric.startswith(f"{known}_")), key=len, default=metric)


def fact(metric: str) -> Fact:
    """The facts of a metric by its full name, as ``fd_classifier``; of a name that no file knows, its label alone."""
    return facts().get(stem(metric)) or Fact("none", metric)


@cache
def printed_name(metric: str) -> str:
    """Printed name with the extractor, as "FD (classifier)", or the field's name where the extractor has one: "FID".

    An extractor with other weights than those its name stands for is told by these: "FD of inception weights 1a2b3c4d".
    """
    known = stem(metric)
    extractor = metric.removeprefix(f"{known}_")
    name, _, digits = extractor.partition("-")
    if digits and name in plugins.names("features"):
        return f"{fact(metric).label} of {name} weights {digits}"
    return _canonical(extractor).get(known) or f"{fact(metric).label} ({extractor})"


def _canonical(extractor: str) -> dict[str, str]:
    """The field's names of an extractor's metrics, by stem."""
    stated: Any = extractor in plugins.names("features") and plugins.constant("features", extractor, "CANONICAL")
    return stated or {}


def _by_weights(table: pd.DataFrame, folder: Path) -> None:
    """Weights of features with names of the field are "unknown" where fingerprint.json does not prove them."""
    try:
        proved = {str(digits) for digits in read_json(folder / "fingerprint.json").get("weights", {}).values()}
    except (OSError, ValueError, AttributeError):
        proved = set()
    for name in filter(_canonical, plugins.names("features")):
        if str(plugins.constant("features", name, "SHA256"))[:16] not in proved:
            for column in {"metric", "features"} & set(table.columns):
                table[column] = table[column].str.replace(rf"(^|_){name}$", r"\g<0>-unknown", regex=True)


def text(path: Path, schema: Schema, *, methods: Collection[str] | None = None) -> pd.DataFrame:
    """A CSV file as it stands, every entry a string; ``methods`` are those that there are, if that is known.

    Raises:
        ValueError: no CSV file, a column missing, two rows with one key, or an unknown method.
        OSError: the file cannot be opened.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no readable CSV file ({error}); make it again") from None
    needed = [column for column in schema.columns if column not in schema.unread]
    if missing := [column for column in needed if column not in table.columns]:
        raise ValueError(f"{path} lacks the column {', '.join(missing)}; it needs {', '.join(needed)}")
    again = table.duplicated(list(schema.key))
    if again.any():
        row = table[again].iloc[0]
        key = ", ".join(f"{name} {row[name]}" for name in schema.key if row[name])
        raise ValueError(f"{path}, row {_row(again)}: a second row for {key}; one row a key is allowed")
    if methods is not None and "method" in schema.columns:
        allowed = [*methods, *FLOORS]
        _refuse(path, table["method"], ~table["method"].isin(allowed), f"the methods are {', '.join(allowed)}")
    if "metric" in schema.columns:
        _by_weights(table, path.parent)
    return table


def read(path: Path, schema: Schema, *, methods: Collection[str] | None = None) -> pd.DataFrame:
    """The same with numbers as float64 (NaN where empty), flags as bool, and integers without ".0".

    Raises:
        ValueError: as :func:`text`; an entry that is no finite number, or no flag.
        OSError: the file cannot be opened.
    """
    table = text(path, schema, methods=methods)
    for column in schema.numbers:
        entries, optional = table[column], column in schema.optional
        table[column] = pd.to_numeric(entries.mask(entries == ""), errors="coerce")
        wrong = ~np.isfinite(table[column]) & ~((entries == "") & optional)
        _refuse(path, entries, wrong, f"finite numbers {'or nothing ' if optional else ''}are allowed")
    for column in schema.flags:
        _refuse(path, table[column], ~table[column].isin(("True", "False")), "True and False are allowed")
        table[column] = table[column] == "True"
    for column in schema.integers:
        table[column] = table[column].str.removesuffix(".0")
    return table


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, each with its columns by name."""
    return cast("list[dict[str, Any]]", table.to_dict("records"))


def by_key(table: pd.DataFrame, *columns: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """What a row has in these columns -> the row."""
    return {tuple(row[column] for column in columns): row for row in records(table)}


def replicates(path: Path) -> dict[tuple[str, str, str], tuple[float, np.ndarray]]:
    """(cell, metric, reference) -> plain value of all samples, and without each jackknife group (G,), of a file.

    Raises:
        ValueError: as :func:`read`; a cell without the value of all samples.
        OSError: the file cannot be opened.
    """
    values: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in records(read(path, REPLICATES)):
        values.setdefault((row["cell"], row["metric"], row["reference"]), {})[row["group"]] = row["value"]
    for (cell, metric, _), groups in values.items():
        if "all" not in groups:
            raise ValueError(f'{path}: {metric} of {cell} has no row of the group "all"; make it again')
    return {key: (groups.pop("all"), np.array(list(groups.values()))) for key, groups in values.items()}


def read_json(path: Path, *, needs: Collection[str] = ()) -> dict[str, Any]:
    """One JSON object.

    Raises:
        ValueError: no JSON object, or a key missing.
        OSError: the file cannot be opened.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no readable JSON file ({error}); make it again") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold one JSON object, got {type(value).__name__}; make it again")
    for key in needs:
        if key not in value:
            raise ValueError(f'{path} lacks "{key}"; make it again')
    return value


def _refuse(path: Path, entries: pd.Series, wrong: pd.Series, allowed: str) -> None:
    if wrong.any():
        raise ValueError(
            f'{path}, row {_row(wrong)}, column {entries.name}: found "{entries[wrong].iloc[0]}"; {allowed}'
        )


def _row(wrong: pd.Series) -> int:
    """Number of the first row that is wrong; the header is row 1."""
    return int(np.flatnonzero(wrong)[0]) + 2
