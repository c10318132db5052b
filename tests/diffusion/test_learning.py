"""Learning the options of a sampler: counted, and refused where it is no learning."""

from contextlib import suppress

import pytest
import torch

from dpmot.diffusion import learning, metering
from dpmot.diffusion.audit import Uncounted
from dpmot.diffusion.denoiser import MixtureDenoiser, NonFiniteOutput
from dpmot.diffusion.sigmas import karras

DENOISER = MixtureDenoiser(torch.tensor([[1.0, 0.0], [-1.0, 0.5]]), 0.2)
X = 20 * torch.randn(16, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
GRID = torch.from_numpy(karras(3, 20.0, 0.01))


class Plugin:
    """In the place of a file of baselines/."""

    def __init__(self, learn):
        self.learn = learn


@pytest.fixture
def learned(monkeypatch):
    def run(learn, denoiser=DENOISER):
        monkeypatch.setattr(metering, "fresh", lambda name: Plugin(learn))
        return learning.learn("pas", learning.Teacher(denoiser, None), X, GRID, {})

    return run


def test_every_evaluation_is_counted_and_those_with_gradients_apart(learned):
    def learn(denoiser, x, sigmas):
        denoiser(x, sigmas[0])
        with torch.enable_grad():
            level = sigmas[1].clone().requires_grad_(True)
            answer = denoiser(x[:4], level, torch.arange(4))
            torch.autograd.grad(answer.sum(), level)
        return {"coordinates": [0.0]}

    assert learned(learn) == learning.Learned({"coordinates": [0.0]}, 20, 4)


def test_a_network_that_is_evaluated_beside_d_is_refused(learned):
    def learn(denoiser, x, sigmas):
        with suppress(Uncounted):
            DENOISER(x, sigmas[0])
        return {"coordinates": [0.0]}

    with pytest.raises(Uncounted, match=r"baselines/pas.py: MixtureDenoiser was evaluated, on 16 rows, beside"):
        learned(learn)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"other": [1.0]}, r"learn gives \['other'\]; it must give \['coordinates'\]"),
        ({"coordinates": [float("nan")]}, "must be finite numbers"),
        ({"coordinates": "x"}, "must be finite numbers"),
    ],
)
def test_what_is_no_value_of_the_options_is_refused(learned, found, said):
    with pytest.raises(ValueError, match=said):
        learned(lambda *_: found)


def test_nan_and_a_network_without_gradients_are_named():
    def broken(x, sigma):
        return x * float("nan")

    def closed(x, sigma):
        return x.detach()

    broken.sigma_min = closed.sigma_min = 0.01
    broken.sigma_max = closed.sigma_max = 20.0
    x = X.clone().requires_grad_(True)
    for denoiser, fault in ((broken, NonFiniteOutput), (closed, ValueError)):
        with pytest.raises(fault, match=r"NaN or infinity|lets no gradient through"):
            learning.Teacher(denoiser, None)(x, 1.0)
