"""Frechet distance against closed forms and against torch-fidelity's own formula."""

import numpy as np
import pytest

from dpmot.features import Features
from dpmot.metrics import frechet
from dpmot.statistics.jackknife import groups


def features(values, extractor="classifier"):
    return Features(values=np.asarray(values), extractor=extractor)


def test_commuting_gaussians_match_the_closed_form():
    random = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(random.standard_normal((6, 6)))
    s1, s2 = random.uniform(0.1, 3, 6), random.uniform(0.1, 3, 6)
    m1, m2 = random.standard_normal((2, 6))
    first = frechet.gaussian_moments(m1, rotation * s1**2 @ rotation.T)
    second = frechet.gaussian_moments(m2, rotation * s2**2 @ rotation.T)
    # With common eigenvectors FD = |m1 - m2|^2 + sum (s1 - s2)^2; float64 rounding
    expected = ((m1 - m2) ** 2).sum() + ((s1 - s2) ** 2).sum()
    assert frechet.frechet_distance(first, second) == pytest.approx(expected, rel=1e-12)


def test_gaussians_that_do_not_commute_match_the_matrix_square_root():
    from scipy.linalg import sqrtm

    random = np.random.default_rng(1)
    c1, c2 = (a @ a.T for a in random.standard_normal((2, 5, 5)))
    root = sqrtm(c1)
    expected = np.trace(c1) + np.trace(c2) - 2 * np.trace(sqrtm(root @ c2 @ root)).real
    zero = np.zeros(5)
    found = frechet.frechet_distance(frechet.gaussian_moments(zero, c1), frechet.gaussian_moments(zero, c2))
    assert found == pytest.approx(expected, rel=1e-9)  # sqrtm is accurate to about 1e-10 here


def test_the_distance_agrees_with_torch_fidelity_on_the_same_features():
    import torch

    from dpmot._torchvision import make_importable

    make_importable()
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    random = np.random.default_rng(2)
    x = random.standard_normal((300, 24)) @ random.standard_normal((24, 24))
    y = random.standard_normal((250, 24)) @ random.standard_normal((24, 24)) + 0.3
    statistics = [fid_features_to_statistics(torch.from_numpy(v)) for v in (x, y)]
    theirs = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    ours = frechet.evaluate(features(x), {"test": features(y)})["fd_classifier", "test"]
    assert ours == pytest.approx(theirs, rel=1e-5)  # their unsymmetric eigenvalues lose half of float64's digits


def test_few_samples_in_many_dimensions_are_remarked():
    test = {"test": features(np.ones((13, 12)))}
    assert frechet.remark(features(np.ones((72, 12))), test) == ""
    few, fewer = (frechet.remark(features(np.ones((n, 12))), test) for n in (71, 12))
    assert few == "n = 71 samples are fewer than 6 d = 72: FD keeps its bias"
    assert fewer == "n = 12 samples are fewer than 6 d = 72: FD keeps its bias and the covariance is singular"
    short = frechet.remark(features(np.ones((72, 12))), {"test": features(np.ones((12, 12)))})
    assert short == "the reference test has 12 rows in d = 12: its covariance is singular"


def test_heavy_tails_are_remarked_and_light_ones_are_not():
    draw, test = np.random.default_rng(9), {"test": features(np.random.default_rng(10).standard_normal((600, 4)))}
    assert frechet.remark(features(draw.laplace(size=(600, 4))), test) == ""
    heavy = frechet.remark(features(draw.standard_t(3, (600, 4))), test)
    assert heavy.startswith("squared lengths of features have an excess kurtosis beyond 25, samples ")
    assert heavy.endswith(": intervals of FD hold the truth too seldom")
    assert "reference test" in frechet.remark(test["test"], {"test": features(draw.standard_t(2, (600, 4)))})


def test_singular_values_stand_in_where_roots_of_eigenvalues_lose_too_much(monkeypatch):
    draw = np.random.default_rng(11)
    scale = np.logspace(0, -7, 10)  # covariances of condition 1e14, whose product has 1e28
    x, y = (features(draw.standard_normal((200, 10)) * scale) for _ in range(2))
    exact = frechet.frechet_distance(frechet.moments(x.values), frechet.moments(y.values))
    known = frechet._reference_moments(y)
    product = known.root.T @ np.cov(x.values, rowvar=False) @ known.root
    assert frechet._trace_of_root(product, 1e-10 * known.trace) is None
    assert frechet.evaluate(x, {"test": y})["fd_classifier", "test"] == pytest.approx(exact, rel=1e-9)
    wide = [features(draw.standard_normal((200, 10)) + k) for k in (0, 1)]
    fast = frechet.evaluate(wide[0], {"test": wide[1]})["fd_classifier", "test"]
    monkeypatch.setattr(frechet, "ROUNDING", 0)
    slow = frechet.evaluate(wide[0], {"test": wide[1]})["fd_classifier", "test"]
    assert slow == pytest.approx(fast, rel=1e-12)  # float64 rounding of a product of condition 10


@pytest.mark.parametrize("n", [300, 6])
def test_the_rows_of_the_reference_are_the_derivatives_of_the_distance_in_their_weights(n):
    draw = np.random.default_rng(12)
    x = features(draw.standard_normal((n, 8)) * np.linspace(0.5, 2, 8) + 0.3)
    y = features(draw.standard_normal((90, 8)))
    own, mean, covariance = frechet.moments(x.values), y.values.mean(axis=0), np.cov(y.values, rowvar=False)

    def distance(row, weight):
        offset = y.values[row] - mean
        moved = (1 - weight) * covariance + weight * np.outer(offset, offset)
        return frechet.frechet_distance(own, frechet.gaussian_moments(mean + weight * offset, moved))

    slopes = [(distance(row, 1e-5) - distance(row, -1e-5)) / 2e-5 for row in (0, 1)]
    rows = frechet.reference_rows(x, {"test": y})["fd_classifier", "test"]
    assert rows[0] - rows[1] == pytest.approx(slopes[0] - slopes[1], rel=1e-4)  # central differences


@pytest.mark.parametrize("rank", [12, 5])
def test_identical_sets_have_distance_zero_even_with_singular_covariance(rank):
    random = np.random.default_rng(3)
    x = random.standard_normal((200, rank)) @ random.standard_normal((rank, 12)) * np.logspace(0, -3, 12)
    trace = np.cov(x, rowvar=False).trace()
    distance = frechet.evaluate(features(x), {"train": features(x.copy())})["fd_classifier", "train"]
    assert abs(distance) <= 1e-9 * trace  # rounding of 24 singular values is 1e-14


def test_dead_features_add_nothing():
    random = np.random.default_rng(4)
    x, y = random.standard_normal((100, 3)), random.standard_normal((90, 3))
    dead = [np.concatenate([v, np.zeros((len(v), 4))], axis=1) for v in (x, y)]
    alive = frechet.evaluate(features(x), {"test": features(y)})["fd_classifier", "test"]
    found = frechet.evaluate(features(dead[0]), {"test": features(dead[1])})["fd_classifier", "test"]
    assert found == pytest.approx(alive, rel=1e-12)


def test_a_shift_of_the_mean_costs_its_square():
    x = np.random.default_rng(5).standard_normal((80, 4))
    found = frechet.evaluate(features(x + 2.0), {"test": features(x)})["fd_classifier", "test"]
    assert found == pytest.approx(16.0, rel=1e-12)


@pytest.mark.parametrize("n", [63, 400])
def test_leaving_groups_out_equals_evaluating_the_subsets(n):
    random = np.random.default_rng(6)
    # a large mean against the spread, as in real features: the sums must not cancel
    generated = features((random.standard_normal((n, 16)) + 50).astype(np.float32))
    references = {
        name: features((random.standard_normal((150, 16)) + 50).astype(np.float32)) for name in ("train", "test")
    }
    member = groups(n, 7)
    without = frechet.leave_out(generated, references, member)
    for g in range(7):
        exact = frechet.evaluate(generated.subset(member != g), references)
        for key, value in exact.items():
            assert without[key][g] == pytest.approx(value, rel=1e-8)  # contract of leave_out


def test_reference_moments_are_computed_once(monkeypatch):
    calls, exact = [], frechet.moments
    monkeypatch.setattr(frechet, "moments", lambda values: calls.append(len(values)) or exact(values))
    random = np.random.default_rng(7)
    reference = features(random.standard_normal((40, 3)))
    for _ in range(3):
        frechet.evaluate(features(random.standard_normal((30, 3))), {"test": reference})
    assert calls == [40]


def test_too_few_samples_and_foreign_references_are_refused():
    x = np.random.default_rng(8).standard_normal((4, 3))
    with pytest.raises(ValueError, match="FD needs two samples, got 1"):
        frechet.evaluate(features(x[:1]), {"test": features(x)})
    with pytest.raises(ValueError, match="only 1 samples remain"):
        frechet.leave_out(features(x[:2]), {"test": features(x)}, np.array([0, 1]))
    with pytest.raises(ValueError, match="extract both with the same network"):
        frechet.evaluate(features(x), {"test": features(x, "pixels")})
