"""The results folder as files: columns, keys and names, stated once for what writes, compares and prints them.

A *cell* is a method at one NFE budget and one level sigma of its start; metrics.csv has a row for each cell, sample
seed (or "pooled" over all), metric and reference. Rows are counted as a spreadsheet does: the header is row 1.
"""

import csv
import io
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dpmot import plugins
from dpmot.metrics import REAL_TEST, REAL_TRAIN, Fact
from dpmot.runtime.packed import content, stored
from dpmot.statistics.audit import VERDICTS

POOLED = "pooled"  # sample seed of the rows over all seeds
SKIPPED = "all"  # metric of the one row of a cell that was not sampled; its reason says why
PLAIN = "plain_"  # before the name of a metric: its value with the bias, as published numbers have it
COPY = "copy_"  # before the name of a metric: what an exact copier of the training images tends to
FRESH = "fresh_"  # before the name of a metric: its value of real images that no method has seen, as many as are stored
COPIES, FLAGGED, RECOVERY = "copies_pixels", "flagged_pixels", "recovery_pixels"  # what the audit asks
AUTHENTICITY, CT = "authenticity_pixels", "ct_pixels"
OTHER = {"train": "test", "test": "train"}  # of two references
REAL_BESIDE = {"train": REAL_TEST, "test": REAL_TRAIN}  # reference -> real images that are none of it
OVER_TRAININGS = "all"  # training seed of the rows over all training seeds
NO_TRAINING = "none"  # training seed, where there are several, of what none of them changes
FLOORS = {REAL_TRAIN: "real, split A (train)", REAL_TEST: "real, split C (test)"}  # real images as if they were samples


@dataclass(frozen=True)
class Schema:
    """One CSV file of a results folder.

    Attributes:
        columns: in the order in which they are written.
        key: columns that no two rows share; numbers among them are equal to six digits.
        numbers: columns of finite numbers.
        optional: those of them that may be empty.
        flags: columns of True and False.
        integers: columns of integers, which pandas writes as "5.0" where a column has empty entries.
        words: columns -> a regular expression of what is allowed, and how to say it.
        once: columns that have one entry in all rows.
        unread: columns that readers do without: files of older versions may lack them.
    """

    columns: tuple[str, ...]
    key: tuple[str, ...]
    numbers: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    integers: tuple[str, ...] = ()
    words: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    once: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    @property
    def entries(self) -> dict[str, tuple[str, str]]:
        """``words`` of every column that has some."""
        return {**dict.fromkeys(self.integers, COUNT), **dict.fromkeys(self.flags, FLAG), **self.words}


FLAG = "True|False", "True and False are"
COUNT = "[0-9]*", "an integer or nothing is"
BUDGET = "0|[1-9][0-9]*|full", 'an integer or "full" is'
LEVEL = "(?!-).*", "no number below 0 is"
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
    words={
        "nfe_budget": BUDGET,
        "nfe_counted": (r"([0-9]+(\.[0-9]+)?)?", "a number or nothing is"),
        "sigma_start": LEVEL,
        "sigma_atoms": LEVEL,
        "sample_seed": (f"0|[1-9][0-9]*|{POOLED}", f'an integer or "{POOLED}" is'),
        "num_samples": ("[0-9]+", "an integer is"),
        "reference": ("train|test|none", "train, test or none is"),
    },
    once=("experiment", "fingerprint"),
)
REPLICATES = Schema(
    columns=("cell", "metric", "reference", "group", "value"),
    key=("cell", "metric", "reference", "group"),
    numbers=("value",),
    words={"group": ("[0-9]+|all", 'an integer or "all" is')},
)
AUDIT = Schema(
    columns=(*CELL, "verdict", "ranked", "reasons"),
    key=CELL,
    numbers=("sigma_start",),
    optional=("sigma_start",),
    flags=("ranked",),
    integers=("nfe_budget",),
    words={"nfe_budget": BUDGET, "sigma_start": LEVEL, "verdict": ("|".join(VERDICTS), f"{', '.join(VERDICTS)} are")},
)
FLAGS = Schema(
    columns=(
        *(*CELL, "sample_seed", "sample", "split", "nearest", "space", "distance", "ratio", "chance"),
        *("down", "right", "mirrored", "inverted"),
    ),
    key=(*CELL, "sample_seed", "sample"),
    numbers=("sigma_start", "distance", "ratio", "chance"),
    optional=("sigma_start",),
    flags=("mirrored", "inverted"),
    integers=("nfe_budget", "sample_seed", "sample", "nearest"),
    words={
        "nfe_budget": BUDGET,
        "sigma_start": LEVEL,
        "split": ("[ABC]", "A, B or C is"),
        "sample": ("[0-9]+", "an integer is"),
        "nearest": ("[0-9]+", "an integer is"),
        **dict.fromkeys(("down", "right"), ("-?[0-9]+", "an integer is")),
    },
)
MIXED = Schema(
    columns=(*CELL, "sample_seed", "sample", "first", "first_probability", "second", "second_probability"),
    key=(*CELL, "sample_seed", "sample"),
    numbers=("sigma_start", "first_probability", "second_probability"),
    optional=("sigma_start",),
    integers=("nfe_budget", "sample_seed", "sample", "first", "second"),
    words={
        "nfe_budget": BUDGET,
        "sigma_start": LEVEL,
        **dict.fromkeys(("sample", "first", "second"), ("[0-9]+", "an integer is")),
    },
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
    integers=("nfe_counted", "num_noises"),
    once=("fingerprint",),
    unread=("experiment", "dataset"),
)
TIMINGS = Schema(
    columns=("job", "startup_s", "arithmetic_s", "io_s", "wall_s", "peak_mb", "images_per_s"),
    key=("job",),
    numbers=("arithmetic_s",),
    unread=("startup_s", "io_s", "wall_s", "peak_mb", "images_per_s"),
)
IDEAL = Schema(
    columns=("sigma", "num_images", "num_latents", "chance", "value", "low", "high"),
    key=("sigma",),
    numbers=("sigma", "num_images", "num_latents", "chance", *INTERVAL),
)
TRAININGS = Schema(
    columns=(
        *("network", "of", "training_seed", "how", "rewires", "coupling", "tau", "map", "chi2", "off"),
        *("images_seen", "images_before", "train_s", "map_s"),
    ),
    key=("network",),
    numbers=("tau", "chi2", "off", "images_seen", "images_before", "train_s", "map_s"),
    optional=("tau", "chi2", "off", "images_seen", "images_before", "train_s", "map_s"),
    words={
        "training_seed": (f"0|[1-9][0-9]*|{NO_TRAINING}", f'an integer or "{NO_TRAINING}" is'),
        "how": ("trained|loaded|student|exact", "trained, loaded, student or exact is"),
    },
)


def member(name: str, training_seed: int | str) -> str:
    """The name of a network or method at one of several training seeds: what is drawn, measured and audited."""
    return f"{name}_t{training_seed}"


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
                known = {entry: re.sub(rf"(^|_){name}$", r"\g<0>-unknown", entry) for entry in table[column].unique()}
                table[column] = table[column].map(known).astype(table[column].dtype)


def text(path: Path, schema: Schema, *, methods: Collection[str] | None = None) -> pd.DataFrame:
    """A CSV file, plain or packed, with every entry as a string, and none that contradicts another.

    ``methods`` are those that there are, if that is known.

    Raises:
        ValueError: no CSV file; a column missing or twice; a row that is cut; two rows with one key; two runs in one
            file; an entry that is no finite number, flag or word that is allowed; an unknown method.
        OSError: the file cannot be opened.
    """
    path = stored(path)
    table = _entries(path)
    needed = [column for column in schema.columns if column not in schema.unread]
    if missing := [column for column in needed if column not in table.columns]:
        raise ValueError(f"{path} lacks the column {', '.join(missing)}; it needs {', '.join(needed)}")
    for column in schema.integers:
        table[column] = table[column].str.removesuffix(".0")
    key = table[list(schema.key)].copy()
    for column in schema.numbers:
        entries, optional = table[column], column in schema.optional
        numbers = _numbers(entries)
        wrong = (~np.isfinite(numbers) & ~((entries == "") & optional)) | (entries != entries.str.strip())
        _refuse(path, entries, wrong, f"finite numbers {'or nothing ' if optional else ''}are allowed")
        if column in key:
            key[column] = numbers.map(sigma_key)
    there = {column: words for column, words in schema.entries.items() if column in table}  # one may be unread
    for column, (allowed, told) in there.items():
        right = [entry for entry in table[column].unique() if re.fullmatch(allowed, entry)]
        _refuse(path, table[column], ~table[column].isin(right), f"{told} allowed")
    if methods is not None and "method" in schema.columns:
        known = [*methods, *FLOORS]
        _refuse(path, table["method"], ~table["method"].isin(known), f"the methods are {', '.join(known)}")
    again = key.duplicated()
    for row in records(table[again][:1]):
        told = ", ".join(f"{name} {row[name]}" for name in schema.key if row[name])
        raise ValueError(f"{path}, row {_row(again)}: a second row for {told}; one row a key is allowed")
    for column in schema.once:
        first = next(iter(table[column]), "")
        _refuse(path, table[column], table[column] != first, f"row 2 has {first}: rows of two runs stand in one file")
    if set(INTERVAL) <= set(schema.numbers):
        _refuse(path, table["low"], _numbers(table["low"]) > _numbers(table["high"]), "low may not exceed high")
    return table.reset_index(drop=True)


def _entries(path: Path) -> pd.DataFrame:
    """The entries of a CSV file as strings, with their rows in a spreadsheet as index; empty rows are left out."""
    try:
        file = io.StringIO(content(path).decode("utf-8-sig"), newline="")
        rows = [(number, row) for number, row in enumerate(csv.reader(file, strict=True), 1) if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no readable CSV file ({error}); make it again") from None
    if not rows:
        raise ValueError(f"{path} is no readable CSV file (it is empty); make it again")
    _, names = rows.pop(0)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path} has the column {', '.join(twice)} twice; one is allowed")
    for number, row in rows:
        if len(row) != len(names):
            raise ValueError(f"{path}, row {number}: {len(row)} entries in {len(names)} columns; make the file again")
    return pd.DataFrame([row for _, row in rows], index=[number for number, _ in rows], columns=names, dtype=str)


def _numbers(entries: pd.Series) -> pd.Series:
    """As float64; NaN where an entry is no number."""
    return pd.to_numeric(entries.mask(entries == ""), errors="coerce").astype(float)


def read(
    path: Path, schema: Schema, *, methods: Collection[str] | None = None, as_written: bool = False
) -> pd.DataFrame:
    """The same with numbers as float64 (NaN where empty) and flags as bool.

    Features with names of the field are of "unknown" weights where fingerprint.json beside the file does not prove
    them, unless ``as_written``.

    Raises:
        ValueError: as :func:`text`.
        OSError: the file cannot be opened.
    """
    table = text(path, schema, methods=methods)
    for column in schema.numbers:
        table[column] = _numbers(table[column])
    for column in schema.flags:
        table[column] = table[column] == "True"
    if "metric" in schema.columns and not as_written:
        _by_weights(table, path.parent)
    return table


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, each with its columns by name."""
    columns = [_native(table[name]) for name in table]
    return [dict(zip(table.columns, row, strict=True)) for row in zip(*columns, strict=True)]


def _native(column: pd.Series) -> list[Any]:
    """Its entries as Python's own numbers and strings; ``to_dict`` takes many times as long for strings."""
    entries = column.to_numpy(object if isinstance(column.dtype, pd.StringDtype) else None).tolist()
    return (
        [one.item() if isinstance(one, np.generic) else one for one in entries] if column.dtype == object else entries
    )


def by_key(table: pd.DataFrame, *columns: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """What a row has in these columns -> the row."""
    return {tuple(row[column] for column in columns): row for row in records(table)}


def replicates(path: Path, *, as_written: bool = False) -> dict[tuple[str, str, str], tuple[float, np.ndarray]]:
    """(cell, metric, reference) -> plain value of all samples, and without each jackknife group (G,), of a file.

    Raises:
        ValueError: as :func:`read`; a cell without the value of all samples.
        OSError: the file cannot be opened.
    """
    values: dict[tuple[str, str, str], dict[str, float]] = {}
    table = read(path, REPLICATES, as_written=as_written)
    columns = [_native(table[name]) for name in ("cell", "metric", "reference", "group", "value")]
    for cell, metric, reference, group, value in zip(*columns, strict=True):
        values.setdefault((cell, metric, reference), {})[group] = value
    for (cell, metric, _), groups in values.items():
        if "all" not in groups:
            raise ValueError(f'{path}: {metric} of {cell} has no row of the group "all"; make it again')
    return {key: (groups.pop("all"), np.array(list(groups.values()))) for key, groups in values.items()}


def matching(value: float, full: float, parts: np.ndarray) -> bool:
    """Whether a value, with its bias or without, is that of replicates: of all samples, and without each group (G,)."""
    debiased = len(parts) * full - (len(parts) - 1) * parts.mean()
    return any(np.isclose(value, of_parts, rtol=1e-7, atol=1e-9) for of_parts in (full, debiased))


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
    return int(wrong[wrong].index[0])
