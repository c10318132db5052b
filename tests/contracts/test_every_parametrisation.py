"""The contract of a parametrisation, checked on every file of dpmot/diffusion/networks/."""

import dataclasses
import inspect

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
POINTS = torch.randn(6, 2)
CARD = {"options": {}, "shape": [1, 8, 8], "unet": {"channels": 8}}
EXACT = {  # the tensors that stand for weights, and clean inputs
    "mixture": ({"means": torch.tensor([[0.5, 0.5], [-0.5, 0.0]]), "std": torch.tensor(0.1)}, torch.rand(6, 2) - 0.5),
    "ideal": ({"points": POINTS}, POINTS),
}


def parametrisation_of(kind):
    return plugins.find("networks", kind).Parametrisation()


def fresh(kind, *, std=0.0):
    """The untrained network, or one with random weights, and a batch of clean inputs for it."""
    torch.manual_seed(0)
    if kind not in TRAINABLE:
        tensors, x0 = EXACT[kind]
        return network.build({**CARD, "kind": kind}, tensors), x0
    model = network.build({**CARD, "kind": kind})
    if std:
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=std)
    return model, torch.rand(6, 1, 8, 8) * 2 - 1


def test_some_can_be_trained():
    assert {"ddpm", "edm"} <= set(TRAINABLE)


@pytest.mark.parametrize("kind", KINDS)
def test_a_parametrisation_is_frozen_plain_data_with_defaults(kind):
    one = parametrisation_of(kind)
    assert dataclasses.is_dataclass(one) and one == parametrisation_of(kind) and hash(one) is not None
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.sigma_max = 3
    assert all(isinstance(value, int | float | str) for value in dataclasses.asdict(one).values())
    assert inspect.getdoc(plugins.find("networks", kind)) and inspect.getdoc(one.denoise)


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
    denoiser = network.NetworkDenoiser(parametrisation_of(kind), model if kind not in TRAINABLE else model.to(dtype))
    for sigma in denoiser.parametrisation.chain.sigmas[[0, 3, -2]]:
        x = (x0 + sigma * torch.randn_like(x0)).to(dtype)
        found = denoiser(x, torch.tensor(sigma, dtype=torch.float64))
        assert found.shape == x.shape and found.dtype == dtype and found.isfinite().all()
        assert torch.equal(found, denoiser(x, torch.full((6,), sigma, dtype=torch.float64)))


@pytest.mark.parametrize("kind", KINDS)
def test_at_the_finest_level_there_is_next_to_nothing_to_denoise(kind):
    model, x0 = fresh(kind)
    one = parametrisation_of(kind)
    found = one.denoise(model, x0, torch.full((6,), one.chain.sigma_min))
    # a network of order one moves x by order sigma_min; the exact one of the mixture pulls by (sigma / std)^2,
    # that of the data not at all: other points are farther off than sigma
    assert (found - x0).abs().max() < 3 * one.chain.sigma_min


@pytest.mark.parametrize("kind", TRAINABLE)
def test_the_loss_is_one_non_negative_number_per_sample_with_a_gradient_for_every_weight(kind):
    model, x0 = fresh(kind, std=0.05)
    _, noise, u, _ = batch_of(x0, 0, "loss", size=6)
    loss = parametrisation_of(kind).loss(model, x0, noise, u)
    assert loss.shape == (6,) and (loss >= 0).all() and loss.isfinite().all()
    loss.mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert sum(p.grad.abs().sum() for p in model.parameters()) > 0


@pytest.mark.parametrize("kind", TRAINABLE)
@pytest.mark.parametrize("u", [0.0, 1 - 2**-24])
def test_the_loss_is_finite_at_both_ends_of_the_noise_levels(kind, u):
    model, x0 = fresh(kind, std=0.05)
    assert parametrisation_of(kind).loss(model, x0, torch.randn_like(x0), torch.full((6,), u)).isfinite().all()


@pytest.mark.parametrize("kind", TRAINABLE)
def test_training_draws_its_levels_between_the_ends_of_the_chain(kind):
    one = parametrisation_of(kind)
    sigma = one.level(batch_of(torch.zeros(3, 1), 0, "levels", size=1000).u)
    assert sigma.shape == (1000,) and (sigma > 0).all()
    inside = (sigma >= 0.999 * one.chain.sigma_min) & (sigma <= 1.001 * one.chain.sigma_max)
    assert inside.float().mean() > 0.99  # edm's levels are log-normal: P < .0001 to be outside


@pytest.mark.parametrize("kind", TRAINABLE)
def test_an_untrained_network_has_a_loss_of_order_one(kind):
    x0 = torch.rand(4000, 1, 2, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    _, noise, u, _ = batch_of(x0, 0, "loss", size=4000)
    loss = parametrisation_of(kind).loss(lambda x, condition: torch.zeros_like(x), x0, noise, u)
    assert 0.2 < loss.mean() < 5  # so that learning rates carry over from one to another
