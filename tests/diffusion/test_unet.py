"""The small U-Net."""

import pytest
import torch
import yaml

from dpmot.diffusion.unet import UNet
from dpmot.plugins import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16), (1, 7, 7), (2, 9, 14)])
@pytest.mark.parametrize("multipliers", [(1,), (1, 2), (1, 2, 2)])
def test_any_image_size_comes_back_in_its_own_shape(shape, multipliers):
    model = UNet(shape[0], channels=8, multipliers=multipliers)
    torch.nn.init.normal_(model.outlet[-1].weight)
    out = model(torch.randn(3, *shape), torch.rand(3))
    assert out.shape == (3, *shape) and out.isfinite().all() and out.std() > 0


def test_a_fresh_network_returns_zero_so_that_training_starts_at_the_preconditioning():
    assert not UNet(1)(torch.randn(2, 1, 8, 8), torch.rand(2)).any()


def test_the_output_depends_on_the_noise_level_and_on_every_pixel():
    torch.manual_seed(0)
    model = UNet(1, channels=8)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x = torch.randn(1, 1, 8, 8, requires_grad=True)
    here, there = model(x, torch.tensor([0.1])), model(x, torch.tensor([0.9]))
    assert not torch.allclose(here, there)
    (gradient,) = torch.autograd.grad(here[0, 0, 0, 0], x)
    assert (gradient != 0).all()


def test_rows_do_not_mix():
    torch.manual_seed(0)
    model = UNet(1, channels=8).eval()
    torch.nn.init.normal_(model.outlet[-1].weight)
    x, condition = torch.randn(2, 1, 8, 8), torch.rand(2)
    changed = x.clone()
    changed[1] += 1
    assert torch.equal(model(x, condition)[0], model(changed, condition)[0])


def test_weights_are_all_there_is_to_store():
    model = UNet(1)
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("name", ["ddpm", "edm"])
def test_the_networks_of_the_default_experiment_have_about_140_thousand_parameters(name):
    config = yaml.safe_load((ROOT / "config" / "digits.yaml").read_text(encoding="utf-8"))
    model = UNet(1, **config["networks"][name].get("unet", {}))
    assert 120_000 < sum(p.numel() for p in model.parameters()) < 160_000
