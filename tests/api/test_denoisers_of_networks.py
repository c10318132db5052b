"""A network that predicts noise, v, x0 or a velocity becomes the denoiser; Gaussian data know all of these exactly."""

import numpy as np
import pytest
import torch

import dpmot
from dpmot.diffusion.sigmas import vp_linear_levels

pytestmark = pytest.mark.usefixtures("one_thread")
STD = 0.6  # of the data, N(0, STD^2 I): D(x, sigma) = STD^2 / (STD^2 + sigma^2) x
ABAR = torch.from_numpy(1 / (1 + vp_linear_levels() ** 2)).float()


def clean(x, signal, noise):
    """E[x0 | signal x0 + noise eps = x]."""
    return signal * STD**2 / (signal**2 * STD**2 + noise**2) * x


def vp(x, t):
    """x0, eps and v of the chain's networks at its whole levels, told t = 0..999."""
    assert torch.equal(t, t.round()) and 0 <= t.min() <= t.max() <= 999
    signal, noise = (part[t.long()].reshape(-1, 1) for part in (ABAR.sqrt(), (1 - ABAR).sqrt()))
    x0 = clean(x, signal, noise)
    eps = (x - signal * x0) / noise
    return {"sample": x0, "epsilon": eps, "v_prediction": signal * eps - noise * x0}


def velocity(x, t):
    """eps - x0 on x_t = (1 - t) x0 + t eps."""
    t = t.reshape(-1, 1)
    x0 = clean(x, 1 - t, t)
    return (x - (1 - t) * x0) / t - x0


def raw(x, condition):
    """EDM's F with sigma_data = 0.5."""
    sigma = (4 * condition).exp().reshape(-1, 1)
    total = (sigma**2 + 0.25).sqrt()
    return (clean(total * x, 1, sigma) - 0.25 / total**2 * total * x) / (sigma * 0.5 / total)


KINDS = {
    "epsilon": lambda: dpmot.denoiser(lambda x, t: vp(x, t)["epsilon"], "ddpm"),
    "v": lambda: dpmot.denoiser(lambda x, t: vp(x, t)["v_prediction"], "ddpm", prediction="v_prediction"),
    "x0": lambda: dpmot.denoiser(lambda x, t: vp(x, t)["sample"], "ddpm", prediction="sample"),
    "flow": lambda: dpmot.denoiser(velocity, "flow"),
    # the other direction, as the docstring says: s = 1 - t, x_s = (1 - s) eps + s x0, velocity x0 - eps
    "flow turned": lambda: dpmot.denoiser(lambda x, t: -(lambda x, s: -velocity(x, 1 - s))(x, 1 - t), "flow"),
    "edm": lambda: dpmot.denoiser(raw, "edm"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_posterior_mean(kind):
    denoiser, x = KINDS[kind](), torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    for sigma in vp_linear_levels()[[10, 100, 400, 800]].tolist():
        expected = clean(x, 1, sigma)
        # float32 and a condition of float32: relative errors of sigma up to 2e-6
        assert torch.allclose(denoiser(x, torch.tensor(sigma)), expected, atol=2e-5)


@pytest.mark.parametrize("kind", ["flow", "edm"])
def test_levels_and_prior_come_with_the_kind(kind):
    drawn = dpmot.sample(KINDS[kind](), "prior", "edm", 59, shape=(5,), num_samples=4000)
    # 20,000 numbers tell a standard deviation to 0.5 %; 30 steps of Heun err by 5 % from sigma 999, by 2 % from 80
    assert float(drawn.x0.std()) == pytest.approx(STD, rel=0.07 if kind == "flow" else 0.03) and drawn.nfe == 59
    assert drawn.sigma_start == {"flow": 999, "edm": 80}[kind]


def test_a_network_in_another_dtype_with_classes_is_asked_in_its_own(digits):
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = torch.nn.Embedding(10, 1, dtype=torch.float64)

        def forward(self, x, t, labels):
            assert x.dtype == t.dtype == torch.float64 and not self.training
            return x * 0 + self.shift(labels).reshape(-1, 1, 1, 1)

    drawn = dpmot.sample(dpmot.denoiser(Net(), "ddpm"), digits.way, nfe=2, num_samples=3)
    assert torch.equal(drawn.labels, digits.labels[drawn.source]) and drawn.x0.dtype == torch.float32
    with pytest.raises(ValueError, match="The denoiser takes labels"):
        dpmot.sample(dpmot.denoiser(Net(), "ddpm"), "prior", nfe=2, shape=(1, 8, 8))


@pytest.mark.parametrize(
    "given, match",
    [
        ((velocity, "flwo"), 'kind = .flwo.; did you mean "flow"[?] choose ddpm, flow, edm'),
        ((3, "flow"), "The network is a int"),
    ],
)
def test_what_is_no_network_or_kind_is_refused(given, match):
    with pytest.raises(ValueError, match=match):
        dpmot.denoiser(*given)


def test_options_are_those_of_the_kind():
    with pytest.raises(ValueError, match="kind flow has no option sigma_data; it has num_levels"):
        dpmot.denoiser(velocity, "flow", sigma_data=0.5)
    with pytest.raises(ValueError, match="prediction is one of"):
        dpmot.denoiser(velocity, "ddpm", prediction="noise")
    assert np.isclose(dpmot.denoiser(raw, "edm", sigma_max=40.0).sigma_max, 40)
