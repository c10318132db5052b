"""Files that know whether they are whole: every kind of damage is refused, what others wrote is read."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from dpmot.runtime import seals

TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor([1, 2], dtype=torch.int64)}
TEXTS = {"facts": "{}", "cells": "[]"}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "x.safetensors"
    seals.save(path, TENSORS, TEXTS, name="x")
    return path


def test_what_was_written_is_read(file):
    tensors, texts = seals.load(file, name="x")
    assert texts == TEXTS and set(tensors) == set(TENSORS)
    assert all(torch.equal(tensors[name], one) and tensors[name].dtype == one.dtype for name, one in TENSORS.items())


def test_equal_content_gives_equal_bytes(file, tmp_path):
    for k in range(5):
        again = tmp_path / f"{k}.safetensors"
        seals.save(again, dict(reversed(TENSORS.items())), dict(reversed(TEXTS.items())), name="x")
        assert again.read_bytes() == file.read_bytes()


@pytest.mark.parametrize("size", [0, 4, 60, -9, -1])
def test_a_file_that_was_cut_short_is_refused(file, size):
    file.write_bytes(file.read_bytes()[:size])
    with pytest.raises(seals.Damaged, match=r"x\.safetensors is damaged"):
        seals.load(file)


def test_a_flipped_bit_anywhere_is_refused_or_changes_nothing(file):
    good = file.read_bytes()
    for place in range(0, len(good), 7):
        bad = bytearray(good)
        bad[place] ^= 1 << (place % 8)
        file.write_bytes(bad)
        try:
            tensors, texts = seals.load(file, name="x")
        except seals.Damaged:
            continue
        assert texts == TEXTS and all(torch.equal(tensors[name], one) for name, one in TENSORS.items())


def test_a_file_in_the_place_of_another_is_refused(file):
    with pytest.raises(seals.Damaged, match="it was written as x"):
        seals.load(file, name="y")


def test_files_of_others_are_read_as_they_are(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file(TENSORS, path, {"format": "pt"})
    tensors, texts = seals.load(path)
    with pytest.raises(seals.Damaged, match="it has no seal"):
        seals.load(path, name="other")
    assert texts == {"format": "pt"} and torch.equal(tensors["b"], TENSORS["b"])


def test_pickles_are_not_executed(tmp_path):
    class Owned:
        def __reduce__(self):
            return open, (str(tmp_path / "owned"), "w")

    path = tmp_path / "evil.safetensors"
    path.write_bytes(pickle.dumps(Owned()))
    with pytest.raises(seals.Damaged, match=r"evil\.safetensors is damaged"):
        seals.load(path)
    torch.save(Owned(), path)
    with pytest.raises(seals.Damaged):
        seals.load(path)
    assert not (tmp_path / "owned").exists()
    with pytest.raises(FileNotFoundError, match=r"No file .*nowhere"):
        seals.load(tmp_path / "nowhere")
