"""Features of slow networks are extracted once for the same images, and again when anything they depend on changes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dpmot.experiment.jobs import Layout
from dpmot.experiment.stages import _feature_cache
from dpmot.experiment.stages._feature_cache import Extractors
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
    find = _feature_cache.plugins.find
    monkeypatch.setattr(
        _feature_cache.plugins, "find", lambda kind, name: module if name == "inception" else find(kind, name)
    )
    job = {
        "extractors": ["pixels", "inception"],
        "inception": {"weights": str(weights), "download": False},
        "threads": 1,
        "device": "cpu",
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


@pytest.fixture
def resnet56(tmp_path, monkeypatch):
    """The real ResNet-56 with weights drawn at random, which counts the images it is asked for."""
    torch.manual_seed(0)
    module = _feature_cache.plugins.find("features", "resnet56")
    file, asked, extract = tmp_path / "drawn.pt", [], module.extract
    torch.save(module.ResNet56().state_dict(), file)
    monkeypatch.setattr(module, "published", lambda root: file)
    monkeypatch.setattr(module, "extract", lambda raw, weights: asked.append(len(raw)) or extract(raw, weights=weights))
    job = {"extractors": ["pixels", "resnet56"], "root": None, "threads": 1, "device": "cpu"}
    direct = lambda raw: extract(raw, weights=file)  # noqa: E731
    return SimpleNamespace(job=job, layout=Layout(tmp_path / "results"), asked=asked, direct=direct)


@pytest.mark.usefixtures("one_thread")
def test_resnet56_is_asked_once_for_each_distinct_image_and_tells_the_same_to_the_bit(resnet56):
    images = torch.randint(256, (30, 3, 32, 32), dtype=torch.uint8)
    copies = images[torch.arange(50) % 20]
    for _ in range(2):  # the second job finds the first one's features on disk
        run = Extractors(resnet56.job, resnet56.layout, {})
        for raw in (images, copies, torch.cat([copies, 255 - images[:5]])):
            found, expected = run(raw)["resnet56"], resnet56.direct(raw)
            np.testing.assert_array_equal(found.values, expected.values)
            np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    assert resnet56.asked == [30, 5]


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
