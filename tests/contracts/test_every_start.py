"""The contract of a start, checked on every file of dpmot/starts/ at every image shape that it takes."""

import inspect
import json
from functools import cache

import pytest
import torch

from dpmot import plugins, seeds
from dpmot.diffusion.sigmas import ddpm_chain, edm_chain
from dpmot.starts import Setting, prior_noise
from dpmot.transport import NoisyImages, SemiDiscreteProblem, SemiDiscreteSolver

pytestmark = pytest.mark.usefixtures("one_thread")
STARTS = plugins.names("starts")
FACTS = ("LOOKS_AT_NOISE", "HAS_LEVEL", "STORES_IMAGES", "NEEDS_HEIGHTS")
SHAPES = [(1, 4, 4), (3, 5, 4), (2,)]  # grey, colour, points: for a start that is made for no shape of its own
CHAINS = [edm_chain(), ddpm_chain()]
ROWS = seeds.sample_seeds(1, 500)
NUMBER = 70  # images


def declared(name, fact):
    return plugins.constant("starts", name, fact)


def shapes_of(name):
    own = declared(name, "SHAPE")
    return [own] if own else SHAPES


EVERY = [pytest.param(name, shape, id=f"{name}-{shape}") for name in STARTS for shape in shapes_of(name)]
ONCE = [pytest.param(name, shapes_of(name)[0], id=name) for name in STARTS]


@cache
def images_of(shape):
    return torch.rand(NUMBER, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


@cache
def solved(shape, sigma):
    """Heights under which every atom is drawn equally often."""
    problem = SemiDiscreteProblem(NoisyImages(images_of(shape), sigma, 0))
    return SemiDiscreteSolver(chi2=0.02)(problem, seed=0).potential.heights


@cache
def fitted(name, shape, classes):
    """What a start is fitted to: images of these classes."""
    return plugins.find("starts", name).fit(images_of(shape), torch.tensor(classes), seed=0)


def setting_of(name, shape, *, sigma=1.5, chain=CHAINS[0], labels=None, **options):
    """A setting with heights and a fit where the start says that it needs them, and without where it does not."""
    heights = solved(shape, sigma) if declared(name, "NEEDS_HEIGHTS") else None
    classes = (0,) * NUMBER if labels is None else tuple(labels.tolist())
    fit = fitted(name, shape, classes) if declared(name, "FITS") else None
    return Setting(chain, images_of(shape), sigma, 0, heights, labels=labels, fitted=fit, **options)


def start_of(name, shape, **options):
    return plugins.find("starts", name).Start(setting_of(name, shape, **options))


@pytest.mark.parametrize("name", STARTS)
def test_a_start_is_built_from_a_setting_and_keyword_options_with_defaults(name):
    plugin = plugins.find("starts", name)
    setting, *options = inspect.signature(plugin.Start).parameters.values()
    assert setting.name == "setting"
    assert all(option.kind is inspect.Parameter.KEYWORD_ONLY for option in options)
    assert all(option.default is not inspect.Parameter.empty for option in options)
    assert inspect.getdoc(plugin) and inspect.getdoc(plugin.Start)


@pytest.mark.parametrize("name", STARTS)
def test_a_start_declares_what_it_is_and_which_options_a_method_may_give(name):
    plugin = plugins.find("starts", name)
    assert all(isinstance(declared(name, fact), bool) for fact in FACTS)
    takes_options = plugin.fit if declared(name, "FITS") else plugin.Start
    assert set(declared(name, "OPTIONS")) <= set(inspect.signature(takes_options).parameters)
    assert set(declared(name, "AT_MOST") or ()) <= set(declared(name, "OPTIONS"))
    assert declared(name, "TAKES_NOISES") in (None, True)
    if hasattr(plugin, "check"):
        assert set(inspect.signature(plugin.check).parameters) <= set(declared(name, "OPTIONS"))
        plugin.check()  # the defaults are allowed


@pytest.mark.parametrize(("name", "shape"), EVERY)
@pytest.mark.parametrize("chain", CHAINS, ids=["edm", "ddpm"])
def test_one_point_per_seed_in_the_shape_of_the_data_and_as_declared(name, shape, chain):
    start = start_of(name, shape, chain=chain)
    points = start(ROWS)
    assert points.x.shape == (500, *shape) and points.x.dtype == torch.float32
    assert points.x.isfinite().all()
    assert start.sigma == (1.5 if declared(name, "HAS_LEVEL") else chain.sigma_max)
    assert isinstance(start.nfe, int) and start.nfe >= 0
    assert (points.source is not None) == declared(name, "STORES_IMAGES")
    if points.source is not None:
        assert points.source.shape == (500,) and points.source.dtype == torch.int64
        assert points.source.min() >= 0 and points.source.max() < NUMBER


@pytest.mark.parametrize(("name", "shape"), ONCE)
def test_a_start_names_the_class_of_each_point_where_the_network_has_classes(name, shape):
    labels = torch.cat([torch.zeros(50), torch.ones(15), torch.full((5,), 2)]).long()
    start = plugins.find("starts", name).Start(setting_of(name, shape, labels=labels))

    def names(points):  # a start that names its source alone has that image's class
        return labels[points.source] if points.labels is None and points.source is not None else points.labels

    points = start(ROWS)
    named = names(points)
    assert named.shape == (500,) and named.dtype == torch.int64
    if points.source is not None:
        assert torch.equal(named, labels[points.source])
    # in the shares of the data: a chance of 1e-4 of a larger deviation, and what solved heights leave, chi2 < .02
    shares, found = torch.tensor([50, 15, 5]) / 70, torch.bincount(named, minlength=3) / 500
    assert ((found - shares) ** 2 / shares).sum() < 18.4 / 500 + 0.02
    order = [7, 3, 499]
    assert torch.equal(names(start([ROWS[i] for i in order])), named[order])
    assert start_of(name, shape)(ROWS[:5]).labels is None


@pytest.mark.parametrize(("name", "shape"), ONCE)
def test_a_start_looks_at_the_prior_noise_if_and_only_if_it_says_so(name, shape):
    def other_noise(*args, **options):
        return prior_noise(*args, **options | {"stream": "other"})

    first, second = start_of(name, shape)(ROWS).x, start_of(name, shape, noise=other_noise)(ROWS).x
    assert torch.equal(first, second) != declared(name, "LOOKS_AT_NOISE")


@pytest.mark.parametrize(("name", "shape"), ONCE)
def test_a_start_that_needs_heights_or_a_fit_says_so_where_there_is_none(name, shape):
    setting = Setting(CHAINS[0], images_of(shape), 1.5, 0)
    if not (declared(name, "NEEDS_HEIGHTS") or declared(name, "FITS")):
        plugins.find("starts", name).Start(setting)
        return
    with pytest.raises(ValueError, match=r"No .* (was|were) (fitted|solved).*run `dpmot (fit|solve)` first"):
        plugins.find("starts", name).Start(setting)


FITTED = [name for name in STARTS if declared(name, "FITS")]


@pytest.mark.parametrize("name", FITTED)
def test_a_start_that_is_fitted_has_a_fit_with_defaults_and_the_same_images_give_the_same_bits(name):
    plugin, shape = plugins.find("starts", name), shapes_of(name)[0]
    options = [*inspect.signature(plugin.fit).parameters.values()][2:]  # after images and labels
    assert [one.name for one in options if one.default is inspect.Parameter.empty] == ["seed"]
    assert all(one.kind is inspect.Parameter.KEYWORD_ONLY for one in options)
    given = images_of(shape), torch.zeros(NUMBER, dtype=torch.int64)
    one, other = (plugin.fit(*given, seed=0) for _ in range(2))
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    if hasattr(plugin, "judge"):
        json.dumps(plugin.judge(one, given[0], given[0][:5]))  # facts that a file can hold


@pytest.mark.parametrize(("name", "shape"), EVERY)
def test_the_points_lie_at_the_noise_level_that_the_start_names(name, shape):
    """E x^2 per pixel is that of the images plus sigma^2, whatever the start."""
    for sigma in (0.2, 1.5, 20.0):
        start = start_of(name, shape, sigma=sigma)
        expected = images_of(shape).square().mean().item() + start.sigma**2
        # 500 draws of 70 atoms: sd sqrt(2 / 70 d), 2 % for 16 pixels
        error = (2 / (NUMBER * images_of(shape)[0].numel())) ** 0.5
        assert start(ROWS).x.square().mean().item() == pytest.approx(expected, rel=max(0.1, 4 * error))


@pytest.mark.parametrize(("name", "shape"), ONCE)
def test_a_sample_is_the_same_bits_in_every_batch_and_order(name, shape):
    start = start_of(name, shape)
    whole, order = start(ROWS), torch.randperm(500, generator=torch.Generator().manual_seed(0)).tolist()
    for index in (order, list(range(64)), list(range(100)), [499], [7, 3]):
        points = start_of(name, shape)([ROWS[i] for i in index])
        assert torch.equal(points.x, whole.x[index])
        assert whole.source is None or torch.equal(points.source, whole.source[index])


@pytest.mark.parametrize(("name", "shape"), ONCE)
def test_different_sample_seeds_give_different_samples(name, shape):
    first, second = start_of(name, shape)(ROWS).x, start_of(name, shape)(seeds.sample_seeds(2, 500)).x
    same = (first == second).flatten(1).all(1).float().mean()
    assert same < 0.1  # where atoms are drawn, one in 70 agrees by chance


@pytest.mark.parametrize(("name", "shape"), ONCE)
def test_the_stored_images_are_left_as_they_were(name, shape):
    images = images_of(shape).clone()
    start_of(name, shape)(ROWS)
    assert torch.equal(images, images_of(shape))
