"""Results folders read, written and changed, and the cells of printed tables."""

import csv
import re

import numpy as np

from dpmot.results import cell_key
from paper_figures import (
    _tables,
    table_1_quality,
)
from paper_figures._results import load

BUDGETS = {"digits": [5, 10, 20, 30, 50], "smoke": [5, 10], "toy2d": [5, 10]}


def write_csv(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def edited(folder, change):
    """Apply ``change`` to every pooled row of metrics.csv, and read the folder."""
    rows = read_csv(folder / "metrics.csv")
    for row in rows:
        if row["sample_seed"] == "pooled":
            change(row)
    write_csv(folder / "metrics.csv", rows)
    return load(folder)


def setting(folder, values, **wanted):
    """Set columns of the rows that match."""
    return edited(folder, lambda row: row.update(values) if all(row[k] == v for k, v in wanted.items()) else None)


def one(table, **wanted):
    """The one row of a long table that matches."""
    rows = table
    for column, entry in wanted.items():
        rows = rows[rows[column] == entry]
    assert len(rows) == 1, f"{len(rows)} rows match {wanted}"
    return rows.iloc[0]


def section(text, title):
    """Lines of the Markdown section whose heading starts with ``title``."""
    parts = re.split(r"^#+ ", text, flags=re.M)
    found = [part for part in parts if part.startswith(title)]
    assert len(found) == 1, f"{len(found)} sections start with {title}"
    return found[0].splitlines()


def printed(results, title):
    """{(method, network): cells} of one panel of Table 1's Markdown."""
    text = _tables.markdown(table_1_quality.layout(table_1_quality.make(results), results))
    rows = [line for line in section(text, title) if line.startswith("| ")]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[1:]]
    return {(row[0], row[1]): row[2:] for row in cells if not row[0].startswith("*")}


def listed(results, title):
    """{(method, NFE): cells} of a panel of Table 1's Markdown that has a row for each of them."""
    text = _tables.markdown(table_1_quality.layout(table_1_quality.make(results), results))
    rows = [line.strip("|").split(" | ") for line in section(text, title) if line.startswith("| ")]
    cells = [[cell.strip() for cell in row] for row in rows[1:]]
    return {(row[0], row[2]): row[3:] for row in cells if not row[0].startswith("*")}


FD = "FD (classifier) against test"


def with_replicates(folder):
    """FD's replicates, highly correlated between methods; returns the measured rows they belong to."""
    draw, rows = np.random.default_rng(0), []
    table, common = table_1_quality.make(load(folder)), draw.standard_normal(20)
    chosen = table[
        (table["metric"] == "fd_classifier") & (table["reference"] == "test") & (table["status"] == "measured")
    ]
    for row in chosen.to_dict("records"):
        cell = cell_key(row["method"], row["nfe_budget"], row["sigma_start"])
        parts = row["value"] + 0.1 * common + 1e-3 * draw.standard_normal(20)
        parts += row["value"] - parts.mean()  # no bias: the debiased value is the plain one
        for group, value in [("all", row["value"]), *enumerate(parts)]:
            rows.append({"cell": cell, "metric": "fd_classifier", "reference": "test", "group": group, "value": value})
    write_csv(folder / "replicates.csv", rows)
    return chosen
