"""The small classifier: learning, determinism, files, and bits that do not depend on the batch."""

import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from dpmot.features import Extractor, Offer, classifier
from dpmot.features._calibration import Calibration, calibration


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    # pixel levels 0..16 -> 0..255
    images = torch.from_numpy((images.reshape(-1, 1, 8, 8) * 255 / 16).round().astype(np.uint8))
    return images, torch.from_numpy(labels)


@pytest.fixture(scope="module")
def trained(digits):
    images, labels = digits
    return classifier.train(images[::3], labels[::3], seed=0, epochs=20)


@pytest.fixture
def saved(trained, tmp_path):
    path = tmp_path / "classifier.safetensors"
    classifier.save(path, trained, {"accuracy": "0.98", "ece": "0.01"})
    return path


def test_a_third_of_the_digits_teaches_the_other_two(digits, trained):
    images, labels = digits
    rest = np.arange(len(images)) % 3 != 0
    found = classifier.evaluate(trained, images[rest], labels[rest])
    # 20 epochs reach .97-.98 over seeds (60 epochs .98); .955 is three binomial standard errors below .97
    assert found.accuracy >= 0.955
    # a calibrated classifier of this accuracy measures .01-.02 on 1198 images
    assert found.ece <= 0.05


def test_training_depends_on_its_seed_alone(digits):
    images, labels = digits[0][:200], digits[1][:200]
    torch.manual_seed(1)
    first = classifier.train(images, labels, seed=3, epochs=2)
    before = torch.random.get_rng_state()
    torch.manual_seed(2)
    second = classifier.train(images, labels, seed=3, epochs=2)
    other = classifier.train(images, labels, seed=4, epochs=2)
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.head.weight, other.head.weight)
    torch.manual_seed(1)
    assert torch.equal(before, torch.random.get_rng_state())  # the caller's random stream is untouched


def test_an_interrupted_training_goes_on_to_the_same_bits(digits, monkeypatch):
    images, labels = digits[0][:200], digits[1][:200]
    whole = classifier.train(images, labels, seed=3, epochs=4)
    monkeypatch.setattr(classifier, "CHECKPOINT_SECONDS", 0)

    class Kept:
        state = None

        def load(self):
            return self.state and (self.state[0], json.loads(self.state[1]))

        def save(self, tensors, facts):
            self.state = {name: tensor.clone() for name, tensor in tensors.items()}, json.dumps(facts)
            if facts["epoch"] == 2:
                raise KeyboardInterrupt

    kept = Kept()
    with pytest.raises(KeyboardInterrupt):
        classifier.train(images, labels, seed=3, epochs=4, checkpoint=kept)
    resumed = classifier.train(images, labels, seed=3, epochs=4, checkpoint=kept)
    assert json.loads(kept.state[1])["epoch"] == 4
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_features_are_the_same_bits_in_every_batch(digits, saved):
    images = digits[0][:150]
    whole = classifier.extract(images, weights=saved)
    parts = [classifier.extract(images[i : i + 7], weights=saved) for i in range(0, 150, 7)]
    np.testing.assert_array_equal(np.concatenate([part.values for part in parts]), whole.values)
    np.testing.assert_array_equal(np.concatenate([part.probabilities for part in parts]), whole.probabilities)
    order = np.random.default_rng(0).permutation(150)
    np.testing.assert_array_equal(classifier.extract(images[order], weights=saved).values, whole.values[order])


def test_features_are_64_activations_whose_linear_head_gives_the_probabilities(digits, trained, saved):
    features = classifier.extract(digits[0][:100], weights=saved)
    assert features.values.shape == (100, 64) and features.values.min() >= 0 and features.extractor == "classifier"
    with torch.no_grad():
        expected = trained.head(torch.from_numpy(np.array(features.values))).softmax(1).numpy()
    # the same float32 product in another tiling: a few units in the last place of logits of size about 10
    np.testing.assert_allclose(features.probabilities, expected, rtol=1e-4, atol=1e-6)


def test_a_saved_classifier_loads_with_its_metadata_and_weights(trained, saved):
    loaded, metadata = classifier.load(saved)
    assert metadata["accuracy"] == "0.98" and metadata["ece"] == "0.01" and "[1, 8, 8]" in metadata["architecture"]
    for name, tensor in trained.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert not loaded.training


def test_equal_classifiers_give_equal_bytes(trained, tmp_path):
    entries = {f"key{i}": str(i) for i in range(20)}
    contents = set()
    for i in range(5):
        classifier.save(tmp_path / f"{i}", trained, dict(sorted(entries.items(), reverse=bool(i % 2))))
        contents.add((tmp_path / f"{i}").read_bytes())
    assert len(contents) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == list("01234")  # no partial file is left


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 5, 9)])
def test_one_architecture_fits_every_image_size(shape):
    network = classifier.Classifier(10, shape).eval()
    features, logits = network(torch.zeros(2, *shape))
    assert features.shape == (2, 64) and logits.shape == (2, 10)
    assert sum(p.numel() for p in network.parameters()) < 80_000


def test_the_calibration_error_of_two_bins_matches_the_hand_calculation():
    # confidences .9 (3 right of 4) and .6 (1 right of 2): ECE = 4/6 |.75 - .9| + 2/6 |.5 - .6|
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]] * 2)
    found = calibration(probabilities, np.array([0, 0, 0, 1, 1, 0]))
    assert found.accuracy == pytest.approx(4 / 6)
    assert found.ece == pytest.approx(4 / 6 * 0.15 + 2 / 6 * 0.1)


def test_a_certain_and_right_classifier_is_calibrated():
    assert calibration(np.eye(3), np.arange(3)) == Calibration(accuracy=1.0, ece=0.0)


def test_shifts_move_an_image_by_at_most_the_given_number_of_pixels():
    x = torch.zeros(64, 1, 5, 5)
    x[:, 0, 2, 2] = 1
    moved = classifier._augmented(x, shift=1, noise=0.0, random=np.random.default_rng(0))
    places = {tuple(p) for p in (moved[:, 0] == 1).nonzero()[:, 1:].tolist()}
    assert places == {(i, j) for i in (1, 2, 3) for j in (1, 2, 3)}  # 64 draws of 9 places miss one with 5e-3
    assert (moved.sum((1, 2, 3)) == 1).all()


def test_noise_has_the_given_standard_deviation():
    noisy = classifier._augmented(torch.zeros(50, 1, 8, 8), shift=0, noise=0.3, random=np.random.default_rng(0))
    assert noisy.std().item() == pytest.approx(0.3, rel=0.05)  # 3200 draws: relative standard error .0125


def test_bad_images_labels_and_files_are_refused(digits, trained, saved, tmp_path):
    images, labels = digits
    with pytest.raises(ValueError, match="must be uint8"):
        classifier.extract(images.float() / 255, weights=saved)
    with pytest.raises(ValueError, match=r"trained on images \(1, 8, 8\), got \(1, 9, 9\)"):
        classifier.extract(torch.zeros(2, 1, 9, 9, dtype=torch.uint8), weights=saved)
    with pytest.raises(ValueError, match="need one each"):
        classifier.train(images[:10], labels[:9], seed=0)
    with pytest.raises(ValueError, match="two or more classes"):
        classifier.train(images[:10], torch.zeros(10, dtype=torch.int64), seed=0)
    with pytest.raises(FileNotFoundError, match="train the classifier first"):
        classifier.load(tmp_path / "nothing")
    (tmp_path / "cut").write_bytes(saved.read_bytes()[:1000])
    with pytest.raises(ValueError, match="train the classifier again"):
        classifier.load(tmp_path / "cut")


def test_a_class_that_it_would_never_name_is_refused_by_number(digits, trained):
    images, labels = digits[0][:200], digits[1][:200]
    with pytest.raises(ValueError, match="would not know class 10 of 11: none of its 200 training images is of it"):
        classifier.train(images, labels, seed=0, num_classes=11)
    with pytest.raises(ValueError, match="would not know class 3 of 10: none of its"):
        classifier.train(images[labels != 3], labels[labels != 3], seed=0)
    with pytest.raises(ValueError, match="class 9 of the data is none of its 9"):
        classifier.train(images, labels, seed=0, num_classes=9)
    with pytest.raises(ValueError, match="class 12 of the data is none of its 10; train another"):
        classifier.evaluate(trained, images, np.where(labels == 3, 12, labels))
    with pytest.raises(ValueError, match=r"200 images and torch.float64 labels .* integers of two or more classes"):
        classifier.train(images, labels.double(), seed=0)
    with pytest.raises(ValueError, match=r"needs a label 0..9 of each, got \(199,\) up to 9"):
        classifier.evaluate(trained, images, labels[:-1])


def test_a_plan_knows_which_images_a_trained_classifier_takes(saved, tmp_path):
    Extractor("classifier", Offer(classifier=saved, shape=(1, 8, 8))).check()
    with pytest.raises(ValueError, match=r"was trained on images \(1, 8, 8\) of 10 classes, .* are \(3, 32, 32\)"):
        Extractor("classifier", Offer(classifier=saved, shape=(3, 32, 32))).check()
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(ValueError, match=r"holds no classifier of this version .* train the classifier again"):
        Extractor("classifier", Offer(classifier=tmp_path / "text", shape=(1, 8, 8))).check()


def test_a_training_is_the_same_bits_whatever_the_caller_set_for_all_code(digits, altered):
    images, labels = digits[0][:100], digits[1][:100]
    plain = classifier.train(images, labels, seed=3, epochs=2)
    with altered():
        found = classifier.train(images, labels, seed=3, epochs=2)
        judged = classifier.evaluate(found, images, labels)
    for a, b in zip(plain.state_dict().values(), found.state_dict().values(), strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b)
    assert judged == classifier.evaluate(plain, images, labels)
