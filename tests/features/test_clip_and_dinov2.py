"""CLIP and DINOv2: torch-fidelity's own classes around stand-in networks; nothing is fetched or read unverified."""

import hashlib

import numpy as np
import pytest
import torch

from dpmot._torchvision import make_importable
from dpmot.features import clip, dinov2

GREY = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Patches(torch.nn.Module):
    """A vision network of its own resolution: mean colours of a grid of patches."""

    input_resolution = 224

    def forward(self, x):
        assert x.shape[1:] == (3, 224, 224)
        return torch.nn.functional.adaptive_avg_pool2d(x, 4).flatten(1)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_clip_gives_the_encoders_features_of_grey_and_rgb(hub, monkeypatch):
    make_importable()
    from torch_fidelity import feature_extractor_clip as module

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.visual = Patches()

    weights = hub / clip.FILE
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(weights))
    monkeypatch.setattr(clip, "SHA256", hashlib.sha256(weights.read_bytes()).hexdigest())
    monkeypatch.setattr(module, "build_model", lambda state, dtype: Whole())
    clip.load.cache_clear()
    found = clip.extract(GREY, tile=2)
    assert found.values.shape == (5, 48) and found.extractor == "clip" and found.probabilities is None
    np.testing.assert_array_equal(found.values, clip.extract(GREY.repeat(1, 3, 1, 1), tile=2).values)
    assert np.ptp(found.values, axis=0).min() > 0
    clip.load.cache_clear()


def test_clip_reads_no_file_of_another_hash_and_fetches_nothing_unasked(hub):
    with pytest.raises(
        FileNotFoundError, match=r"No CLIP weights: put https://.*ViT-B-32.pt as clip-vit-b-32-.*download"
    ):
        clip.extract(GREY)
    (hub / clip.FILE).write_bytes(b"not CLIP")
    with pytest.raises(ValueError, match=r"has sha256 .*, CLIP's has 40d36571.*delete it and download it again"):
        clip.extract(GREY)


def test_dinov2_runs_no_fetched_code_unless_allowed_and_then_gives_its_features(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.hub, "load", lambda *arguments: asked.append(arguments) or Patches())
    dinov2.load.cache_clear()
    with pytest.raises(ValueError, match=r"runs code of facebookresearch/dinov2 .* allow it, download: true"):
        dinov2.extract(GREY)
    assert not asked
    found = dinov2.extract(GREY, download=True)
    assert asked == [("facebookresearch/dinov2", "dinov2_vitb14")]
    assert found.values.shape == (5, 48) and found.extractor == "dinov2-unknown"
    dinov2.load.cache_clear()
