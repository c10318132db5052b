"""The Inception extractor: the network's real code with stand-in weights; never a measured FID."""

import hashlib

import numpy as np
import pytest
import torch

from dpmot._torchvision import make_importable
from dpmot.features import inception


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights in the network's own format."""
    make_importable()
    from torch_fidelity import feature_extractor_inceptionv3 as module

    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        torch.manual_seed(0)
        patch.setattr(module, "load_state_dict_from_url", lambda url, progress: {})
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network = module.FeatureExtractorInceptionV3("stand-in", ["2048"], verbose=False)
    path = tmp_path_factory.mktemp("inception") / "stand-in.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """Neither the variable nor torch's cache knows any weights."""
    monkeypatch.delenv(inception.VARIABLE, raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path


def test_the_real_network_gives_2048_features_and_1008_probabilities_of_grey_and_rgb(weights):
    grey = torch.randint(0, 256, (3, 1, 8, 8), dtype=torch.uint8, generator=torch.manual_seed(0))
    features = inception.extract(grey, weights=weights, tile=2)
    assert features.values.shape == (3, 2048) and features.probabilities.shape == (3, 1008)
    assert features.extractor == f"inception-{hashlib.sha256(weights.read_bytes()).hexdigest()[:8]}"
    repeated = inception.extract(grey.repeat(1, 3, 1, 1), weights=weights, tile=2)
    np.testing.assert_array_equal(features.values, repeated.values)
    assert np.ptp(features.values, axis=0).max() > 0  # the features see the image
    # The unbiased logits leave out the bias: probabilities are the softmax of values @ W^T.
    head = inception.load(weights).fc.weight.numpy()
    logits = features.values.astype(np.float64) @ head.T.astype(np.float64)
    expected = np.exp(logits - logits.max(1, keepdims=True))
    # float32 logits of size about one
    np.testing.assert_allclose(features.probabilities, expected / expected.sum(1, keepdims=True), rtol=1e-4)


def test_weights_come_from_the_config_then_the_variable_then_the_cache(nowhere, monkeypatch):
    cache = nowhere / "hub" / "checkpoints" / inception.FILE
    cache.parent.mkdir(parents=True)
    for path in (cache, nowhere / "variable", nowhere / "config"):
        path.touch()
    assert inception.resolve_weights() == cache
    monkeypatch.setenv(inception.VARIABLE, str(nowhere / "variable"))
    assert inception.resolve_weights() == nowhere / "variable"
    assert inception.resolve_weights(nowhere / "config") == nowhere / "config"


def test_a_named_file_that_is_missing_is_an_error_and_no_fallback(nowhere, monkeypatch):
    with pytest.raises(FileNotFoundError, match="which the config names"):
        inception.resolve_weights(nowhere / "typo", download=True)
    monkeypatch.setenv(inception.VARIABLE, str(nowhere / "gone"))
    with pytest.raises(FileNotFoundError, match=r"gone, which \$DPMOT_INCEPTION names"):
        inception.resolve_weights()


def test_nothing_touches_the_network_unless_download_is_true(nowhere, monkeypatch):
    asked = []

    def download(url, path, hash_prefix):
        asked.append((url, hash_prefix))
        open(path, "wb").close()

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(FileNotFoundError, match="set download: true") as caught:
        inception.resolve_weights()
    assert "\n" not in str(caught.value) and not asked
    path = inception.resolve_weights(download=True)
    assert asked == [(inception.URL, inception.SHA256)] and path.name == inception.FILE
    assert inception.resolve_weights() == path  # found in the cache from now on


def test_a_file_of_other_tensors_or_no_tensors_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("not weights")
    for name in ("other.pth", "text.pth"):
        with pytest.raises(ValueError, match="does not hold the weights of torch-fidelity's Inception-v3"):
            inception.load(tmp_path / name)


def test_a_pickle_that_would_run_code_is_refused_before_torch_fidelity_sees_it(tmp_path):
    class Attack:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"weight": Attack()}, tmp_path / "attack.pth")
    with pytest.raises(ValueError, match="does not hold the weights"):
        inception.load(tmp_path / "attack.pth")
    assert not (tmp_path / "owned").exists()


def test_float_images_are_refused(weights):
    with pytest.raises(ValueError, match="must be uint8"):
        inception.extract(torch.zeros(1, 3, 8, 8), weights=weights)
