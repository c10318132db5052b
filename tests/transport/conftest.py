"""Bits are promised for one thread; small products on two threads of a busy machine mostly wait."""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=[False, True], ids=["exact", "rounded"])
def rounds(request, monkeypatch):
    """On a processor without, and with, fast products in bfloat16: whatever the tests run on."""
    monkeypatch.setattr("dpmot.device.cpu_multiplies_bfloat16", lambda: request.param)
    return request.param
