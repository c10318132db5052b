"""The contract of a start, checked on every file of dpmot/starts/."""

import inspect
from functools import cache

import pytest
import torch

from dpmot import plugins, seeds
from dpmot.diffusion.sigmas import ddpm_chain, edm_chain
from dpmot.starts import Setting
from dpmot.transport import NoisyImages, SemiDiscreteProblem, SemiDiscreteSolver

pytestmark = pytest.mark.usefixtures("one_thread")
STARTS = plugins.names("starts")
IMAGES = torch.rand(70, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
HEIGHTS = 0.1 * torch.randn(70, generator=torch.Generator().manual_seed(1))
POINTS = torch.randn(70, 2, generator=torch.Generator().manual_seed(2)) / 3
CHAINS = [edm_chain(), ddpm_chain()]
ROWS = seeds.sample_seeds(1, 500)


@pytest.fixture(params=STARTS)
def plugin(request):
    return plugins.find("starts", request.param)


def start_of(plugin, *, images=IMAGES, sigma=1.5, chain=CHAINS[0], heights=HEIGHTS):
    return plugin.Start(Setting(chain, images, sigma, 0, heights))


@cache
def solved(sigma):
    """Heights under which every atom is drawn equally often."""
    problem = SemiDiscreteProblem(NoisyImages(IMAGES, sigma, 0))
    return SemiDiscreteSolver(chi2=0.02)(problem, seed=0).potential.heights


def test_a_start_is_built_from_a_setting_and_keyword_options_with_defaults(plugin):
    setting, *options = inspect.signature(plugin.Start).parameters.values()
    assert setting.name == "setting"
    assert all(option.kind is inspect.Parameter.KEYWORD_ONLY for option in options)
    assert all(option.default is not inspect.Parameter.empty for option in options)
    assert inspect.getdoc(plugin) and inspect.getdoc(plugin.Start)


@pytest.mark.parametrize("images", [IMAGES, POINTS], ids=["images", "points"])
@pytest.mark.parametrize("chain", CHAINS, ids=["edm", "ddpm"])
def test_one_point_per_seed_in_the_shape_of_the_data(plugin, images, chain):
    start = start_of(plugin, images=images, chain=chain)
    points = start(ROWS)
    assert points.x.shape == (500, *images.shape[1:]) and points.x.dtype == torch.float32
    assert points.x.isfinite().all()
    assert start.sigma in (1.5, chain.sigma_max) and isinstance(start.nfe, int) and start.nfe >= 0
    if points.source is not None:
        assert points.source.shape == (500,) and points.source.dtype == torch.int64
        assert points.source.min() >= 0 and points.source.max() < len(images)


def test_the_points_lie_at_the_noise_level_that_the_start_names(plugin):
    """E x^2 per pixel is that of the images plus sigma^2, whatever the start."""
    for sigma in (0.2, 1.5, 20.0):
        start = start_of(plugin, sigma=sigma, heights=solved(sigma))
        expected = IMAGES.square().mean().item() + start.sigma**2
        assert start(ROWS).x.square().mean().item() == pytest.approx(expected, rel=0.1)  # 500 draws of 70 atoms: sd 2 %


def test_a_sample_is_the_same_bits_in_every_batch_and_order(plugin):
    start = start_of(plugin)
    whole, order = start(ROWS), torch.randperm(500, generator=torch.Generator().manual_seed(0)).tolist()
    for index in (order, list(range(64)), list(range(100)), [499], [7, 3]):
        points = start_of(plugin)([ROWS[i] for i in index])
        assert torch.equal(points.x, whole.x[index])
        assert whole.source is None or torch.equal(points.source, whole.source[index])


def test_different_sample_seeds_give_different_samples(plugin):
    first, second = start_of(plugin)(ROWS).x, start_of(plugin)(seeds.sample_seeds(2, 500)).x
    same = (first == second).flatten(1).all(1).float().mean()
    assert same < 0.1  # where atoms are drawn, one in 70 agrees by chance


def test_the_stored_images_are_left_as_they_were(plugin):
    images = IMAGES.clone()
    start_of(plugin, images=images)(ROWS)
    assert torch.equal(images, IMAGES)
