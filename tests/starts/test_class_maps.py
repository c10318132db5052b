"""One transport map per class: its draws against the argmax within the class, and their law against one map's."""

import pytest
import torch
from scipy.stats import chisquare, ncx2

from dpmot import seeds
from dpmot.diffusion.sigmas import edm_chain
from dpmot.starts import Setting, copy, fresh_noise, prior_noise, transport
from dpmot.starts._maps import numbers_of
from dpmot.transport import NoisyImages, SemiDiscreteProblem, SemiDiscreteSolver
from dpmot.transport.certificate import joined
from dpmot.transport.copies import ChosenAtoms

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES = torch.rand(30, 1, 3, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
LABELS = torch.tensor([0] * 15 + [2] * 10 + [5] * 4 + [7])  # classes 1, 3, 4, 6 have no image, class 7 has one
ROWS = seeds.sample_seeds(0, 3000)
FALSE_ALARMS = 1e-3  # a right start fails such a test for one choice of seeds in a thousand; the seeds are fixed
HEIGHTS = torch.randn(30, generator=torch.Generator().manual_seed(1)) / 2
KINDS = {
    "plain": {},
    "discard": {"angle": 1.4},
    "treat": {"angle": 1.1, "tau": 0.5, "top_k": 3},
    "smooth": {"tau": 0.5},
    "as_code": {"angle": 0.9},
}


def setting(*, heights=HEIGHTS, labels=LABELS, noises=1):
    return Setting(edm_chain(), IMAGES, 0.7, 0, heights, labels=labels, noises=noises)


def by_class(**options):
    return transport.Start(setting(), per_class=True, **options)


@pytest.fixture(scope="module")
def solved():
    """Heights of the maps of all classes, and the certificate of all."""
    atoms, heights, looks, shares = NoisyImages(IMAGES, 0.7, 0), torch.zeros(30, dtype=torch.float64), {}, {}
    for label, numbers in numbers_of(LABELS).items():
        solution = SemiDiscreteSolver(chi2=0.005)(SemiDiscreteProblem(ChosenAtoms(atoms, numbers)), seed=0)
        assert solution.converged
        heights[numbers], looks[label] = solution.potential.heights, solution.certificate
        shares[label] = len(numbers) / 30
    return heights, joined(looks, shares)


def test_each_sample_is_sent_to_the_best_plane_of_its_own_class():
    points, z = by_class()(ROWS[:400]), prior_noise(ROWS[:400], (1, 3, 3)).flatten(1)
    scores = z @ setting().atoms.block(0, 30).T + HEIGHTS
    of_class = scores.masked_fill(points.labels[:, None] != LABELS, -torch.inf)
    assert torch.equal(points.source, of_class.argmax(1)) and torch.equal(points.labels, LABELS[points.source])
    assert torch.equal(points.x, setting().atoms[points.source])
    assert (points.source != scores.argmax(1)).float().mean() > 0.3  # what one map would have chosen


def test_the_noise_of_a_class_is_whole_where_one_map_gives_it_some_directions_only(solved):
    heights, z = solved[0], prior_noise(ROWS, (1, 3, 3)).flatten(1)
    one = SemiDiscreteSolver(chi2=0.005)(SemiDiscreteProblem(NoisyImages(IMAGES, 0.7, 0)), seed=0).potential.heights
    blind, own = (
        transport.Start(setting(heights=one))(ROWS),
        transport.Start(setting(heights=heights), per_class=True)(ROWS),
    )
    biased, whole = (z[points.labels == 2].mean(0).norm() for points in (blind, own))
    # nine means of about 1000 draws: chi with 9 degrees of freedom over sqrt(1000), .17 in one of a thousand
    assert whole < 0.17 < biased / 2


def test_classes_and_images_have_the_law_of_the_copy_and_fresh_noise_controls(solved):
    heights, look = solved
    found = transport.Start(setting(heights=heights), per_class=True)(ROWS)
    limit = ncx2.ppf(1 - FALSE_ALARMS, df=29, nc=len(ROWS) * look.high)
    assert chisquare(torch.bincount(found.source, minlength=30)).statistic < limit
    for points in (found, copy.Start(setting())(ROWS), fresh_noise.Start(setting())(ROWS)):
        classes, counts = LABELS.unique(return_counts=True)
        seen = torch.stack([(points.labels == label).sum() for label in classes])
        assert seen.sum() == len(ROWS) and chisquare(seen, 100 * counts).pvalue > FALSE_ALARMS


def test_the_certificate_of_all_is_the_chi2_of_their_masses_within_all(solved):
    heights, look = solved
    source = transport.Start(setting(heights=heights), per_class=True)(seeds.sample_seeds(1, 40_000)).source
    counts = torch.bincount(source, minlength=30).double()
    chi2 = 30 * float((counts * (counts - 1)).sum()) / (40_000 * 39_999) - 1  # unbiased
    assert look.low - 0.001 < chi2 < look.high + 0.001  # sd of 40,000 draws: sqrt(60) / 40,000 = .0002
    assert 0 <= look.low <= look.chi2 <= look.high < 0.005


def test_one_class_is_one_map_to_the_bit():
    alone = torch.full((30,), 4)
    one, own = (transport.Start(setting(labels=alone), per_class=each)(ROWS[:500]) for each in (False, True))
    assert torch.equal(one.x, own.x) and torch.equal(one.source, own.source) and torch.equal(one.labels, own.labels)


def test_several_latents_of_an_image_are_all_of_its_class():
    heights = torch.randn(90, generator=torch.Generator().manual_seed(2)) / 2
    start = transport.Start(setting(heights=heights, noises=3), per_class=True)
    points, z = start(ROWS[:300]), prior_noise(ROWS[:300], (1, 3, 3)).flatten(1)
    scores = z @ start.setting.atoms.block(0, 90).T + heights
    cell = scores.masked_fill(LABELS.repeat(3) != points.labels[:, None], -torch.inf).argmax(1)
    assert torch.equal(points.source, cell % 30) and torch.equal(points.x, start.setting.atoms[cell])


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_of_one_or_few_images_goes_with_every_treatment_of_the_singular_set(kind):
    start = by_class(singular=kind, **KINDS[kind])
    points = start(ROWS[:300])
    assert points.x.isfinite().all() and torch.equal(points.labels, LABELS[points.source])
    assert set(points.labels.tolist()) == {0, 2, 5, 7}
    if kind == "as_code":  # which depends on the batch, as the authors' code does
        return
    for index in ([299], [7, 3], []):
        some = by_class(singular=kind, **KINDS[kind])([ROWS[i] for i in index])
        assert torch.equal(some.x, points.x[index]) and torch.equal(some.labels, points.labels[index])


def test_a_barycentre_is_of_images_of_one_class():
    points, start = by_class(singular="smooth", tau=50.0)(ROWS[:50]), by_class(singular="smooth", tau=50.0)
    clean = start.clean(prior_noise(ROWS[:50], (1, 3, 3)), points.labels)
    for label in (0, 2, 5):  # of so wide a smoothing the mean of the class
        expected = IMAGES[label == LABELS].mean(0)
        assert (clean[points.labels == label] - expected).abs().max() < 0.15


@pytest.mark.parametrize(
    ("options", "labels", "told"),
    [
        ({"per_class": 1}, LABELS, "per_class: 1 is neither true, one map per class, nor false"),
        ({"per_class": "yes"}, LABELS, "per_class: 'yes' is neither"),
        ({"per_class": True}, None, "per_class: the images have no labels, so there is one map; leave it out"),
    ],
)
def test_what_names_no_classes_is_refused(options, labels, told):
    with pytest.raises(ValueError, match=told):
        transport.Start(setting(labels=labels), **options)
