"""Where networks run."""

import platform
import subprocess
import sys

import pytest
import torch

from dpmot import device, plugins
from dpmot.diffusion.network import NetworkDenoiser
from dpmot.diffusion.networks import edm
from dpmot.diffusion.unet import UNet
from dpmot.runtime.fingerprint import environment


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
    assert denoiser._like(torch.zeros(2, 1, 8, 8)).device == torch.device("meta")
    with pytest.raises(NotImplementedError, match="meta"):  # the way back; all before it ran there
        denoiser(torch.zeros(2, 1, 8, 8), torch.tensor(1.0))


def test_threads_that_leave_in_any_order_give_the_caller_its_own_state_back():
    torch.set_default_dtype(torch.float64)
    try:
        first, second = device.ordinary(), device.ordinary()
        first.__enter__(), second.__enter__()
        first.__exit__(None, None, None)
        assert torch.get_default_dtype() == torch.float32  # the second is at work
        torch.set_default_dtype(torch.float16)
        with device.ordinary():
            assert torch.get_default_dtype() == torch.float32
        assert torch.get_default_dtype() == torch.float16
        second.__exit__(None, None, None)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


KEPT = """
import psutil, sys, torch
from dpmot.device import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
blocks = [torch.ones(2**18) for _ in range(400)]  # 1 MiB each
before = psutil.Process().memory_info().rss
del blocks
print((before - psutil.Process().memory_info().rss) >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps what it likes")
def test_freed_memory_is_kept():
    given_back = {
        how: int(subprocess.run([sys.executable, "-c", KEPT, how], capture_output=True, text=True, check=True).stdout)
        for how in ("leave", "keep")
    }
    assert given_back["leave"] > 300 and given_back["keep"] < 100


def test_a_result_depends_on_every_package_that_evaluates_networks():
    needs = [plugins.constant("networks", name, "NEEDS") or {} for name in plugins.names("networks")]
    assert {"diffusers", "torch", "transformers", *(package for one in needs for package in one)} <= {*environment(1)}
