"""Where trajectories begin: each start against its law, and all of them on the same prior noise."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest, ncx2

from dpmot import seeds
from dpmot.diffusion.sigmas import ddpm_chain, edm_chain
from dpmot.images import to_float
from dpmot.starts import Setting, copy, fresh_noise, gaussian, prior, prior_noise, transport
from dpmot.transport import NoisyImages, SemiDiscreteProblem, SemiDiscreteSolver, angles

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES = torch.rand(30, 1, 3, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
ROWS = seeds.sample_seeds(0, 3000)
FALSE_ALARMS = 1e-3  # a right start fails such a test for one choice of seeds in a thousand; the seeds are fixed


def setting(*, images=IMAGES, chain=None, sigma=0.7, heights=None, atom_seed=0, noises=1):
    return Setting(chain or edm_chain(), images, sigma, atom_seed, heights, noises=noises)


def latents(images, sigma, atom_seed, noises=1):
    return NoisyImages(images, sigma, atom_seed, noises_per_image=noises)[range(noises * len(images))]


# --- prior -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chain", [edm_chain(), ddpm_chain()], ids=["edm", "ddpm"])
def test_the_prior_is_the_networks_own_terminal_marginal(chain):
    start = prior.Start(setting(chain=chain))
    points = start(ROWS)
    std = chain.sigma_max if chain.family == "karras" else (1 + chain.sigma_max**2) ** 0.5
    assert start.sigma == chain.sigma_max and points.source is None
    assert torch.equal(points.x, std * prior_noise(ROWS, (1, 3, 3)))
    assert kstest((points.x / std).flatten().numpy(), "norm").pvalue > FALSE_ALARMS


def test_the_prior_noise_is_none_of_the_noises_that_follow():
    first = prior_noise(ROWS, (4,)).flatten()
    others = [seeds.normal(ROWS, (4,), *purpose).flatten() for purpose in (("step", 0), ("atoms",), ("fresh",))]
    correlation = np.corrcoef(torch.stack([first, *others]).numpy())[0, 1:]
    assert np.abs(correlation).max() < 4 / 12000**0.5  # four standard deviations, 2e-4 false alarms


# --- atoms -------------------------------------------------------------------------------------------------


def test_latents_are_images_plus_noise_of_their_own_stream():
    found = latents(IMAGES, 0.7, 3)
    for i in (0, 17):
        eps = seeds.normal([3 * 2**32 + i], (1, 3, 3), "atoms")[0]
        assert torch.equal(found[i], IMAGES[i] + 0.7 * eps)


def test_one_image_keeps_its_noise_at_every_level_and_in_every_data_set_that_starts_alike():
    small, large = latents(IMAGES, 0.1, 0) - IMAGES, latents(IMAGES, 10.0, 0) - IMAGES
    torch.testing.assert_close(100 * small, large, rtol=1e-4, atol=1e-4)
    assert torch.equal(latents(IMAGES[:10], 0.1, 0), latents(IMAGES, 0.1, 0)[:10])
    assert not torch.allclose(latents(IMAGES, 0.1, 0), latents(IMAGES, 0.1, 1))


def test_several_noises_an_image_begin_with_the_one_and_are_independent():
    one, three = latents(IMAGES, 0.7, 3), latents(IMAGES, 0.7, 3, noises=3)
    assert three.shape == (90, 1, 3, 3) and torch.equal(three[:30], one)
    eps = ((three - IMAGES.repeat(3, 1, 1, 1)) / 0.7).flatten().numpy()
    assert kstest(eps, "norm").pvalue > FALSE_ALARMS and len(np.unique(eps)) > 800


@pytest.mark.parametrize("options", [{}, {"singular": "smooth", "tau": 0.3}])
def test_atoms_of_several_noises_name_the_image_behind_them(options):
    heights = SemiDiscreteSolver(chi2=0.01)(SemiDiscreteProblem(latents(IMAGES, 0.7, 0, 3)), seed=0).potential.heights
    one = Setting(edm_chain(), IMAGES, 0.7, 0, heights, noises=3)
    start = transport.Start(one, **options)
    points, noise = start(ROWS), prior_noise(ROWS, (1, 3, 3))
    assert torch.equal(points.source, start.potential.cell(noise) % 30)
    assert chisquare(torch.bincount(points.source, minlength=30)).pvalue > FALSE_ALARMS
    level = (points.x - start.clean(noise)) / 0.7
    assert float(level.square().mean()) == pytest.approx(1, abs=0.1)  # 810 normal numbers: sd .05


# --- copy and fresh noise ----------------------------------------------------------------------------------


def test_the_copy_control_draws_every_atom_equally_often_and_returns_it_unchanged():
    start = copy.Start(setting())
    points = start(ROWS)
    assert chisquare(torch.bincount(points.source, minlength=30).numpy()).pvalue > FALSE_ALARMS
    assert torch.equal(points.x, latents(IMAGES, 0.7, 0)[points.source])


def test_the_copy_control_is_independent_of_the_prior_noise():
    one, nine = copy.Start(setting())(ROWS).source, prior_noise(ROWS, (1, 3, 3)).flatten(1)
    correlation = np.corrcoef(one.double().numpy(), nine.T.double().numpy())[0, 1:]
    assert np.abs(correlation).max() < 4.5 / 3000**0.5  # nine normal correlations: 6e-5 false alarms


def test_fresh_noise_takes_the_same_image_as_copy_with_noise_of_its_own():
    points, copied = fresh_noise.Start(setting())(ROWS), copy.Start(setting())(ROWS)
    assert torch.equal(points.source, copied.source)
    noise = (points.x - IMAGES[points.source]) / 0.7
    assert kstest(noise.flatten().numpy(), "norm").pvalue > FALSE_ALARMS
    same = points.source[:, None] == points.source  # two samples of one image: copies share their noise, these do not
    pair = (same & ~torch.eye(len(ROWS), dtype=torch.bool)).nonzero()[0]
    assert torch.equal(*copied.x[pair]) and not torch.allclose(*points.x[pair])


# --- gaussian ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.05, 0.7, 20.0])
def test_the_gaussian_start_is_an_affine_map_with_the_mean_and_covariance_of_the_noisy_data(sigma):
    start = gaussian.Start(setting(sigma=sigma))
    rows = ROWS[:40]
    z, x = prior_noise(rows, (1, 3, 3)).flatten(1).double(), start(rows).x.flatten(1).double()
    design = torch.cat([torch.ones(40, 1, dtype=torch.float64), z], 1)
    solution = torch.linalg.lstsq(design, x).solution
    residual = (design @ solution - x).abs().max()
    mean, root = solution[0], solution[1:]
    flat = IMAGES.flatten(1).double()
    covariance = (flat - flat.mean(0)).T @ (flat - flat.mean(0)) / 30 + sigma**2 * torch.eye(9, dtype=torch.float64)
    scale = covariance.diagonal().max()
    assert residual < 1e-6 * scale.sqrt()  # x is stored in float32
    torch.testing.assert_close(mean, flat.mean(0), rtol=0, atol=1e-5 * scale.sqrt().item())
    torch.testing.assert_close(root.T @ root, covariance, rtol=0, atol=1e-5 * scale.item())
    torch.testing.assert_close(root, root.T, rtol=0, atol=1e-5 * scale.sqrt().item())  # the OT map between Gaussians
    assert torch.linalg.eigvalsh((root + root.T) / 2).min() > 0


def test_data_in_a_subspace_get_no_more_than_the_noise_outside_it():
    flat = torch.zeros(20, 1, 1, 4)
    flat[..., 0] = torch.linspace(-1, 1, 20)[:, None, None]
    x = gaussian.Start(setting(images=flat, sigma=0.1))(ROWS).x.flatten(1)
    assert x.std(0).numpy() == pytest.approx(
        [(flat[..., 0].var(correction=0) + 0.01).sqrt().item(), 0.1, 0.1, 0.1], rel=0.06
    )


LABELS = torch.arange(30) % 3


def classed(images=IMAGES, labels=LABELS, **options):
    return Setting(edm_chain(), images, 0.7, 0, labels=labels, **options)


def test_with_classes_the_gaussian_start_has_the_mean_and_covariance_of_each():
    images = IMAGES + 3 * torch.eye(9)[LABELS].view(30, 1, 3, 3)
    start = gaussian.Start(classed(images))
    points = start(ROWS)
    for c in range(3):
        own, flat = points.x[points.labels == c].flatten(1).double(), images[c == LABELS].flatten(1).double()
        alone = gaussian.Start(setting(images=images[c == LABELS]))(ROWS).x[points.labels == c]
        assert torch.equal(alone.flatten(1).double(), own)  # the map of the class alone, on the same noise
        covariance = torch.cov(flat.T, correction=0) + 0.49 * torch.eye(9)
        # about 1000 draws: four standard errors of a mean, and of the largest variance
        assert (own.mean(0) - flat.mean(0)).abs().max() < 4 * (covariance.max() / 900) ** 0.5
        assert (torch.cov(own.T) - covariance).abs().max() < 5 * covariance.max() * (2 / 900) ** 0.5
    whole = gaussian.Start(setting(images=images))(ROWS).x.flatten(1)
    assert whole.var(0)[:3].min() > 1.5 > points.x[points.labels == 0].flatten(1).var(0).max()  # 3^2 2/9 between them


def test_a_class_of_few_images_has_its_own_mean_and_the_covariance_within_classes():
    labels = torch.tensor([0] * 19 + [1] * 10 + [2])
    start = gaussian.Start(classed(labels=labels))
    assert torch.equal(start.gaussians[2].mean, IMAGES[29].flatten().double())
    within = torch.cat([IMAGES[labels == c] - IMAGES[labels == c].mean(0) for c in range(3)]).flatten(1).double()
    values = gaussian.spectrum(within)[0]
    torch.testing.assert_close(start.gaussians[2].stretch, (values + 0.49).sqrt() - 0.7)
    assert not torch.equal(start.gaussians[1].stretch, start.gaussians[2].stretch)
    assert (start(ROWS).labels == 2).sum() > 50


def test_classes_follow_the_data_and_not_the_atoms_where_no_image_is_stored():
    labels = torch.cat([LABELS, torch.full((70,), 3)])  # 30 images are the atoms, of 100 in the data
    one, rows = classed(labels=labels), ROWS
    drawn = prior.Start(one)(rows).labels
    assert chisquare(torch.bincount(drawn), [300, 300, 300, 2100]).pvalue > FALSE_ALARMS
    assert gaussian.Start(one)(rows).labels.max() == 2  # made of the atoms' images
    assert torch.equal(prior.Start(one)(rows[5:9]).labels, drawn[5:9])


def test_classes_of_equal_shares_are_drawn_as_uniform_ones_were():
    found, uniform = prior.Start(classed())(ROWS).labels, seeds.integers(ROWS, 3, "label")
    assert torch.equal(found, uniform)


@pytest.mark.parametrize("labels", [LABELS[:29], LABELS.float(), LABELS[:, None]])
def test_labels_that_are_none_of_the_images_are_refused(labels):
    with pytest.raises(ValueError, match=r"Labels are torch\..* give int64, one for each of the 30 images"):
        classed(labels=labels)


# --- transport ---------------------------------------------------------------------------------------------


def test_two_atoms_divide_the_space_by_a_plane():
    images = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    for shift in (0.0, 0.8):
        one = setting(images=images, sigma=1e-6, heights=torch.tensor([shift, -shift]))
        points = transport.Start(one)(ROWS)
        z = prior_noise(ROWS, (3,))
        right = z[:, 0] > -shift  # <z, y_0> + h_0 > <z, y_1> + h_1
        assert torch.equal(points.source, (~right).long())
        assert torch.equal(points.x, one.atoms[points.source])
    assert abs(right.float().mean() - 0.7881) < 4 * (0.7881 * 0.2119 / 3000) ** 0.5  # Phi(0.8), 6e-5 false alarms


def test_solved_heights_draw_every_atom_as_often_as_the_copy_control():
    """The identity: with solved heights the two controls have one law, up to the mass error of the certificate."""
    solution = SemiDiscreteSolver(chi2=0.002)(SemiDiscreteProblem(NoisyImages(IMAGES, 0.7, 0)), seed=0)
    assert solution.converged
    source = transport.Start(setting(heights=solution.potential.heights))(ROWS).source
    statistic = chisquare(torch.bincount(source, minlength=30).numpy()).statistic
    assert statistic < ncx2.ppf(1 - FALSE_ALARMS, df=29, nc=len(ROWS) * solution.certificate.high)


def test_zero_heights_take_the_largest_inner_product():
    one = setting()
    points = transport.Start(one, heights="zero")(ROWS)
    products = prior_noise(ROWS, (1, 3, 3)).flatten(1) @ one.atoms.block(0, 30).T
    best = products.max(1)
    chosen = products.gather(1, points.source[:, None])[:, 0]
    torch.testing.assert_close(chosen, best.values, rtol=0, atol=1e-5)  # float32 products of order ten
    assert (points.source == best.indices).float().mean() > 0.999


def test_the_map_is_the_gradient_of_a_convex_function():
    # <T(a) - T(b), a - b> >= 0 for any heights: what no shuffled choice of atoms would pass
    one = setting(heights=torch.randn(30, generator=torch.Generator().manual_seed(1)))
    x, z = transport.Start(one)(ROWS[:200]).x.flatten(1), prior_noise(ROWS[:200], (1, 3, 3)).flatten(1)
    products = ((x[:, None] - x) * (z[:, None] - z)).sum(-1)
    assert products.min() > -1e-4
    shuffled = x[torch.randperm(200, generator=torch.Generator().manual_seed(0))]
    assert ((shuffled[:, None] - shuffled) * (z[:, None] - z)).sum(-1).min() < -1


def test_a_uniform_source_is_drawn_in_the_unit_cube_and_maps_it():
    one = setting(heights=torch.zeros(30))
    noise = prior_noise(ROWS, (1, 3, 3), source_measure="uniform").flatten(1)
    assert noise.min() >= 0 and noise.max() < 1 and kstest(noise.flatten().numpy(), "uniform").pvalue > FALSE_ALARMS
    points = transport.Start(one, source_measure="uniform")(ROWS)
    products = noise @ one.atoms.block(0, 30).T
    torch.testing.assert_close(
        products.gather(1, points.source[:, None])[:, 0], products.max(1).values, rtol=0, atol=1e-5
    )


def test_solved_heights_that_are_not_there_are_asked_for_by_name():
    with pytest.raises(ValueError, match=r"No heights were solved for sigma_M = 0\.7: run `dpmot solve` first"):
        transport.Start(setting())


@pytest.mark.parametrize("heights", [torch.zeros(29), torch.full((30,), torch.nan)])
def test_heights_of_another_problem_or_without_a_value_are_refused(heights):
    with pytest.raises(ValueError, match="Heights"):
        transport.Start(setting(heights=heights))


@pytest.mark.parametrize("number", [2, 5, 9, 30])
def test_the_spectrum_is_that_of_the_covariance_with_fewer_images_than_pixels_and_with_more(number):
    flat = IMAGES[:number].flatten(1).double()
    values, vectors = gaussian.spectrum(flat - flat.mean(0))
    assert len(values) == min(number - 1, 9)
    torch.testing.assert_close(vectors * values @ vectors.T, torch.cov(flat.T, correction=0))
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(len(values), dtype=torch.float64))


# --- the singular set --------------------------------------------------------------------------------------

HEIGHTS = torch.randn(30, generator=torch.Generator().manual_seed(1)) / 2
KINDS = {
    "plain": {},
    "discard": {"angle": 1.1},
    "treat": {"angle": 1.1, "tau": 0.5, "top_k": 3},
    "smooth": {"tau": 0.5},
}


def start_with(kind, one=None, **options):
    return transport.Start(one or setting(heights=HEIGHTS), **{"singular": kind, **KINDS.get(kind, {}), **options})


@pytest.mark.parametrize("kind", KINDS)
def test_sample_k_is_the_same_bits_in_every_batch_whatever_becomes_of_the_singular_set(kind):
    whole = start_with(kind)(ROWS[:300])
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0)).tolist()
    for index in (order, list(range(64)), [299], [7, 3]):
        some = start_with(kind)([ROWS[i] for i in index])
        assert torch.equal(some.x, whole.x[index]) and torch.equal(some.source, whole.source[index])
        assert (some.redraws is None) == (kind != "discard")
        assert some.redraws is None or torch.equal(some.redraws, whole.redraws[index])


def test_discarding_leaves_no_draw_near_the_singular_set_and_counts_what_it_drew_anew():
    one, limit = setting(heights=HEIGHTS), 1.1
    points, plain = start_with("discard", one)(ROWS), start_with("plain", one)(ROWS)
    potential = start_with("plain", one).potential
    first = angles(potential, prior_noise(ROWS, (1, 3, 3)))[:, 0]
    used = prior_noise(ROWS, (1, 3, 3), redraws=points.redraws)
    assert torch.equal(points.redraws == 0, first <= limit)
    assert (angles(potential, used)[:, 0] <= limit).all() and torch.equal(potential.cell(used), points.source)
    kept = points.redraws == 0
    assert torch.equal(points.x[kept], plain.x[kept])
    # a geometric law: q = share near the set, q / (1 - q) redraws on average, sd sqrt(q / n) / (1 - q)
    q = float((first > limit).float().mean())
    assert 0.2 < q < 0.8
    mean, sd = q / (1 - q), (q / len(ROWS)) ** 0.5 / (1 - q)
    assert abs(float(points.redraws.float().mean()) - mean) < 4 * 2**0.5 * sd  # q is estimated from as many draws


def test_each_redraw_has_a_stream_of_its_own_and_the_law_of_the_prior():
    redraws = torch.arange(len(ROWS)) % 4
    found = prior_noise(ROWS, (1, 3, 3), redraws=redraws)
    assert torch.equal(found[::4], prior_noise(ROWS[::4], (1, 3, 3)))
    assert torch.equal(found[3], seeds.normal([ROWS[3]], (1, 3, 3), "prior", 3)[0])
    assert not (found == prior_noise(ROWS, (1, 3, 3)))[redraws > 0].any()
    assert kstest(found.flatten().numpy(), "norm").pvalue > FALSE_ALARMS


def test_discarding_changes_the_masses_of_the_cells():
    solution = SemiDiscreteSolver(chi2=0.002)(SemiDiscreteProblem(NoisyImages(IMAGES, 0.7, 0)), seed=0)
    one = setting(heights=solution.potential.heights)
    limit = ncx2.ppf(1 - FALSE_ALARMS, df=29, nc=len(ROWS) * solution.certificate.high)
    assert chisquare(torch.bincount(start_with("plain", one)(ROWS).source, minlength=30)).statistic < limit
    assert chisquare(torch.bincount(start_with("discard", one)(ROWS).source, minlength=30)).statistic > 2 * limit


def test_noises_that_are_all_singular_are_given_up_with_the_seed_and_what_to_do():
    with pytest.raises(
        ValueError, match=r"Sample seed 0: 1000 noises in a row .* more than 0\.001 radians; raise angle"
    ):
        start_with("discard", angle=0.001)(ROWS[:2])


def test_as_code_divides_angles_by_their_range_in_the_batch():
    one = setting(heights=HEIGHTS)
    points = start_with("as_code", one, angle=0.7)(ROWS)
    found = angles(start_with("plain", one).potential, prior_noise(ROWS, (1, 3, 3)))[:, 0]
    share = (found - found.min()) / (found.max() - found.min())
    assert torch.equal(points.redraws == 0, share <= 0.7)
    # the fault that it records: the same sample, another batch, another fate
    alone = torch.cat([start_with("as_code", one, angle=0.7)(ROWS[k : k + 2]).redraws for k in range(0, 100, 2)])
    assert not torch.equal(alone > 0, points.redraws[:100] > 0)


def test_a_treated_draw_away_from_the_singular_set_is_the_plain_one():
    one = setting(heights=HEIGHTS)
    treated, plain = start_with("treat", one)(ROWS), start_with("plain", one)(ROWS)
    near = angles(start_with("plain", one).potential, prior_noise(ROWS, (1, 3, 3)), 3).amax(1) > 1.1
    assert 0.2 < near.float().mean() < 0.98
    assert torch.equal(treated.x[~near], plain.x[~near]) and torch.equal(treated.source, plain.source)
    assert not (treated.x[near] == plain.x[near]).flatten(1).all(1).any()


@pytest.mark.parametrize("dim", [2, 64])
@pytest.mark.parametrize("kind", ["treat", "smooth"])
@pytest.mark.parametrize("tau", [0.05, 0.5, 5.0])
def test_smoothed_starts_carry_the_noise_level_that_the_network_is_told(kind, dim, tau):
    images = torch.rand(100, dim, generator=torch.Generator().manual_seed(3)) * 2 - 1
    problem = SemiDiscreteProblem(NoisyImages(images, 0.7, 0))
    one = setting(images=images, heights=SemiDiscreteSolver(chi2=0.01)(problem, seed=0).potential.heights)
    start = start_with(kind, one, tau=tau, **({"angle": 0.1, "top_k": 5} if kind == "treat" else {}))
    points, noise = start(ROWS), prior_noise(ROWS, (dim,))
    atoms = one.atoms[range(100)]
    p = torch.softmax((noise.double() @ atoms.double().T + one.heights.double()) / tau, 1)
    near = torch.ones(len(ROWS), dtype=torch.bool)
    if kind == "treat":
        best, near = start.potential.cells(noise, 5), start.near(noise)
        inside = torch.zeros_like(p).scatter_(1, best, 1.0)
        p = p * inside / (p * inside).sum(1, keepdim=True)
        p[~near] = torch.nn.functional.one_hot(best[~near, 0], 100).double()
    eps = (atoms - images).double() / 0.7
    level = (points.x.double() - p @ images.double()) / 0.7
    # what the weights make of the atoms' own noises: their mean square under p, 1 up to the chance of 100 draws
    expected = float((p @ eps.square().sum(1)).mean()) / dim
    averaged = float((p @ eps).square().mean())
    assert expected == pytest.approx(1, abs=0.35 if dim == 2 else 0.05)
    # sd of the variance of 3000 x dim normal numbers; they are partly shared atoms, whose part is in `expected`
    assert float(level.square().mean()) == pytest.approx(expected, abs=5 * (2 / (3000 * dim)) ** 0.5 + 1e-4)
    if tau >= 0.5:
        assert near.float().mean() > 0.5 and averaged < 0.9 * expected  # without the top-up it would be wrong


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"singular": "treet"}, r"'treet' is not one of them; allowed: plain, discard, treat, as_code, smooth"),
        ({"singular": "smooth"}, r"singular smooth needs it: the width of the smoothing in units of <x, y>"),
        ({"singular": "treat", "tau": -1.0}, r"tau = -1.0 smooths nothing"),
        ({"singular": "treat", "tau": 1.0, "top_k": 31}, r"k = 31 planes were asked for; choose 1\.\.30"),
        ({"singular": "treat", "tau": 1.0, "top_k": 1}, r"top_k: 1 planes make no angle; give a whole number of"),
        ({"singular": "discard", "top_k": 2.5}, r"top_k: 2.5 planes make no angle"),
        ({"singular": "discard", "angle": float("nan")}, r"angle: nan is no angle in radians: 0\.\.3.1415"),
        ({"singular": "discard", "angle": -0.1}, r"angle: -0.1 is no angle in radians"),
        ({"singular": "as_code", "angle": 1.1}, r"angle: 1.1 is no share of the range of angles"),
        ({"singular": "smooth", "tau": float("inf")}, r"tau = inf smooths nothing"),
        ({"heights": "none"}, r'heights: "none" are none; allowed: solved, zero'),
        ({"source_measure": "cauchy"}, r'Source measure "cauchy" is unknown'),
    ],
)
def test_options_of_the_singular_set_are_refused_by_name(options, told):
    with pytest.raises(ValueError, match=told):
        transport.Start(setting(heights=HEIGHTS), **options)


def test_a_law_of_the_prior_that_there_is_not_is_refused():
    for draw in (
        lambda: prior.Start(setting(), law="cauchy")(ROWS),
        lambda: prior_noise(ROWS, (2,), source_measure=""),
    ):
        with pytest.raises(ValueError, match="is unknown; choose"):
            draw()


# --- all of them -------------------------------------------------------------------------------------------


def test_sample_k_sees_the_same_prior_noise_under_every_start():
    rows, shape = ROWS[:64], (1, 3, 3)
    z = prior_noise(rows, shape).flatten(1)
    one = setting(heights=torch.zeros(30))
    torch.testing.assert_close(prior.Start(one)(rows).x.flatten(1) / 80, z)
    start = gaussian.Start(one)
    normal = start.gaussians[0]
    root = 0.7 * torch.eye(9, dtype=torch.float64) + normal.vectors * normal.stretch @ normal.vectors.T
    recovered = torch.linalg.solve(root, (start(rows).x.flatten(1).double() - normal.mean).T).T
    torch.testing.assert_close(
        recovered.float(), z, rtol=1e-4, atol=1e-4
    )  # through float32 and a matrix of condition ten
    chosen = (z @ one.atoms.block(0, 30).T).argmax(1)
    assert torch.equal(transport.Start(one)(rows).source, chosen)


def test_stored_pixels_and_their_floats_give_the_same_starts():
    stored = torch.randint(0, 256, (30, 1, 3, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
    heights = torch.randn(30, generator=torch.Generator().manual_seed(1))
    for start in (copy, fresh_noise, gaussian, transport):
        one, other = (start.Start(setting(images=x, heights=heights)) for x in (stored, to_float(stored)))
        assert torch.equal(one(ROWS[:50]).x, other(ROWS[:50]).x)


@pytest.mark.parametrize("start", [copy, transport])
def test_several_latents_of_one_image_name_the_image_they_come_from(start):
    one = setting(noises=3, sigma=0.01, heights=torch.zeros(90))
    points = start.Start(one)(ROWS[:200])
    assert len(one.atoms) == 90 and points.source.max() < 30
    # six standard deviations of 1800 numbers: one false alarm in 10^5
    assert (points.x - IMAGES[points.source]).abs().max() < 6 * 0.01
    assert len(points.x.flatten(1).unique(dim=0)) > 30
