"""A results folder as tables and figures see it: metrics, audit, identity, sigma_M*, and the resolved config.

metrics.csv is tidy: one row per (cell, metric, reference), cell = (method, NFE budget, sigma_start, sample
seed). Tables use pooled rows only.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

METRICS = [
    "experiment", "dataset", "method", "network", "start", "sampler", "nfe_budget", "nfe_counted", "sigma_start",
    "sigma_atoms", "training_seed", "sample_seed", "num_samples", "features", "reference", "metric", "value", "low",
    "high", "reason", "fingerprint",
]  # fmt: skip
AUDIT = ("method", "nfe_budget", "sigma_start", "ranked", "reasons")
IDENTITY = [
    "pair", "metric", "reference", "nfe", "seeds", "mean_difference", "low", "high", "margin", "p_value",
    "equivalent", "p_difference",
]  # fmt: skip
REPLICATES = ("cell", "metric", "reference", "group", "value")
COUPLING = [
    "method", "network", "start", "sampler", "sigma_start", "nfe_counted", "quantity", "move", "value", "low", "high",
    "num_noises", "fingerprint",
]  # fmt: skip
TIMINGS = ("job", "arithmetic_s")
REPORTED = [
    "dataset", "method", "sampler", "network", "nfe", "metric", "value", "num_samples", "conditional", "source",
    "grade", "note",
]  # fmt: skip
REPORTED_FILE = Path(__file__).with_name("reported.csv")

FLOORS = {"real_train": "real, split A (train)", "real_test": "real, split C (test)"}
GROUPS = {
    "rivals": "Rivals, from the prior",
    "dpm_ot": "DPM-OT",
    "singular": "DPM-OT, singular set",
    "controls": "Controls",
    "as_code": "DPM-OT, options of the authors' code",
}
OUTSIDE = ("sweep", "identity", "reference")  # groups with figures or tables of their own


@dataclass(frozen=True)
class Results:
    """What was read from one results folder.

    Attributes:
        folder: the results folder.
        metrics: metrics.csv; keys as text, ``value low high sigma_start sigma_atoms`` as float (NaN: empty).
        experiment: experiment.json, the resolved config.
        audit: audit.csv, or None where it does not exist.
        identity: identity.csv, or None.
        star: star.json, or None.
        coupling: coupling.csv, or None.
    """

    folder: Path
    metrics: pd.DataFrame
    experiment: dict
    audit: pd.DataFrame | None
    identity: pd.DataFrame | None
    star: dict | None
    coupling: pd.DataFrame | None = None

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return str(self.experiment.get("dataset") or self.metrics["dataset"].iloc[0])

    @property
    def budgets(self) -> list[str]:
        """NFE budgets, ascending, as text."""
        return [str(nfe) for nfe in sorted(int(nfe) for nfe in self.experiment["nfe_budgets"])]

    @property
    def methods(self) -> list[str]:
        """Methods in the order of the config, then those only metrics.csv knows; without the floors."""
        found = [method for method in self.metrics["method"].unique() if method not in self.experiment["methods"]]
        return [method for method in [*self.experiment["methods"], *found] if method not in FLOORS]

    @property
    def stored(self) -> int | None:
        """Training images behind the atoms, of which a stored start is one; None where their floor was not measured."""
        rows = self.metrics.loc[self.metrics["method"] == "real_train", "num_samples"]
        return min(int(rows.iloc[0]), self.experiment.get("num_atoms") or int(rows.iloc[0])) if len(rows) else None

    @cached_property
    def source(self) -> str:
        """The data set with what a reader of every number must know of it: source, exactness (fingerprint.json)."""
        file = self.folder / "fingerprint.json"
        note = _json(file).get("data", {}).get("note") if file.is_file() else None
        return f"Data set {self.dataset}" + (f" ({note})" if note else "")

    def replicates(self, cell: str, metric: str, reference: str) -> tuple[float, np.ndarray] | None:
        """Plain value of all samples and without each jackknife group (G,); None where replicates.csv lacks them."""
        if (cell, metric, reference) not in self._replicates:
            return None
        values = self._replicates[cell, metric, reference]
        return values["all"], np.array([value for group, value in values.items() if group != "all"])

    @cached_property
    def _replicates(self) -> dict[tuple[str, str, str], dict[str, float]]:
        file, found = self.folder / "replicates.csv", {}
        if file.is_file():
            table = _table(file, REPLICATES, ("value",))
            for cell, metric, reference, group, value in table[list(REPLICATES)].itertuples(index=False):
                found.setdefault((cell, metric, reference), {})[group] = value
        return found

    @cached_property
    def arithmetic(self) -> dict[str, float]:
        """Seconds of arithmetic of each job, from timings.csv and timings/, which is there before that file."""
        file = self.folder / "timings.csv"
        table = _table(file, TIMINGS, ("arithmetic_s",)) if file.is_file() else pd.DataFrame(columns=TIMINGS)
        gathered = dict(zip(table["job"], table["arithmetic_s"].astype(float), strict=True))
        single = [_json(path) for path in sorted((self.folder / "timings").glob("*.json"))]
        return gathered | {found["job"]: float(found["arithmetic_s"]) for found in single}

    def label(self, method: str) -> str:
        """Printed name of a method."""
        entry = self.experiment["methods"].get(method, {})
        return FLOORS.get(method) or str(entry.get("label") or method)

    def title(self, method: str) -> str:
        """The label, with the network where two methods share a label."""
        label = self.label(method)
        shared = sum(self.label(other) == label for other in self.methods) > 1
        return f"{label} on {self.attribute(method, 'network')}" if shared else label

    def group(self, method: str) -> str:
        """Group of a method: rivals, dpm_ot, singular, controls, as_code, sweep, identity, reference or other."""
        return str(self.experiment["methods"].get(method, {}).get("group") or "other")

    def attribute(self, method: str, column: str) -> str:
        """``network``, ``start`` or ``sampler`` of a method, from its first row; "" where it has none."""
        if method in self._first_rows:
            return self._first_rows[method][column]
        return str(self.experiment["methods"].get(method, {}).get(column) or "")

    @cached_property
    def _first_rows(self) -> dict[str, dict[str, str]]:
        described = ["method", "network", "start", "sampler"]
        return {row["method"]: row for row in self.metrics[described].drop_duplicates("method").to_dict("records")}

    def chain(self, method: str) -> str:
        """The network whose chain a method runs on: its own, or the teacher's of a distilled one."""
        network = self.attribute(method, "network")
        return str(self.experiment.get("networks", {}).get(network, {}).get("teacher") or network)

    @property
    def families(self) -> list[str]:
        """Feature families with a Frechet distance, as the suffix of its name; classifier first, and if none."""
        found = sorted({name.removeprefix("fd_") for name in self.metrics["metric"] if name.startswith("fd_")})
        return sorted(found, key=lambda family: family != "classifier") or ["classifier"]

    def reference(self, metric: str) -> str:
        """The reference a metric with one reference is stored under; "none" where it was not run."""
        found = self.metrics.loc[self.metrics["metric"] == metric, "reference"]
        return str(found.iloc[0]) if len(found) else "none"

    def pooled(self) -> pd.DataFrame:
        """Pooled rows, with ``ranked`` (bool) and ``audit`` (why not) from audit.csv."""
        rows = self.metrics[(self.metrics["sample_seed"] == "pooled") & (self.metrics["metric"] != "all")].copy()
        verdicts = _verdicts(self.audit)
        keys = zip(rows["method"], rows["nfe_budget"], rows["sigma_start"].map(sigma_key), strict=True)
        found = [verdicts.get(key, (False, "not audited")) for key in keys]
        rows["ranked"] = [ranked for ranked, _ in found]
        rows["audit"] = [reasons for _, reasons in found]
        return rows

    def skipped(self) -> dict[tuple[str, str], str]:
        """(method, NFE budget) -> reason, for cells that were skipped as a whole."""
        rows = self.metrics[self.metrics["metric"] == "all"]
        return dict(zip(zip(rows["method"], rows["nfe_budget"], strict=True), rows["reason"], strict=True))


def sigma_key(sigma: float) -> str:
    """A sigma as a key: six significant digits, "" for none; files may round differently."""
    return "" if pd.isna(sigma) else f"{float(sigma):.6g}"


def quality_name(kind: str, family: str) -> str:
    """Printed name of ``fd_<family>`` or ``is_<family>``: FID and IS are names of Inception's numbers only."""
    return {"fd": "FID", "is": "IS"}[kind] if family == "inception" else f"{kind.upper()} ({family})"


def _verdicts(audit: pd.DataFrame | None) -> dict[tuple[str, str, str], tuple[bool, str]]:
    if audit is None:
        return {}
    return {
        (row.method, row.nfe_budget, sigma_key(row.sigma_start)): (row.ranked, row.reasons)
        for row in audit.itertuples()
    }


def _table(path: Path, columns: tuple | list, numbers: tuple[str, ...], flags: tuple[str, ...] = ()) -> pd.DataFrame:
    """A CSV file as text, ``numbers`` as float with NaN for empty, ``flags`` as bool."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no readable CSV file ({error}); make it again") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(f"{path} lacks the column {', '.join(missing)}; it needs {', '.join(columns)}")
    for column in numbers:
        try:
            table[column] = pd.to_numeric(table[column].mask(table[column] == ""))
        except ValueError as error:
            raise ValueError(f"{path}, column {column}: {error}; numbers or empty are allowed") from None
    for column in sorted({"nfe_budget", "nfe_counted", "num_samples"} & set(columns)):
        table[column] = table[column].str.removesuffix(".0")  # integers, written beside empty entries
    for column in flags:
        wrong = sorted(set(table[column]) - {"True", "False"})
        if wrong:
            raise ValueError(f'{path}, column {column}: found "{wrong[0]}"; True and False are allowed')
        table[column] = table[column] == "True"
    return table


def _json(path: Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no readable JSON file ({error}); make it again") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold one JSON object, got {type(value).__name__}; make it again")
    return value


def load(folder: Path) -> Results:
    """Read a results folder.

    Raises:
        ValueError: metrics.csv or experiment.json is missing, or a file is malformed.
    """
    for name in ("metrics.csv", "experiment.json"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name} does not exist; run the experiment first, or check --results")
    numbers = ("value", "low", "high", "sigma_start", "sigma_atoms")
    metrics = _table(folder / "metrics.csv", METRICS, numbers)
    if metrics.empty:
        raise ValueError(f"{folder / 'metrics.csv'} has no rows; run the experiment first")
    experiment = _json(folder / "experiment.json")
    for key in ("nfe_budgets", "methods"):
        if key not in experiment:
            raise ValueError(f'{folder / "experiment.json"} lacks "{key}"; make it again')
    audit, identity, star = folder / "audit.csv", folder / "identity.csv", folder / "star.json"
    coupling = folder / "coupling.csv"
    differences = ("mean_difference", "low", "high", "margin", "p_value", "p_difference")
    return Results(
        folder=folder,
        metrics=metrics,
        experiment=experiment,
        audit=_table(audit, AUDIT, ("sigma_start",), ("ranked",)) if audit.is_file() else None,
        identity=_table(identity, IDENTITY, differences, ("equivalent",)) if identity.is_file() else None,
        star=_json(star) if star.is_file() else None,
        coupling=_table(coupling, COUPLING, ("sigma_start", "move", "value", "low", "high"))
        if coupling.is_file()
        else None,
    )


def published(dataset: str, path: Path = REPORTED_FILE) -> pd.DataFrame:
    """Rows of reported.csv for one data set; "CIFAR-10" and "cifar10" are the same.

    Raises:
        ValueError: the file is missing or lacks a column.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist; it holds the published numbers and belongs to the package")

    def plain(name: str) -> str:
        return "".join(letter for letter in name.lower() if letter.isalnum())

    table = _table(path, REPORTED, ())
    return table[table["dataset"].map(plain) == plain(dataset)]
