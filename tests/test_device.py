"""Where networks run."""

import pytest
import torch

from dpmot import device
from dpmot.diffusion.network import NetworkDenoiser
from dpmot.diffusion.networks import edm
from dpmot.diffusion.unet import UNet
from dpmot.experiment.records import environment


def test_a_device_is_chosen_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.chosen("cpu") == device.chosen("auto") == torch.device("cpu")
    with pytest.raises(ValueError, match='device: "cuda" is asked for, but torch sees none here; choose "cpu" or'):
        device.chosen("cuda")
    with pytest.raises(ValueError, match='device: "gpu" is unknown; choose one of cpu, cuda, auto'):
        device.chosen("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.chosen("auto") == device.chosen("cuda") == torch.device("cuda")
    assert device.chosen("cpu") == torch.device("cpu")


def test_the_fingerprint_names_a_gpu_and_leaves_a_processor_as_it_was(monkeypatch):
    assert "device" not in environment(1, "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    assert environment(1, "auto")["device"] == "a GPU"


def test_a_network_works_where_it_is_and_answers_where_the_samples_are():
    model = UNet(1, channels=8).to("meta")  # a device that every machine has, without arithmetic
    denoiser = NetworkDenoiser(edm.Parametrisation(), model)
    assert denoiser._where(torch.zeros(2, 1, 8, 8)) == torch.device("meta")
    with pytest.raises(NotImplementedError, match="meta"):  # the way back; all before it ran there
        denoiser(torch.zeros(2, 1, 8, 8), torch.tensor(1.0))


def test_freed_memory_is_kept_without_a_change_of_bits():
    model, images = UNet(1, channels=16), torch.randn(64, 1, 8, 8)
    torch.nn.init.normal_(model.outlet[-1].weight)
    found = []
    try:
        for keep in (False, True, True):
            device.keep_freed_memory(keep)
            found.append(model(images, torch.ones(64)))
    finally:
        device.keep_freed_memory(False)
    assert found[0].abs().max() > 0
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
