"""Faster training: the same parameters in float32, other bits on the way; and what an evaluation costs."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dpmot.diffusion.acceleration import Acceleration
from dpmot.diffusion.flops import evaluation
from dpmot.diffusion.network import NetworkDenoiser
from dpmot.diffusion.networks import edm
from dpmot.diffusion.schedule import Schedule
from dpmot.diffusion.training import batch_of, fit
from dpmot.diffusion.unet import UNet
from dpmot.experiment.plan import Network
from dpmot.experiment.stages.train import split

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def trained(acceleration, steps=60):
    torch.manual_seed(0)
    model = UNet(1, channels=8)
    denoiser = NetworkDenoiser(edm.Parametrisation(), acceleration(model))

    def loss_at(step):
        return denoiser.losses(batch_of(IMAGES, 0, "training", step, size=8))

    return model, fit(model, loss_at, Schedule(steps=steps, batch=8, warmup=4), seed=0, description="test")


def test_without_options_the_network_itself_is_trained():
    model = UNet(1, channels=8)
    assert Acceleration()(model) is model


@pytest.mark.parametrize("options", [
    {"precision": "bfloat16"}, {"channels_last": True}, {"precision": "bfloat16", "channels_last": True},
])  # fmt: skip
def test_training_is_the_same_up_to_rounding_and_the_weights_stay_float32(options):
    (_, plain), (model, fast) = trained(Acceleration()), trained(Acceleration(**options))
    assert all(tensor.dtype == torch.float32 for tensor in fast.weights.values())
    assert set(fast.weights) == set(plain.weights)  # no prefix of a wrapper
    assert fast.losses == pytest.approx(plain.losses, rel=0.05)
    assert sum(fast.losses[-8:]) < 0.99 * sum(fast.losses[:8])
    if "precision" in options:
        assert fast.losses != plain.losses  # products were rounded
    UNet(1, channels=8).load_state_dict(model.state_dict())


def test_products_are_rounded_where_it_is_asked_for_and_the_result_is_not():
    torch.manual_seed(0)
    model = UNet(1, channels=8)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x, c = torch.randn(4, 1, 8, 8), torch.rand(4)
    with torch.no_grad():
        exact, rounded = model(x, c), Acceleration(precision="bfloat16")(model)(x, c)
    assert rounded.dtype == torch.float32
    assert 1e-4 < float((exact - rounded).abs().max() / exact.abs().max()) < 0.05


def test_a_compiled_network_is_the_one_that_torch_compiled(monkeypatch):
    seen = []
    monkeypatch.setattr(torch, "compile", lambda model: seen.append(model) or model)
    model = UNet(1, channels=8)
    Acceleration(compile=True)(model)
    assert seen == [model]


def test_bfloat16_on_a_processor_without_it_is_said_to_be_slow(monkeypatch):
    cpu, rounded = torch.device("cpu"), Acceleration(precision="bfloat16")
    monkeypatch.setattr("dpmot.diffusion.acceleration.cpu_multiplies_bfloat16", lambda: False)
    assert "ten times as long" in rounded.slowed(cpu)
    assert rounded.slowed(torch.device("cuda")) is None and Acceleration().slowed(cpu) is None
    monkeypatch.setattr("dpmot.diffusion.acceleration.cpu_multiplies_bfloat16", lambda: True)
    assert rounded.slowed(cpu) is None


def test_the_options_of_a_training_are_told_apart():
    options = {"steps": 5, "lr": 0.1, "precision": "bfloat16", "compile": True}
    schedule, acceleration = split(Network(kind="edm", training=options))
    assert schedule == Schedule(steps=5, lr=0.1)
    assert acceleration == Acceleration(precision="bfloat16", compile=True)


@pytest.mark.parametrize("unet", [{"channels": 8}, {"channels": 16, "patch": 2, "multipliers": [1, 2]}, {"classes": 3}])
def test_operations_are_those_of_a_real_evaluation(unet):
    model = UNet(1, **unet).eval()
    labels = [torch.zeros(1, dtype=torch.int64)] if unet.get("classes") else []
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 1, 8, 8), torch.zeros(1), *labels)
    assert evaluation(unet, (1, 8, 8)) == counter.get_total_flops() > 0


def test_twice_the_channels_are_about_four_times_the_operations():
    narrow, wide = (evaluation({"channels": width, "attention": False}, (1, 16, 16)) for width in (32, 64))
    assert 3.5 < wide / narrow < 4.1
