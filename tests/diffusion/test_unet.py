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


SIZES = {  # the options of unet.py's docstring, the shape of the images, millions of parameters
    "8x8": ({}, (1, 8, 8), 0.14),
    "28x28": ({"channels": 64, "multipliers": (1, 2, 2), "blocks": 2, "attention": (1,)}, (1, 28, 28), 5),
    "28x28 in patches": ({"patch": 2, "channels": 48}, (1, 28, 28), 0.9),
    "32x32": (
        {
            **{"channels": 128, "multipliers": (1, 2, 2, 2), "blocks": 2, "attention": (1,), "embedding": 512},
            "dropout": 0.1,
        },
        (3, 32, 32),
        32,
    ),
}


@pytest.mark.parametrize("name", SIZES)
def test_the_sizes_of_the_docstring_have_its_parameters(name):
    options, shape, millions = SIZES[name]
    with torch.device("meta"):
        model = UNet(shape[0], **options)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=0.15)


def test_attention_at_a_resolution_connects_far_pixels_where_convolutions_alone_do_not_reach():
    torch.manual_seed(0)
    reach = {}
    for attention in (False, (0,)):
        model = UNet(1, channels=8, multipliers=(1,), attention=attention).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        x = torch.randn(1, 1, 32, 32, requires_grad=True)
        norms = [m for m in model.modules() if isinstance(m, torch.nn.GroupNorm)]
        for norm in norms:
            norm.forward = lambda h: h  # a group norm sees the whole image
        (gradient,) = torch.autograd.grad(model(x, torch.tensor([0.5]))[0, 0, 0, 0], x)
        reach[attention] = bool(gradient[0, 0, -1, -1] != 0)
    assert reach == {False: False, (0,): True}


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    model = UNet(1, channels=8, dropout=0.5)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, condition = torch.randn(2, 1, 8, 8), torch.rand(2)
    model.train()
    assert not torch.equal(model(x, condition), model(x, condition))
    model.eval()
    assert torch.equal(model(x, condition), model(x, condition))


def test_labels_change_the_output_and_are_asked_for():
    torch.manual_seed(0)
    model = UNet(1, channels=8, classes=3).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x, condition = torch.randn(1, 1, 8, 8).expand(3, -1, -1, -1), torch.full((3,), 0.5)
    out = model(x, condition, torch.arange(3))
    assert not torch.allclose(out[0], out[1]) and not torch.allclose(out[1], out[2])
    with pytest.raises(ValueError, match="knows 3 classes, labels missing"):
        model(x, condition)
    with pytest.raises(ValueError, match="knows 0 classes, labels given"):
        UNet(1)(x, condition, torch.arange(3))


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 8, 8)])
def test_another_number_of_channels_says_what_is_taken(shape):
    with pytest.raises(ValueError, match=r"takes images \(B, 1, H, W\), got \(2, "):
        UNet(1)(torch.randn(*shape), torch.rand(2))


def test_patches_keep_the_shape_see_every_pixel_and_must_fill_the_image():
    torch.manual_seed(0)
    model = UNet(2, channels=8, patch=3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    x = torch.randn(1, 2, 9, 6, requires_grad=True)
    out = model(x, torch.tensor([0.5]))
    assert out.shape == x.shape
    (gradient,) = torch.autograd.grad(out[0, 0, 0, 0], x)
    assert (gradient != 0).all()
    with pytest.raises(ValueError, match="Patches of 3 pixels do not fill images of 8x9"):
        model(torch.randn(1, 2, 8, 9), torch.tensor([0.5]))


def test_weights_are_all_there_is_to_store():
    model = UNet(1)
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("name", ["ddpm", "edm"])
def test_the_networks_of_the_default_experiment_have_about_140_thousand_parameters(name):
    config = yaml.safe_load((ROOT / "config" / "digits.yaml").read_text(encoding="utf-8"))
    model = UNet(1, **config["networks"][name].get("unet", {}))
    assert 120_000 < sum(p.numel() for p in model.parameters()) < 160_000
