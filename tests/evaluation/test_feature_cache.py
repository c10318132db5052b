"""Features of slow networks are extracted once for the same images, and again when anything they depend on changes."""

import time
from multiprocessing.pool import ThreadPool
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dpmot import plugins
from dpmot.evaluation.feature_cache import Extractors
from dpmot.features import Extractor, Features, Offer

IMAGES = torch.arange(4 * 64, dtype=torch.uint8).reshape(4, 1, 8, 8)


def extractors(tmp_path, name, offer, *, threads=1):
    made = [Extractor("pixels"), Extractor(name, offer)]
    return Extractors(made, tmp_path / "features", threads=threads, device="cpu")


@pytest.fixture
def extract(tmp_path, monkeypatch):
    """An experiment with a stand-in for Inception, which counts its calls."""
    calls, weights = [], tmp_path / "weights"
    weights.write_bytes(b"first")

    def extractor(raw, **options):
        calls.append(options)
        p = np.full((len(raw), 2), 0.5)
        return Features(values=raw.flatten(1).double().numpy(), extractor="inception", probabilities=p)

    monkeypatch.setattr(plugins.find("features", "inception"), "extract", extractor)
    offer = Offer(given={"weights": str(weights)})

    def run(images, *, threads=1, **known):
        return extractors(tmp_path, "inception", offer, threads=threads)(images, **known)

    return SimpleNamespace(run=run, calls=calls, weights=weights, folder=tmp_path / "features")


def test_the_same_images_are_extracted_once_and_come_back_the_same(extract):
    first = extract.run(IMAGES, source=np.arange(4))
    again = extract.run(IMAGES.clone(), labels=np.arange(4))
    assert extract.calls == [{"weights": extract.weights}]
    np.testing.assert_array_equal(first["inception"].values, again["inception"].values)
    np.testing.assert_array_equal(first["inception"].probabilities, again["inception"].probabilities)
    assert first["inception"].source.tolist() == [0, 1, 2, 3] and again["inception"].source is None
    assert again["inception"].labels.tolist() == [0, 1, 2, 3]
    assert len(list(extract.folder.iterdir())) == 1


def test_jobs_that_want_the_same_features_at_once_extract_them_once(extract, monkeypatch):
    inside, module = [], plugins.find("features", "inception")
    original = module.extract

    def slow(raw, **options):
        inside.append(raw)
        time.sleep(0.3)  # the other one has long begun
        return original(raw, **options)

    monkeypatch.setattr(module, "extract", slow)
    with ThreadPool(2) as pool:
        first, second = pool.map(extract.run, [IMAGES, IMAGES.clone()])
    np.testing.assert_array_equal(first["inception"].values, second["inception"].values)
    assert len(inside) == 1 and len(list(extract.folder.iterdir())) == 1


@pytest.fixture
def resnet56(tmp_path, monkeypatch):
    """The real ResNet-56 with weights drawn at random, which counts the images it is asked for."""
    torch.manual_seed(0)
    module = plugins.find("features", "resnet56")
    file, asked, extract = tmp_path / "drawn.pt", [], module.extract
    torch.save(module.ResNet56().state_dict(), file)
    monkeypatch.setattr(module, "published", lambda root: file)
    monkeypatch.setattr(module, "extract", lambda raw, weights: asked.append(len(raw)) or extract(raw, weights=weights))
    direct = lambda raw: extract(raw, weights=file)  # noqa: E731
    return SimpleNamespace(asked=asked, direct=direct)


@pytest.mark.usefixtures("one_thread")
def test_resnet56_is_asked_once_for_each_distinct_image_and_tells_the_same_to_the_bit(resnet56, tmp_path):
    images = torch.randint(256, (30, 3, 32, 32), dtype=torch.uint8)
    copies = images[torch.arange(50) % 20]
    for _ in range(2):  # the second job finds the first one's features on disk
        run = extractors(tmp_path, "resnet56", Offer())
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
    extract.run(IMAGES, threads=2)
    assert len(extract.calls) == 4
    for file in extract.folder.iterdir():
        file.unlink()
    extract.run(IMAGES)
    assert len(extract.calls) == 5


MINE = '''"""The mean grey level: one number an image."""

from dpmot.features import Features

SLOW = True
DISTINCT = True
OPTIONS = {"power": "int"}
calls = []


def extract(images, *, power=1):
    calls.append(len(images))
    return Features(values=(images.double().mean((1, 2, 3)) ** power).numpy()[:, None], extractor="mine")
'''


def test_a_new_extractor_is_one_file(tmp_path, monkeypatch):
    package = tmp_path / "extractors_of_a_test"
    package.mkdir()
    (package / "mine.py").write_text(MINE)
    monkeypatch.setattr(plugins, "ROOT", tmp_path)
    monkeypatch.setitem(plugins.FOLDERS, "features", ("feature extractor", package))
    monkeypatch.syspath_prepend(tmp_path)
    for power in (1, 2):
        for _ in range(2):
            mine = Extractor("mine", Offer(given={"power": power}))
            mine.check()
            run = Extractors([mine], tmp_path / "features", threads=1, device="cpu")
            for rows in ([0, 1, 1], [1, 0]):
                found = run(IMAGES[rows])["mine"]
                np.testing.assert_array_equal(found.values[:, 0], [(31.5 + 64 * row) ** power for row in rows])
                assert found.probabilities is None and found.extractor == "mine"
    assert plugins.find("features", "mine").calls == [2, 2]


@pytest.mark.parametrize("name", ["inception", "resnet56"])
def test_features_of_a_stand_in_keep_its_name_in_memory_and_on_disk(name, tmp_path, monkeypatch):
    def extract(raw, **options):
        return Features(values=raw.flatten(1).double().numpy()[:, :4], extractor=f"{name}-1a2b3c4d")

    module = plugins.find("features", name)
    (tmp_path / "weights").write_bytes(b"drawn")
    monkeypatch.setattr(module, "extract", extract)
    monkeypatch.setattr(module, "options", lambda offer: {"weights": tmp_path / "weights"})
    images = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    for _ in range(2):  # extracted, then read
        run = extractors(tmp_path, name, Offer())
        assert [run(images)[name].extractor for _ in range(2)] == [f"{name}-1a2b3c4d"] * 2
