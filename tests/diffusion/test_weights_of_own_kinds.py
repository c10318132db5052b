"""Weights that the model of a kind of one's own does not take: one line, which names the first tensor."""

import pytest
import torch

from dpmot.diffusion import network


class Kind:
    """As a file of dpmot/diffusion/networks/ that is only loaded."""

    def model(self, tensors):
        made = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
        made.load_state_dict(tensors)
        return made


@pytest.fixture(autouse=True)
def mine(monkeypatch):
    monkeypatch.setattr(network, "parametrisation", lambda card: Kind())


def weights(width):
    return torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.Linear(width, 2)).state_dict()


def test_a_width_that_differs_is_said_in_one_line_with_the_first_tensor():
    with pytest.raises(ValueError, match=r"kind mine: .* size mismatch for 0.weight: .* \(the first of 3\)$") as told:
        network.build({"kind": "mine"}, weights(5))
    assert "\n" not in str(told.value)


def test_names_that_differ_are_said_too():
    with pytest.raises(ValueError, match=r"kind mine: its model does not take these weights: .*Missing key"):
        network.build({"kind": "mine"}, {f"module.{name}": tensor for name, tensor in weights(3).items()})


def test_weights_that_fit_are_taken():
    assert not network.build({"kind": "mine"}, weights(3)).training
