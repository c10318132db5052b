"""The committed table of what the doctor said: results/reference/doctor/doctor.csv, by benchmarks/doctor.py."""

import csv

import pytest

from benchmarks import doctor as table
from benchmarks.doctor import COLUMNS, NETWORKS, REFERENCE
from benchmarks.planted import Case

with (REFERENCE / "doctor" / "doctor.csv").open(encoding="utf-8") as file:
    ROWS = list(csv.DictReader(file))
NOT_NAMED = {  # see "What cannot be told"
    ("digits ddpm", "index up"),
    ("digits ncsnv2", "[0, 1] for [-1, 1]"),
    ("digits x0", "index up"),
    ("digits x0", "level times 2"),
    ("digits consistency", "time reversed"),
    ("digits consistency", "index up"),
    ("digits consistency", "index up, condition"),
    ("digits consistency", "index down"),
    ("digits consistency", "index down, condition"),
    ("digits consistency", "sigma_data times 0.67"),
    ("digits consistency", "level times 2"),
    ("digits consistency", "level times 0.5"),
    ("cifar10 edm", "index up, condition"),
    ("cifar10 edm", "sigma_data times 0.67"),
    ("cifar10 edm", "raw weights, better beside"),
    ("fashion ddpm", "index up"),
}


def test_no_network_of_the_table_was_accused_of_a_mistake_that_it_does_not_make():
    sound = [row for row in ROWS if row["planted"].startswith("sound")]
    assert len({row["network"] for row in sound}) >= 5
    assert all(row["right"] == "yes" and not row["says"].startswith("wrong") for row in sound)


def test_every_planted_mistake_was_named_but_those_that_are_known_not_to_be():
    assert {(row["network"], row["planted"]) for row in ROWS if row["right"] == "no"} == NOT_NAMED


def test_the_table_is_of_networks_that_are_there():
    assert tuple(ROWS[0]) == COLUMNS and {row["network"] for row in ROWS} <= set(NETWORKS)


SAID = [("", "", True), ("", "time reversed", False), ("time", "time reversed", True), ("time", "", False)]


@pytest.mark.parametrize(("planted", "named", "right"), SAID)
def test_a_name_is_right_if_that_was_planted(planted, named, right):
    assert Case("any", lambda x, sigma: x, None, planted).named_by(named) is right


def test_what_stands_in_the_csv_file_is_not_made_again_and_another_table_is_refused(tmp_path, capsys):
    made, row = tmp_path / "made.csv", ("digits", "digits flow", "sound", "sound", "yes", "-0.007", "1.5")
    table._tell(row, made)
    assert table._held(made) == [row] and "digits flow" in capsys.readouterr().out
    made.write_text("other,columns\n1,2\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="other columns, other, columns"):
        table._held(made)
