"""The data-copying test C_T on constructed copies, held-out draws and underfitted samples."""

import numpy as np
import pytest

from dpmot.features import Features
from dpmot.metrics import NotMeasurable, ct
from dpmot.statistics.jackknife import groups

KEY = ("ct_pixels", "train")


def pixels(values):
    return Features(values=np.asarray(values, dtype=float), extractor="pixels")


def draw(n, seed):
    """Three clusters in the plane of the first two of 6 coordinates."""
    random = np.random.default_rng(seed)
    centres = np.zeros((3, 6))
    centres[:, :2] = [[0, 6], [5, -3], [-5, -3]]
    return centres[random.integers(3, size=n)] + random.standard_normal((n, 6))


@pytest.fixture(scope="module")
def references():
    return {"train": pixels(draw(500, 0)), "test": pixels(draw(500, 1))}


def test_the_rank_statistic_agrees_with_scipy_with_and_without_ties():
    from scipy.stats import mannwhitneyu, norm

    random = np.random.default_rng(0)
    for x, y in (
        (random.standard_normal(30), random.standard_normal(45) + 0.4),
        (random.integers(0, 6, 40).astype(float), random.integers(1, 7, 25).astype(float)),
    ):
        p = mannwhitneyu(x, y, alternative="less", method="asymptotic", use_continuity=False).pvalue
        assert ct.mann_whitney_z(x, y) == pytest.approx(norm.ppf(p), rel=1e-9)  # inversion of a p-value in float64


def test_equal_values_carry_no_evidence():
    assert ct.mann_whitney_z(np.zeros(5), np.zeros(7)) == 0


def test_copies_are_far_below_zero_and_noise_is_far_above(references):
    copies = pixels(references["train"].values + 0.05 * np.random.default_rng(2).standard_normal((500, 6)))
    noise = pixels(draw(500, 3) + 2 * np.random.default_rng(4).standard_normal((500, 6)))
    # U = 0 in a cell of m = n = 170 gives z = -sqrt(3 m n / (m + n + 1)) = -16
    assert ct.evaluate(copies, references)[KEY] < -12
    assert ct.evaluate(noise, references)[KEY] > 8


def test_held_out_draws_have_mean_zero_and_standard_deviation_below_one(references):
    values = [ct.evaluate(pixels(draw(300, seed)), references)[KEY] for seed in range(100, 160)]
    # One held-out set is common to all 60 draws and shifts them together, by at most one standard deviation (.63 for
    # weights 1/5 in 5 cells of sizes m = 60, n = 100: sqrt(1/5) of a z-score); 3 of these are allowed.
    assert abs(np.mean(values)) < 1.4
    assert 0.1 < np.std(values) < 1.0


def test_cells_with_too_few_images_do_not_count():
    near, far = np.full(30, 1.0), np.full(30, 2.0)
    random = np.random.default_rng(5)
    d = random.standard_normal((3, 30))
    held_out = ct.Distances(np.concatenate([d[0], far]), np.repeat([0, 1], 30))
    own = ct.Distances(np.concatenate([d[1], near[: ct.MIN_PER_CELL - 1]]), np.repeat([0, 1], [30, 19]))
    assert ct.c_t(own, held_out) == pytest.approx(ct.mann_whitney_z(d[1], d[0]))
    enough = ct.Distances(np.concatenate([d[1], near[:20]]), np.repeat([0, 1], [30, 20]))
    # both cells hold half of the held-out images
    expected = 0.5 * ct.mann_whitney_z(d[1], d[0]) + 0.5 * ct.mann_whitney_z(near[:20], far)
    assert ct.c_t(enough, held_out) == pytest.approx(expected)


def test_well_separated_clusters_are_found_as_cells():
    values = np.concatenate(
        [np.random.default_rng(6).standard_normal((100, 2)) + c for c in ((0, 0), (50, 0), (0, 50))]
    )
    train = pixels(values)
    cells = ct._nearest_centre(values, ct._centres(train)).reshape(3, 100)
    assert (cells == cells[:, :1]).all() and len(set(cells[:, 0])) == 3


def test_the_statistic_is_the_same_on_every_call(references):
    generated = draw(200, 7)
    fresh = {name: pixels(reference.values) for name, reference in references.items()}
    assert ct.evaluate(pixels(generated), references) == ct.evaluate(pixels(generated), fresh)


def test_leaving_groups_out_equals_evaluating_the_subsets(references):
    generated, member = pixels(draw(210, 8)), groups(210, 6)
    without = ct.leave_out(generated, references, member)[KEY]
    for g in range(6):
        exact = ct.evaluate(generated.subset(member != g), references)[KEY]
        assert without[g] == pytest.approx(exact, rel=1e-8)  # contract of leave_out


def test_too_few_samples_and_missing_references_are_refused(references):
    with pytest.raises(NotMeasurable, match="10 and 500 images fill none") as absent:
        ct.evaluate(pixels(draw(10, 9)), references)
    assert (absent.value.metric, absent.value.reference) == KEY
    few = pixels(np.repeat(references["train"].values[:1], 20, axis=0))  # all in one cell
    assert np.isfinite(ct.evaluate(few, references)[KEY])
    with pytest.raises(NotMeasurable, match="a jackknife group left out; 20 and 500 images fill none"):
        ct.leave_out(few, references, groups(20))
    with pytest.raises(ValueError, match=r'C_T needs the reference "test", got \[\'train\'\]'):
        ct.evaluate(pixels(draw(100, 9)), {"train": references["train"]})
