"""FLD: its variances maximise the likelihood, copying and distance raise it, the held-out half is at zero."""

import tracemalloc

import numpy as np
import pytest
from scipy.optimize import minimize

from dpmot.features import Features
from dpmot.metrics import likelihood
from dpmot.statistics import jackknife


def features(values):
    return Features(values=np.asarray(values, dtype=float), extractor="x")


def draw(n, seed, d=16):
    return np.random.default_rng(seed).standard_normal((n, d))


REFERENCES = {"train": features(draw(400, 0)), "test": features(draw(400, 1))}


def fld(values):
    return likelihood.evaluate(features(values), REFERENCES)["fld_x", "test"]


def test_the_variances_maximise_the_likelihood(monkeypatch):
    monkeypatch.setattr(likelihood, "STEPS", 5000)
    monkeypatch.setattr(likelihood, "ENOUGH", 1e-13)
    centres, x = draw(6, 2, d=3), draw(200, 3, d=3)
    squared, far = ((x[:, None] - centres) ** 2).sum(-1), 0.81 * ((x - x.mean(0)) ** 2).sum(1)

    def loss(logs):  # of six variances and, last, the broad component's
        parts = -0.5 * squared / np.exp(logs[:6]) - 1.5 * (np.log(2 * np.pi) + logs[:6])
        broad = -0.5 * far / np.exp(logs[6]) - 1.5 * (np.log(2 * np.pi) + logs[6])
        return -np.log(np.exp(parts).mean(1) + np.exp(broad)).mean()

    found = likelihood.variances(centres, x)
    best = minimize(loss, np.append(np.log(found), 0) + 0.1, method="BFGS", options={"gtol": 1e-9}).x
    assert found == pytest.approx(np.exp(best[:6]), rel=1e-3)


def test_fresh_samples_do_better_than_a_shift_and_far_better_than_copies():
    fresh, shifted = fld(draw(200, 4)), fld(draw(200, 4) + 0.5)
    copies = fld(REFERENCES["train"].values[:200])
    assert abs(fresh) < 3 and shifted > fresh + 5 and copies > fresh + 5


@pytest.mark.parametrize("noise", [0, 0.01])
def test_copies_of_only_a_few_training_images_are_given_away(noise):
    copies = REFERENCES["train"].values[:100] + noise * draw(100, 5)
    assert fld(copies) > 1000  # the 300 other images are no reason for wide Gaussians at the copies


def test_a_missing_mode_raises_it():
    def modes(seed, which):
        return features(draw(400, seed) + 3 * np.where(np.arange(400) % 2 < which, 1, -1)[:, None])

    references = {"train": modes(10, 1), "test": modes(11, 1)}
    both, one = (likelihood.evaluate(modes(12, n), references)["fld_x", "test"] for n in (1, 2))
    assert abs(both) < 3 and one > both + 20


def test_leaving_out_with_variances_held_gives_nearly_the_error_of_refitting():
    x = features(draw(400, 6))
    groups = jackknife.groups(400, 10)
    held = likelihood.leave_out(x, REFERENCES, groups)["fld_x", "test"]
    refitted = [likelihood.evaluate(x.subset(groups != g), REFERENCES)["fld_x", "test"] for g in range(10)]
    assert held.std() == pytest.approx(np.std(refitted), rel=0.15) and np.corrcoef(held, refitted)[0, 1] > 0.9


def test_rows_beyond_the_most_are_chosen_by_content_whatever_their_order(monkeypatch):
    monkeypatch.setattr(likelihood, "MOST", 100)
    x, order = draw(300, 9), np.random.default_rng(1).permutation(300)
    small = {name: features(one.values[:100]) for name, one in REFERENCES.items()}
    one, other = (likelihood.evaluate(features(rows), small)["fld_x", "test"] for rows in (x, x[order]))
    assert one == pytest.approx(other, rel=1e-9)
    assert likelihood.remark(features(x), small) == "FLD uses 100 of the 300 samples"
    assert likelihood.remark(features(x[:100]), small) == ""
    member = jackknife.groups(300, 5)
    held = likelihood.leave_out(features(x), small, member)["fld_x", "test"]
    shuffled = likelihood.leave_out(features(x[order]), small, member[order])["fld_x", "test"]
    assert held == pytest.approx(shuffled, rel=1e-9)


def test_too_few_training_images_are_refused():
    with pytest.raises(ValueError, match="FLD needs 4 images of the reference train, got 3"):
        likelihood.evaluate(features(draw(5, 7)), {**REFERENCES, "train": features(draw(3, 8))})


def test_distances_that_are_not_kept_are_computed_again_to_the_same_bits(monkeypatch):
    kept = fld(draw(200, 12))
    monkeypatch.setattr(likelihood, "KEPT", 0)
    assert fld(draw(200, 12)) == kept


def test_memory_does_not_grow_with_the_product_of_both_numbers(monkeypatch):
    monkeypatch.setattr(likelihood, "BLOCK", 1 << 14)
    monkeypatch.setattr(likelihood, "KEPT", 1 << 15)
    monkeypatch.setattr(likelihood, "STEPS", 2)
    x, y = draw(1500, 13, d=4), draw(1500, 14, d=4)
    tracemalloc.start()
    likelihood.variances(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 1500 * 1500 / 4  # bytes of one matrix of all pairs: 18 MB; a dozen blocks are 1.5 MB
