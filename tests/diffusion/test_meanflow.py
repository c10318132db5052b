"""MeanFlow on Gaussian data, where the average velocity is known: its identity, its steps, its training."""

from functools import partial

import pytest
import torch

from baselines import ddim, meanflow
from dpmot.diffusion import metering, network
from dpmot.diffusion.denoiser import MixtureDenoiser, TiledDenoiser
from dpmot.diffusion.guidance import Guided
from dpmot.diffusion.networks import edm
from dpmot.diffusion.networks import meanflow as kind
from dpmot.diffusion.training import batch_of
from dpmot.diffusion.unet import UNet
from dpmot.experiment.config import ConfigError, load

pytestmark = pytest.mark.usefixtures("one_thread")
S, MEAN = 0.4, 0.3
GAUSSIAN = MixtureDenoiser(torch.full((1, 3), MEAN, dtype=torch.float64), S)
CARD = {"kind": "meanflow", "options": {}, "shape": [1, 4, 4]}
UNET = {"channels": 8, "multipliers": (1,), "attention": True}


def width(t):
    """Standard deviation of x_t."""
    return ((1 - t) ** 2 * S**2 + t**2).sqrt()


def velocity(x, t):
    """v(x_t, t) = E[eps - x0 | x_t]."""
    t = t.reshape(-1, 1)
    return (x - (1 - t) * MEAN) * (t - (1 - t) * S**2) / width(t) ** 2 - MEAN


def average(x, told, *, error=0.0):
    """u(x_t, r, t), told (t, t - r): the flow's way from t to r, divided by t - r."""
    t, length = told[:, :1], told[:, 1:]
    r = t - length
    there = (1 - r) * MEAN + (x - (1 - t) * MEAN) * width(r) / width(t)
    return torch.where(length > 1e-9, (x - there) / length.clamp(min=1e-9), velocity(x, t)) + error


def batch(size=64):
    torch.manual_seed(0)
    t = torch.linspace(0.05, 0.99, size, dtype=torch.float64)
    x0, noise = MEAN + S * torch.randn(size, 3, dtype=torch.float64), torch.randn(size, 3, dtype=torch.float64)
    return (1 - t)[:, None] * x0 + t[:, None] * noise, t


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_the_average_velocity_fulfils_the_identity(share):
    at, t = batch()
    length = share * t
    rate = kind._rate(average, at, t, length, velocity(at, t))
    right = velocity(at, t) - length[:, None] * rate
    found = average(at, torch.stack([t, length], 1))
    torch.testing.assert_close(found, right, rtol=0, atol=1e-10)  # the shortest way divides rounding by 5e-4
    assert (found - velocity(at, t)).abs().max() > 1e-3 * share  # which the velocity itself does not


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("sigma_max", [999.0, 1e5])
def test_each_step_lands_on_the_flow_however_long_it_is(steps, sigma_max):
    parametrisation = kind.Parametrisation(sigma_max=sigma_max)
    denoiser = network.NetworkDenoiser(parametrisation, average)
    sigmas = torch.from_numpy(parametrisation.chain.grid(steps, sigma_max).copy())
    x = sigma_max * torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    path = []

    def told(sigma, x, labels=None, *, to):
        path.append(x)
        return denoiser(x, sigma, to=to)

    end = meanflow.sample(lambda x, sigma, to: told(sigma, x, to=to), x, sigmas)
    for sigma, found in zip(sigmas, [*path, end], strict=True):
        exact = MEAN + (x - MEAN) * ((S**2 + sigma**2) / (S**2 + sigma_max**2)).sqrt()
        # u is of order 1 and x_t is (1 + sigma) times smaller than x
        torch.testing.assert_close(found / (1 + sigma), exact / (1 + sigma), rtol=0, atol=1e-9)
    by_ddim = ddim.sample(denoiser, x, sigmas)
    assert (by_ddim - exact).abs().max() > 0.02  # whose steps are tangents


def test_without_a_span_it_is_the_denoiser_of_its_data():
    parametrisation = kind.Parametrisation()
    sigma = torch.from_numpy(parametrisation.chain.levels[::40].copy())
    x = MEAN + sigma[:, None] * torch.randn(len(sigma), 3, dtype=torch.float64)
    ask = partial(parametrisation.denoise, average, x, sigma)
    torch.testing.assert_close(ask(), GAUSSIAN(x, sigma), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(ask(sigma), ask(), rtol=0, atol=0)


@pytest.mark.parametrize("error", [-0.2, 0.5])
def test_the_exact_average_velocity_has_the_lowest_loss(error):
    parametrisation = kind.Parametrisation(power=0.0, spanned=0.5)
    images = MEAN + S * torch.randn(4000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x0, noise, u, _ = batch_of(images, 0, "loss", size=4000)
    x0, noise, u = x0.double(), noise.double(), u.double()
    losses = []
    for model in (average, partial(average, error=error)):
        torch.manual_seed(1)  # which draws r
        losses.append(parametrisation.loss(model, x0, noise, u))
    difference = losses[1] - losses[0]
    # a constant error adds its square, and nothing else but the mean of a centred product
    assert difference.mean() == pytest.approx(error**2, abs=5 * difference.std().item() / 4000**0.5)


def test_the_rate_is_that_of_the_real_network_along_the_flow():
    torch.manual_seed(0)
    model = UNet(1, conditions=2, **UNET).double()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    at, v = torch.randn(2, 6, 1, 4, 4, dtype=torch.float64)
    t, length, h = torch.linspace(0.3, 0.9, 6, dtype=torch.float64), torch.full((6,), 0.2, dtype=torch.float64), 1e-7
    rate = kind._rate(model, at, t, length, v)
    ahead, behind = (model(at + k * v, torch.stack([t + k, length + k], 1)) for k in (h, -h))
    # h^2 times 256^3, the embedding's highest frequency
    torch.testing.assert_close(rate, (ahead - behind) / (2 * h), rtol=1e-5, atol=1e-6)
    assert not rate.requires_grad


def test_r_lies_below_t_on_the_stated_share_of_images_and_labels_follow_their_rows():
    seen = []

    def model(x, told, labels):
        seen.append((len(x), told.detach(), labels))
        return 0 * x + labels.reshape(-1, *[1] * (x.dim() - 1))

    images = torch.zeros(5, 2)
    x0, noise, u, _ = batch_of(images, 0, size=2000)
    torch.manual_seed(0)
    labels = torch.arange(2000)
    kind.Parametrisation(spanned=0.3).loss(partial(model, labels=labels), x0, noise, u)
    (few, _, some), (all_, told, every) = seen
    spanned = told[:, 1] > 0
    assert all_ == 2000 and few == int(spanned.sum()) == pytest.approx(600, abs=5 * (2000 * 0.3 * 0.7) ** 0.5)
    assert torch.equal(some, labels[spanned]) and torch.equal(every, labels)
    assert ((told >= 0) & (told[:, 1:] <= told[:, :1])).all()


@pytest.mark.parametrize(("option", "wrong"), [("spanned", 0.0), ("spanned", 1.5), ("power", -1.0)])
def test_options_that_mean_nothing_are_refused(option, wrong):
    with pytest.raises(ValueError, match="needs 0 < spanned <= 1 and 0 <= power <= 2"):
        kind.Parametrisation(**{option: wrong})


def test_the_network_of_two_times_is_counted_saved_and_loaded(tmp_path):
    card = {**CARD, "unet": {"channels": 8}}
    torch.manual_seed(0)
    made = network.build(card)
    network.save(tmp_path / "net.safetensors", card, {None: made.state_dict()})
    again = network.load(tmp_path / "net.safetensors").denoisers[None]
    assert again.spans and made.embed[0].in_features == 64
    x = torch.randn(10, 1, 4, 4, dtype=torch.float64)
    run = partial(metering.run, "meanflow", x=80 * x, sigmas=torch.tensor([80.0, 1.0, 0.0]).double(), noise=None)
    end, nfe = run(denoiser=TiledDenoiser(again))
    assert nfe == 2 and end.isfinite().all()
    one = network.NetworkDenoiser(edm.Parametrisation(), UNet(1, channels=8))
    for other in (one, Guided(again, 2.0, 3)):
        with pytest.raises(ValueError, match=r"asks for D of a span.*the network knows none.*kind meanflow"):
            run(denoiser=TiledDenoiser(other))


def test_a_plan_refuses_the_sampler_on_networks_that_know_no_spans():
    reasons = {
        "edm": "network edm of kind edm knows none; give one of kind meanflow",
        "student": "student student was distilled without spans",
    }
    for name, reason in reasons.items():
        with pytest.raises(ConfigError, match=rf"methods.{name}: sampler meanflow .*{reason}"):
            load(["config/smoke.yaml"], [f'methods={{"{name}": {{"network": "{name}", "sampler": "meanflow"}}}}'])
