"""Features of slow networks are extracted once for the same images, and again when anything they depend on changes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dpmot.experiment.jobs import Layout
from dpmot.experiment.stages import _features
from dpmot.experiment.stages._features import Extractors
from dpmot.features import Features

IMAGES = torch.arange(4 * 64, dtype=torch.uint8).reshape(4, 1, 8, 8)


@pytest.fixture
def extract(tmp_path, monkeypatch):
    """An experiment with a stand-in for Inception, which counts its calls."""
    calls, weights = [], tmp_path / "weights"
    weights.write_bytes(b"first")

    def extractor(raw, **options):
        calls.append(options)
        p = np.full((len(raw), 2), 0.5)
        return Features(values=raw.flatten(1).double().numpy(), extractor="inception", probabilities=p)

    module = SimpleNamespace(extract=extractor, resolve_weights=lambda weights, download: weights)
    find = _features.plugins.find
    monkeypatch.setattr(
        _features.plugins, "find", lambda kind, name: module if name == "inception" else find(kind, name)
    )
    job = {
        "extractors": ["pixels", "inception"],
        "inception": {"weights": str(weights), "download": False},
        "threads": 1,
    }
    return SimpleNamespace(run=Extractors(job, Layout(tmp_path / "results"), {}), calls=calls, weights=weights, job=job)


def test_the_same_images_are_extracted_once_and_come_back_the_same(extract):
    first = extract.run(IMAGES, source=np.arange(4))
    again = extract.run(IMAGES.clone(), labels=np.arange(4))
    assert len(extract.calls) == 1
    np.testing.assert_array_equal(first["inception"].values, again["inception"].values)
    np.testing.assert_array_equal(first["inception"].probabilities, again["inception"].probabilities)
    assert first["inception"].source.tolist() == [0, 1, 2, 3] and again["inception"].source is None
    assert again["inception"].labels.tolist() == [0, 1, 2, 3]
    assert len(list(extract.run.layout.features.iterdir())) == 1


def test_other_images_weights_threads_or_a_deleted_file_are_extracted_anew(extract):
    extract.run(IMAGES)
    extract.run(IMAGES.flip(0))
    assert len(extract.calls) == 2
    extract.weights.write_bytes(b"second")
    extract.run(IMAGES)
    assert len(extract.calls) == 3
    extract.job["threads"] = 2
    extract.run(IMAGES)
    assert len(extract.calls) == 4
    for file in extract.run.layout.features.iterdir():
        file.unlink()
    extract.run(IMAGES)
    assert len(extract.calls) == 5
