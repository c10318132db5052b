"""Bits are promised for one thread; small products on two threads of a busy machine mostly wait."""

import pytest
import torch

from dpmot.transport import race, tally


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def multiply_in(monkeypatch):
    """Set how many rows and atoms one product of a processor has."""

    def shaped(rows: int, atoms: int) -> None:
        for module in (race, tally):
            monkeypatch.setattr(module, "SHAPES", ((rows, atoms),))

    return shaped


@pytest.fixture(params=[False, True], ids=["exact", "rounded"])
def rounds(request, monkeypatch):
    """On a processor without, and with, fast products in bfloat16: whatever the tests run on."""
    monkeypatch.setattr("dpmot.device.cpu_multiplies_bfloat16", lambda: request.param)
    return request.param
