"""Large csv files of a results folder, plain or packed: one content, one reader, and no doubt which file counts."""

import lzma

import pandas as pd
import pytest

from dpmot.plugins import ROOT
from dpmot.runtime.packed import PACKED, content, pack, packed, stored, write_packed

REFERENCE = ROOT / "results" / "reference"
COMMITTED = sorted({path.parent.name for name in PACKED for path in REFERENCE.glob(f"*/{name}*")})
TEXT = b"metric,value\nfd,0.1\nfd,0.30000000000000004\n"


def test_packing_keeps_every_byte_and_removes_the_plain_file(tmp_path):
    for name in ("metrics.csv", "audit.csv"):
        (tmp_path / name).write_bytes(TEXT)
    assert pack(tmp_path) == [tmp_path / "metrics.csv.xz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.csv", "metrics.csv.xz"]
    assert content(tmp_path / "metrics.csv") == content(tmp_path / "metrics.csv.xz") == TEXT
    assert pd.read_csv(tmp_path / "metrics.csv.xz")["value"].tolist() == [0.1, 0.1 + 0.2]
    assert pack(tmp_path) == []  # again: nothing to do


def test_one_content_gives_one_file(tmp_path):
    files = [write_packed(tmp_path / folder / "metrics.csv", TEXT) for folder in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_plain_and_packed_side_by_side_are_refused(tmp_path):
    path = tmp_path / "metrics.csv"
    assert stored(path) == path  # neither is there: whoever opens it says so
    write_packed(path, TEXT)
    path.write_bytes(TEXT)
    for read in (stored, content):
        with pytest.raises(ValueError, match=r"metrics.csv and metrics.csv.xz are both there; delete the one"):
            read(path)


@pytest.mark.parametrize("damage", [lambda raw: raw[:-9], lambda raw: b"", lambda raw: b"a,b\n1,2\n"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = write_packed(tmp_path / "metrics.csv", TEXT)
    path.write_bytes(damage(lzma.compress(TEXT)))
    with pytest.raises(ValueError, match=r"metrics.csv.xz is cut or damaged \(.*\); restore it"):
        content(tmp_path / "metrics.csv")


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_folders_are_packed_and_small_also_where_ten_networks_are_in_one(name):
    folder = REFERENCE / name
    assert not [file for file in PACKED if (folder / file).is_file()], f"python -m dpmot.runtime.packed {folder}"
    sizes = {file: packed(folder / file).stat().st_size for file in PACKED if packed(folder / file).is_file()}
    assert sizes["metrics.csv"] <= 1.5e6 and sum(sizes.values()) <= 3e6  # 2.8e6: fifty methods at eleven budgets
