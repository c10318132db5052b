"""The sha256 of the loaded weights decides the name: a stand-in's numbers never bear that of the real network."""

import hashlib
from types import SimpleNamespace

import pytest
import torch

from dpmot.features import Extractor, Features, dinov2, inception, plugins, resnet56
from dpmot.features._images import named
from dpmot.metrics import frechet

RGB = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def stand_in(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / resnet56.EXPECTED[0].rpartition("/")[2]  # by the published name
    torch.save(resnet56.ResNet56().state_dict(), path)
    return path


def test_known_weights_bear_the_name_wherever_they_lie_and_others_never_do(tmp_path):
    real, wrong = tmp_path / "anything.bin", tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    real.write_bytes(b"real")
    wrong.write_bytes(b"wrong")
    sha256 = hashlib.sha256(b"real").hexdigest()
    (tmp_path / "linked").symlink_to(real)
    assert named("inception", real, sha256) == named("inception", tmp_path / "linked", sha256) == "inception"
    told = f"inception-{hashlib.sha256(b'wrong').hexdigest()[:8]}"
    assert named("inception", wrong, sha256) == told
    wrong.write_bytes(b"real")  # another file of the same name
    assert named("inception", wrong, sha256) == "inception"


def test_metrics_in_features_of_drawn_weights_bear_the_digits_of_their_file(stand_in, monkeypatch):
    digits = hashlib.sha256(stand_in.read_bytes()).hexdigest()
    found = resnet56.extract(RGB, weights=stand_in)
    assert found.extractor == f"resnet56-{digits[:8]}"
    assert set(frechet.evaluate(found, {"test": found})) == {(f"fd_resnet56-{digits[:8]}", "test")}
    monkeypatch.setattr(resnet56, "SHA256", digits)
    assert resnet56.extract(RGB, weights=stand_in).extractor == "resnet56"


def test_inceptions_name_follows_its_file(tmp_path, monkeypatch):
    (tmp_path / "drawn.pth").write_bytes(b"drawn")
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(3)).eval()
    network.to = lambda device: lambda images: (network(images.float()), network(images.float()))
    monkeypatch.setattr(inception, "load", lambda path: network)
    digits = network.sha256 = hashlib.sha256(b"drawn").hexdigest()
    assert inception.extract(RGB, weights=tmp_path / "drawn.pth").extractor == f"inception-{digits[:8]}"
    monkeypatch.setattr(inception, "SHA256", digits)
    assert inception.extract(RGB, weights=tmp_path / "drawn.pth").extractor == "inception"


def test_dinov2_of_weights_that_are_not_in_the_cache_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(dinov2, "load", lambda: SimpleNamespace(to=lambda device: lambda x: (x.flatten(1).float(),)))
    assert dinov2.extract(RGB, download=True).extractor == "dinov2-unknown"
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / dinov2.FILE).write_bytes(b"other")
    told = f"dinov2-{hashlib.sha256(b'other').hexdigest()[:8]}"
    assert dinov2.extract(RGB, download=True).extractor == told
    monkeypatch.setattr(dinov2, "SHA256", hashlib.sha256(b"other").hexdigest())
    assert dinov2.extract(RGB, download=True).extractor == "dinov2"


def test_a_plug_in_that_names_its_features_after_another_is_refused(monkeypatch):
    module = plugins.find("features", "pixels")
    monkeypatch.setattr(
        module, "extract", lambda raw: Features(values=raw.flatten(1).double().numpy(), extractor="clip")
    )
    with pytest.raises(ValueError, match="pixels: extract must give its Features of 4 samples, got 4 rows of clip"):
        Extractor("pixels").extract(RGB)
