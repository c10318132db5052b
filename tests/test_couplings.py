"""Couplings of noise and images: against closed forms, exhaustive search, and the independent law."""

from itertools import permutations

import numpy as np
import pytest
import torch

from dpmot import couplings
from dpmot.diffusion.levels import UniformInTime
from dpmot.diffusion.networks import ddpm, edm, flow, ncsnv2
from dpmot.diffusion.training import Paired, batch_of
from dpmot.transport import BrenierPotential, SemiDiscreteProblem, SemiDiscreteSolver


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype="float32"))


def gain(noise, x0):
    return float((noise.flatten(1) * x0.flatten(1)).sum())


def test_a_batch_is_assigned_as_an_exhaustive_search_over_all_permutations_does():
    images, noise, rows = normal(9, 1, 2, 2, seed=1), normal(5, 1, 2, 2, seed=2), torch.tensor([3, 8, 0, 3, 5])
    same, paired = couplings.Minibatch(images)(noise, rows, 0)
    best = max(permutations(rows.tolist()), key=lambda some: gain(noise, images[list(some)]))
    assert torch.equal(same, noise) and sorted(paired.tolist()) == sorted(rows.tolist())
    assert gain(noise, images[paired]) == pytest.approx(gain(noise, images[list(best)]), rel=1e-6)  # float32 sums


# OTPlanSampler("exact").get_map of torchcfm 1.0.7, by POT 0.9.7.post1: the image of each of 32 noises, seeds 10 and 0
PLANNED = [5, 0, 31, 11, 22, 4, 1, 9, 8, 7, 19, 26, 30, 23, 13, 17, 29, 10, 24, 15, 16, 28, 20, 18, 6, 12, 25, 21, 27,
           3, 2, 14]  # fmt: skip


def assigned(number, seed):
    """Images, noise, and the image of each noise."""
    images, noise = normal(number, 1, 8, 8, seed=seed), normal(number, 1, 8, 8, seed=seed + 10)
    return images, noise, couplings.Minibatch(images)(noise, torch.arange(number), 0)[1]


def test_a_batch_is_assigned_as_torchcfm_planned_it():
    assert assigned(32, 0)[2].tolist() == PLANNED


@pytest.mark.parametrize("seed", range(3))
def test_a_batch_is_assigned_as_torchcfm_plans_it(seed):
    sampler = pytest.importorskip("torchcfm.optimal_transport", reason="pip install --no-deps torchcfm POT")
    images, noise, paired = assigned(128, seed)
    plan = sampler.OTPlanSampler("exact").get_map(noise, images)
    assert (plan > 0).sum() == 128 and (plan.argmax(1) == paired.numpy()).all()


def test_a_batch_with_labels_keeps_the_class_of_every_noise():
    images, labels = normal(60, 1, 2, 2), torch.arange(60) % 3
    noise, rows = normal(32, 1, 2, 2, seed=3), torch.randint(60, (32,), generator=torch.Generator().manual_seed(0))
    _, paired = couplings.Minibatch(images, labels)(noise, rows, 0)
    assert torch.equal(labels[paired], labels[rows]) and gain(noise, images[paired]) > gain(noise, images[rows])


def test_a_batch_out_of_more_pairs_is_closer_to_the_map_and_its_stream_is_its_own():
    images, rows = normal(200, 1, 2, 2), torch.arange(16)
    noise = normal(16, 1, 2, 2, seed=5)
    own, more = couplings.Minibatch(images), couplings.Minibatch(images, noises=200)
    assert gain(noise, images[more(noise, rows, 7)[1]]) > gain(noise, images[own(noise, rows, 7)[1]])
    assert torch.equal(more(noise, rows, 7)[1], more(noise, rows, 7)[1])
    with pytest.raises(ValueError, match="noises is 8, of which no batch of 16 can be taken; give at least 16"):
        couplings.Minibatch(images, noises=8)(noise, rows, 7)


def test_a_batch_of_paired_images_has_the_image_of_its_noise_under_the_map():
    images, heights = normal(50, 1, 2, 2), 0.3 * normal(50, seed=8).double()
    batch = batch_of(Paired(images, couplings.SemiDiscrete.of(images, heights)), 0, "step", 3, size=64)
    plain = batch_of(images, 0, "step", 3, size=64)
    expected = (plain.noise.flatten(1).double() @ images.flatten(1).double().T + heights).argmax(1)
    assert torch.equal(batch.noise, plain.noise) and torch.equal(batch.u, plain.u)
    assert torch.equal(batch.rows, expected) and torch.equal(batch.x0, images[expected])


def test_with_labels_each_class_has_the_map_of_its_own():
    images, labels, heights = normal(60, 1, 2, 2), torch.arange(60) % 3, torch.zeros(60, dtype=torch.float64)
    plain = batch_of(images, 1, size=64)
    batch = batch_of(Paired(images, couplings.SemiDiscrete.of(images, heights, labels)), 1, size=64)
    scores = plain.noise.flatten(1) @ images.flatten(1).T
    scores = scores.masked_fill(labels[plain.rows][:, None] != labels, -torch.inf)
    assert torch.equal(batch.rows, scores.argmax(1)) and torch.equal(labels[batch.rows], labels[plain.rows])


def test_mirrored_noise_is_the_first_half_and_its_mirror_image():
    images = normal(50, 1, 2, 2)
    coupling = couplings.SemiDiscrete.of(images, torch.zeros(50, dtype=torch.float64), mirrored=True)
    noise, rows = coupling(normal(7, 1, 2, 2, seed=4), torch.zeros(7, dtype=torch.int64), 0)
    assert torch.equal(noise[4:], -noise[:3]) and torch.equal(rows, (noise.flatten(1) @ images.flatten(1).T).argmax(1))


@pytest.mark.parametrize("mirrored", [False, True])
def test_products_in_bfloat16_find_the_same_images_but_for_near_ties(mirrored):
    images, labels = normal(400, 1, 8, 8), torch.arange(400) % 2
    heights = 0.3 * normal(400, seed=1).double()
    noise, rows = normal(256, 1, 8, 8, seed=2), torch.arange(256)
    for own in (None, labels):
        exact, rounded = (
            couplings.SemiDiscrete.of(images, heights, own, mirrored=mirrored, rounded=some)(noise, rows, 0)[1]
            for some in (False, True)
        )
        # with the best two scored anew a third one must be as near as the rounding, 2^-8 of the best score
        assert float((exact == rounded).double().mean()) > 0.98
        assert own is None or torch.equal(labels[exact[:128]], labels[rows[:128]])


def test_at_tau_to_infinity_images_are_independent_of_the_noise_and_uniform():
    images, size = normal(10, 1, 2, 2), 20_000
    coupling = couplings.SemiDiscrete.of(images, normal(10, seed=1).double(), tau=1e9)
    noise, none = normal(size, 1, 2, 2, seed=2), torch.zeros(size, dtype=torch.int64)
    rows = coupling(noise, none, 0)[1]
    assert torch.equal(rows, coupling(-3 * noise, none, 0)[1])  # whatever the noise, one stream draws one image
    counts = torch.bincount(rows, minlength=10).double()
    assert float(((counts - size / 10) ** 2 / (size / 10)).sum()) < 33.7  # chi2 of 9 degrees: one in 10,000
    assert abs(coupling.chi2_of_tau()) < 1e-6  # exact but for scores / tau


def test_at_tau_to_zero_the_map_is_the_one_without_tau():
    images, heights = normal(40, 1, 2, 2), normal(40, seed=1).double()
    noise, none = normal(256, 1, 2, 2, seed=2), torch.zeros(256, dtype=torch.int64)
    hard, soft = (couplings.SemiDiscrete.of(images, heights, tau=tau) for tau in (None, 1e-7))
    assert float((hard(noise, none, 0)[1] == soft(noise, none, 0)[1]).double().mean()) > 0.99  # but for near ties


def test_at_any_tau_images_are_drawn_in_the_shares_of_the_softmax_copies_included():
    images = normal(4, 1, 2, 2)
    images = torch.cat([images, images[:1]])  # a point twice
    z, heights = normal(1, 1, 2, 2, seed=3), torch.tensor([0.1, 0.3, -0.2, 0.0, 0.1], dtype=torch.float64)
    coupling, size = couplings.SemiDiscrete.of(images, heights, tau=0.7), 20_000
    rows = coupling(z.expand(size, -1, -1, -1), torch.zeros(size, dtype=torch.int64), 0)[1]
    expected = torch.softmax(((z.flatten(1) @ images.flatten(1).T).double() + heights) / 0.7, 1)[0]
    merged = torch.tensor([expected[0] + expected[4], *expected[1:4]])  # copies share by their place in a hash of z
    counts = torch.bincount(rows % 4, minlength=4).double()
    assert float(((counts - size * merged) ** 2 / (size * merged)).sum()) < 21.1  # chi2 of 3 degrees: one in 10,000


def test_the_coupling_of_a_gaussian_pair_is_the_closed_form_monge_map():
    """N(0, I) -> N(m, S): T(z) = m + S^(1/2) z, which the map onto N points of it approaches."""
    root, mean = torch.tensor([[1.0, 0.4], [0.4, 0.5]]), torch.tensor([2.0, -1.0])
    images = (normal(300, 2, seed=1) @ root + mean).contiguous()
    heights = SemiDiscreteSolver(chi2=0.01)(SemiDiscreteProblem(images), seed=0).potential.heights
    batch = batch_of(Paired(images, couplings.SemiDiscrete.of(images, heights)), 0, size=4000)
    error = (batch.x0 - (batch.noise @ root + mean)).square().sum(1).mean()
    # of random points a share of order ln N / N of the variance, .019 at N = 300, in two dimensions
    assert float(error / root.square().sum()) < 0.03


def test_the_share_of_the_prior_off_a_coupling_of_two_points_is_that_of_its_gap():
    """T(z) = a sign z: z + a sign(z) / sigma leaves out |z| <= a / sigma, of probability erf(a / sigma / sqrt 2)."""
    images = torch.tensor([[-1.5], [1.5]])
    coupling = couplings.SemiDiscrete.of(images, torch.zeros(2, dtype=torch.float64))
    z = torch.linspace(-3, 3, 1000)[:, None]
    for sigma in (2.0, 5.0):
        potential = BrenierPotential(images, torch.zeros(2))
        assert torch.equal(couplings.off(potential, z, sigma), z[:, 0].abs() < 1.5 / sigma)
        expected = float(torch.erf(torch.tensor(1.5 / sigma / 2**0.5)))
        assert coupling.share_off(sigma) == pytest.approx(expected, abs=4 * 0.5 / couplings.LOOKS**0.5)  # 4 sd


def test_points_of_a_coupling_are_never_off_it():
    images, heights = normal(100, 6), 0.5 * normal(100, seed=1).double()
    potential, eps = BrenierPotential(images, heights), normal(500, 6, seed=2)
    for sigma in (1.0, 10.0):
        assert not couplings.off(potential, eps + potential.transport(eps) / sigma, sigma).any()


@pytest.mark.parametrize("kind", [edm, flow, ddpm, ncsnv2])
def test_levels_uniform_in_time_are_those_whatever_the_kind(kind):
    own = kind.Parametrisation()
    u = (torch.arange(512) + 0.5) / 512
    sigma = own.level(UniformInTime(own)(u)).double()
    first, last = (end / (1 + end) for end in (own.chain.sigma_min, own.chain.sigma_max))
    steps = torch.tensor(own.chain.levels).double()
    steps = (
        (steps / (1 + steps)).diff().max() if kind in (ddpm, ncsnv2) else 2e-3
    )  # discrete levels are as near as that
    assert float((sigma / (1 + sigma) - (first + u.double() * (last - first))).abs().max()) <= float(steps)


def test_a_kind_whose_levels_do_not_reach_its_prior_is_told_so():
    with pytest.raises(ValueError, match="level: uniform_t: its own distribution of levels reaches from"):
        UniformInTime(edm.Parametrisation(sigma_max=10_000))


def test_random_numbers_of_a_coupled_step_come_from_its_key():
    images = normal(50, 1, 2, 2)
    one = couplings.SemiDiscrete.of(images, torch.zeros(50, dtype=torch.float64), tau=0.5)
    first, again, other = (batch_of(Paired(images, one), 0, step, size=32) for step in (1, 1, 2))
    assert torch.equal(first.rows, again.rows) and not torch.equal(first.rows, other.rows)
