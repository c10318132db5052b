"""The committed table of what the doctor said: results/reference/doctor/doctor.csv, by benchmarks/doctor.py."""

import csv

from benchmarks.doctor import COLUMNS, NETWORKS, REFERENCE

with (REFERENCE / "doctor" / "doctor.csv").open(encoding="utf-8") as file:
    ROWS = list(csv.DictReader(file))
NOT_NAMED = {  # see "What cannot be told"
    ("digits ddpm", "index up"),
    ("cifar10 edm", "index up, condition"),
    ("cifar10 edm", "BGR"),
}


def test_no_network_of_the_table_was_accused_of_a_mistake_that_it_does_not_make():
    sound = [row for row in ROWS if row["planted"].startswith("sound")]
    assert len({row["network"] for row in sound}) >= 5
    assert all(row["right"] == "yes" and not row["says"].startswith("wrong") for row in sound)


def test_every_planted_mistake_was_named_but_those_that_are_known_not_to_be():
    assert {(row["network"], row["planted"]) for row in ROWS if row["right"] == "no"} == NOT_NAMED


def test_the_table_is_of_networks_that_are_there():
    assert tuple(ROWS[0]) == COLUMNS and {row["network"] for row in ROWS} <= set(NETWORKS)
