"""The contract of a parametrisation, checked on every file of dpmot/diffusion/networks/ at its own image shape."""

import dataclasses
import inspect
from functools import partial

import numpy as np
import pytest
import torch

from dpmot import plugins
from dpmot.diffusion import network
from dpmot.diffusion.sigmas import FAMILIES
from dpmot.diffusion.training import batch_of

pytestmark = pytest.mark.usefixtures("one_thread")
KINDS = plugins.names("networks")
TRAINABLE = [kind for kind in KINDS if hasattr(plugins.find("networks", kind).Parametrisation, "loss")]
BATCH = 6


def parametrisation_of(kind):
    return plugins.find("networks", kind).Parametrisation()


def stated(kind, variable, default):
    value = plugins.constant("networks", kind, variable)
    return default if value is None else value


def shape_of(kind):
    return tuple(stated(kind, "SHAPE", (1, 8, 8)))


def labels_of(kind, count=BATCH):
    """Labels for a network with classes, else None."""
    classes = stated(kind, "CLASSES", 0)
    return torch.arange(count) % classes if classes else None


def fresh(kind, *, std=0.0):
    """The network as the file builds it, with random weights if ``std`` is given, and clean inputs for it."""
    torch.manual_seed(0)
    module, x0 = plugins.find("networks", kind), torch.rand(BATCH, *shape_of(kind)) * 2 - 1
    tensors, x0 = module.example() if hasattr(module, "example") else (None, x0)
    unet = {"channels": 8, "classes": stated(kind, "CLASSES", 0)}
    model = network.build({"kind": kind, "options": {}, "shape": shape_of(kind), "unet": unet}, tensors)
    if std and tensors is None:
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=std)
    return model, x0


def labelled(kind, model, count=BATCH):
    labels = labels_of(kind, count)
    return model if labels is None else partial(model, labels=labels)


def test_some_can_be_trained():
    assert {"ddpm", "edm"} <= set(TRAINABLE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_parametrisation_is_frozen_plain_data_with_defaults(kind):
    options = parametrisation_of(kind)
    assert dataclasses.is_dataclass(options) and options == parametrisation_of(kind) and hash(options) is not None
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.no_such_option = 3
    assert all(isinstance(value, int | float | str | dict) for value in dataclasses.asdict(options).values())
    assert inspect.getdoc(plugins.find("networks", kind)) and inspect.getdoc(options.denoise)


@pytest.mark.parametrize("kind", TRAINABLE)
def test_options_of_levels_leave_what_weights_mean(kind):
    own, (model, x) = parametrisation_of(kind), fresh(kind, std=0.1)
    model, sigma = labelled(kind, model), torch.full((BATCH,), float(own.chain.levels[len(own.chain.levels) // 2]))
    for name in getattr(own, "of_levels", ()):
        value = getattr(own, name)
        other = dataclasses.replace(own, **{name: value + 1 if isinstance(value, int) else 1.5 * value})
        assert torch.equal(other.denoise(model, x, sigma), own.denoise(model, x, sigma)), name


@pytest.mark.parametrize("kind", KINDS)
def test_its_inputs_have_the_shape_and_the_classes_that_it_states(kind):
    _, x0 = fresh(kind)
    assert x0.shape == (BATCH, *shape_of(kind)) and x0.is_floating_point() and x0.isfinite().all()
    assert isinstance(stated(kind, "CLASSES", 0), int) and stated(kind, "CLASSES", 0) >= 0


@pytest.mark.parametrize("kind", KINDS)
def test_its_chain_descends_to_zero_between_the_levels_it_names(kind):
    chain = parametrisation_of(kind).chain
    assert np.all(np.diff(chain.sigmas) < 0) and chain.sigmas[-1] == 0
    assert chain.sigmas[0] == chain.sigma_max and chain.sigmas[-2] == pytest.approx(chain.sigma_min, rel=1e-12)
    assert chain.prior_std >= chain.sigma_max and chain.family in ("vp", *FAMILIES) and chain.step_counts is None
    assert len(chain.grid(5, chain.sigma_max)) == 6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_denoiser_keeps_shape_and_type_at_every_level(kind, dtype):
    model, x0 = fresh(kind, std=0.05)
    model = model.to(dtype) if isinstance(model, torch.nn.Module) else model
    denoiser, labels = network.NetworkDenoiser(parametrisation_of(kind), model), labels_of(kind)
    sigmas = denoiser.parametrisation.chain.sigmas
    with torch.inference_mode():
        for sigma in sigmas[[0, len(sigmas) // 3, -2]]:
            x = (x0 + sigma * torch.randn_like(x0)).to(dtype)
            denoised = denoiser(x, torch.tensor(sigma, dtype=torch.float64), labels)
            assert denoised.shape == x.shape and denoised.dtype == dtype and denoised.isfinite().all()
            assert torch.equal(denoised, denoiser(x, torch.full((BATCH,), sigma, dtype=torch.float64), labels))


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_finest_level_there_is_next_to_nothing_to_denoise(kind):
    model, x0 = fresh(kind)
    parametrisation = parametrisation_of(kind)
    sigma_min = parametrisation.chain.sigma_min
    denoised = parametrisation.denoise(labelled(kind, model), x0, torch.full((BATCH,), sigma_min))
    # a network of order one moves x by order sigma_min; the exact one of the mixture pulls by (sigma / std)^2,
    # that of the data not at all: other points are farther off than sigma
    assert (denoised - x0).abs().max() < 3 * sigma_min


@pytest.mark.parametrize("kind", TRAINABLE)
def test_the_loss_is_one_non_negative_number_per_sample_with_a_gradient_for_every_weight(kind):
    model, x0 = fresh(kind, std=0.05)
    _, noise, u, _ = batch_of(x0, 0, "loss", size=BATCH)
    loss = parametrisation_of(kind).loss(labelled(kind, model), x0, noise, u)
    assert loss.shape == (BATCH,) and (loss >= 0).all() and loss.isfinite().all()
    loss.mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert sum(p.grad.abs().sum() for p in model.parameters()) > 0


@pytest.mark.parametrize("kind", TRAINABLE)
@pytest.mark.parametrize("u", [0.0, 1 - 2**-24])
def test_the_loss_is_finite_at_both_ends_of_the_noise_levels(kind, u):
    model, x0 = fresh(kind, std=0.05)
    loss = parametrisation_of(kind).loss(labelled(kind, model), x0, torch.randn_like(x0), torch.full((BATCH,), u))
    assert loss.isfinite().all()


@pytest.mark.parametrize("kind", TRAINABLE)
def test_training_draws_its_levels_between_the_ends_of_the_chain(kind):
    parametrisation = parametrisation_of(kind)
    sigma = parametrisation.level(batch_of(torch.zeros(3, 1), 0, "levels", size=1000).u)
    assert sigma.shape == (1000,) and (sigma > 0).all()
    chain = parametrisation.chain
    inside = (sigma >= 0.999 * chain.sigma_min) & (sigma <= 1.001 * chain.sigma_max)
    assert inside.float().mean() > 0.99  # edm's levels are log-normal: P < .0001 to be outside


@pytest.mark.parametrize("kind", TRAINABLE)
def test_an_untrained_network_has_a_loss_of_order_one(kind):
    x0 = torch.rand(2000, *shape_of(kind), generator=torch.Generator().manual_seed(0)) * 2 - 1
    _, noise, u, _ = batch_of(x0, 0, "loss", size=2000)
    untrained = labelled(kind, lambda x, condition, labels=None: torch.zeros_like(x), 2000)
    loss = parametrisation_of(kind).loss(untrained, x0, noise, u)
    assert 0.2 < loss.mean() < 5  # so that learning rates carry over from one to another
