"""Fixtures that any test may ask for."""

import pytest
import torch


@pytest.fixture
def one_thread():
    """One torch thread: networks as small as those of the tests are slower on two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
