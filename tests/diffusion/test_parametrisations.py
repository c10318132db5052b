"""Wrappers of DDPM, EDM and flows: a network that is right gives back the exact denoiser, and has the lowest loss."""

import numpy as np
import pytest
import torch

from dpmot.diffusion.denoiser import MixtureDenoiser
from dpmot.diffusion.networks import ddpm, edm, flow
from dpmot.diffusion.training import batch_of

pytestmark = pytest.mark.usefixtures("one_thread")
torch.manual_seed(0)
EXACT = MixtureDenoiser(torch.tensor([[-0.6, 0.2], [0.5, 0.5], [0.1, -0.7]], dtype=torch.float64), 0.15)


def oracle_noise(parametrisation, *, error=0.0):
    """eps, v or x0 of (x_t, t / T) by the exact denoiser, at the levels of the chain."""
    levels = torch.from_numpy(parametrisation.chain.levels)

    def model(x, condition):
        sigma = levels[(condition * parametrisation.num_levels).round().long() - 1].to(x.dtype)
        scale = (1 + sigma[:, None] ** 2).sqrt()
        x0 = EXACT(x * scale, sigma)
        eps = (x * scale - x0) / sigma[:, None]
        v = (eps - sigma[:, None] * x0) / scale
        return {"epsilon": eps, "v_prediction": v, "sample": x0}[parametrisation.prediction] + error

    return model


def oracle_raw(parametrisation, *, error=0.0):
    """F(c_in x, ln sigma / 4) of the exact denoiser: (D - c_skip x) / c_out."""
    s = parametrisation.sigma_data
    sign = -1 if parametrisation.prediction == "v_prediction" else 1

    def model(x, condition):
        sigma = (4 * condition).exp()[:, None]
        total = sigma**2 + s**2
        x = x * total.sqrt()
        return sign * (EXACT(x, sigma[:, 0]) - s**2 / total * x) / (sigma * s / total.sqrt()) + error

    return model


def oracle_velocity(_, *, error=0.0):
    """eps - x0 of (x_t, t) by the exact denoiser."""

    def model(x, t):
        x, sigma = x / (1 - t[:, None]), t / (1 - t)
        x0 = EXACT(x, sigma)
        return (x - x0) / sigma[:, None] - x0 + error

    return model


def oracle(parametrisation, **options):
    return ORACLES[type(parametrisation)](parametrisation, **options)


ORACLES = {
    ddpm.Parametrisation: oracle_noise,
    edm.Parametrisation: oracle_raw,
    flow.Parametrisation: oracle_velocity,
}
WRAPPERS = [
    *(ddpm.Parametrisation(), ddpm.Parametrisation(num_levels=50), ddpm.Parametrisation(prediction="v_prediction")),
    *(ddpm.Parametrisation(prediction="sample"), ddpm.Parametrisation(num_levels=50, schedule="scaled_linear")),
    *(edm.Parametrisation(sigma_data=0.7), edm.Parametrisation(prediction="v_prediction"), flow.Parametrisation()),
]


@pytest.mark.parametrize("parametrisation", WRAPPERS, ids=str)
def test_the_exact_network_gives_the_exact_denoiser_at_the_levels_of_its_chain(parametrisation):
    levels = parametrisation.chain.levels
    sigma = torch.from_numpy(levels[:: max(1, len(levels) // 40)].copy())
    x = EXACT.means[0] + sigma[:, None] * torch.randn(len(sigma), 2, dtype=torch.float64)
    found = parametrisation.denoise(oracle(parametrisation), x, sigma)
    # x - sigma F and back cancel to sigma * 1e-16 of x; log and exp of sigma cost another factor of ten
    torch.testing.assert_close(found, EXACT(x, sigma), rtol=1e-10, atol=1e-11)


def test_between_two_levels_the_ddpm_network_is_asked_at_the_time_where_log_sigma_lies():
    parametrisation, asked = ddpm.Parametrisation(), []
    levels = parametrisation.chain.levels

    def model(x, condition):
        asked.append(condition)
        return torch.zeros_like(x)

    sigma = torch.tensor([np.sqrt(levels[99] * levels[100]), levels[0], levels[-1]])
    parametrisation.denoise(model, torch.zeros(3, 2, dtype=torch.float64), sigma)
    torch.testing.assert_close(asked[0] * 1000, torch.tensor([100.5, 1, 1000], dtype=torch.float64))


@pytest.mark.parametrize("parametrisation", WRAPPERS, ids=str)
def test_training_and_sampling_show_the_network_the_same_input_at_the_same_level(parametrisation):
    x0, noise = torch.randn(6, 2, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    seen = []

    def model(x, condition):
        seen.append((x, condition))
        return torch.zeros_like(x)

    parametrisation.loss(model, x0, noise, torch.tensor([0, 0.1, 0.3, 0.5, 0.9, 1 - 2**-24], dtype=torch.float64))
    (x, condition), parts = seen.pop(), parametrisation
    if isinstance(parts, ddpm.Parametrisation):
        sigma = torch.from_numpy(parts.chain.levels)[(condition * parts.num_levels).round().long() - 1]
    else:
        sigma = condition / (1 - condition) if isinstance(parts, flow.Parametrisation) else (4 * condition).exp()
    parametrisation.denoise(model, x0 + sigma[:, None] * noise, sigma)
    torch.testing.assert_close(seen[0][0], x)
    torch.testing.assert_close(seen[0][1], condition)


@pytest.mark.parametrize("parametrisation", WRAPPERS, ids=str)
@pytest.mark.parametrize("error", [-0.2, 0.05, 0.5])
def test_the_exact_network_has_a_lower_loss_than_a_perturbed_one(parametrisation, error):
    images = EXACT.means[torch.randint(3, (4000,))] + EXACT.std * torch.randn(4000, 2, dtype=torch.float64)
    x0, noise, u, _ = batch_of(images, 0, "loss", size=4000)
    x0, noise, u = x0.double(), noise.double(), u.double()
    exact = parametrisation.loss(oracle(parametrisation), x0, noise, u)
    other = parametrisation.loss(oracle(parametrisation, error=error), x0, noise, u)
    assert exact.shape == (4000,) and (exact >= 0).all()
    # a constant error adds its square to both losses, and nothing else but the mean of a centred product
    difference = other - exact
    assert difference.mean() == pytest.approx(error**2, abs=5 * difference.std().item() / 4000**0.5)
    assert other.mean() > exact.mean()


def test_the_ddpm_loss_spreads_its_times_evenly_over_all_levels():
    parametrisation, seen = ddpm.Parametrisation(num_levels=20), []

    def model(x, condition):
        seen.append(condition)
        return torch.zeros_like(x)

    _, noise, u, _ = batch_of(torch.zeros(3, 2), 0, "times", size=4000)
    parametrisation.loss(model, torch.zeros(4000, 2), noise, u)
    count = torch.bincount((seen[0] * 20).round().long(), minlength=21)
    assert count[0] == 0 and (count[1:] - 200).abs().max() <= 1  # stratified: each level its share, to within one


def test_the_edm_loss_draws_ln_sigma_from_its_normal_law():
    parametrisation, seen = edm.Parametrisation(mean=-0.5, std=0.8), []

    def model(x, condition):
        seen.append(4 * condition)
        return torch.zeros_like(x)

    _, noise, u, _ = batch_of(torch.zeros(3, 2), 0, "times", size=4000)
    parametrisation.loss(model, torch.zeros(4000, 2), noise, u)
    assert seen[0].mean() == pytest.approx(-0.5, abs=2e-3)  # stratified quantiles: the error is that of a midpoint rule
    assert seen[0].std() == pytest.approx(0.8, abs=2e-3)


def test_the_edm_weights_make_the_raw_networks_loss_uniform():
    # lambda c_out^2 = 1 (Karras et al. 2022, eq. 5 and 8): an error of 1 in F costs 1 at every sigma
    parametrisation = edm.Parametrisation()
    x0, noise, u = (
        torch.zeros(9, 2, dtype=torch.float64),
        torch.zeros(9, 2, dtype=torch.float64),
        torch.linspace(0.01, 0.99, 9),
    )
    loss = parametrisation.loss(lambda x, c: torch.ones_like(x), x0, noise, u.double())
    torch.testing.assert_close(loss, torch.ones(9, dtype=torch.float64))


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        (
            ddpm.Parametrisation,
            {"prediction": "noise"},
            "prediction is one of epsilon, v_prediction, sample; got 'noise'",
        ),
        (ddpm.Parametrisation, {"schedule": "cosine"}, "schedule is one of linear, scaled_linear, sigmoid, squared"),
        (edm.Parametrisation, {"prediction": "sample"}, "prediction is epsilon or v_prediction, got 'sample'"),
        (flow.Parametrisation, {"num_levels": 2}, "at least 3 levels, got num_levels 2"),
        (flow.Parametrisation, {"sigma_max": 80.0}, "sigma_max in num_levels - 1 = 999 to 1e.06, got 80"),
        (flow.Parametrisation, {"sigma_max": 1e9}, "sigma_max in num_levels - 1 = 999 to 1e.06, got 1e.09"),
    ],
)
def test_what_a_network_cannot_predict_is_refused_with_what_it_can(make, options, said):
    with pytest.raises(ValueError, match=said):
        make(**options)


def test_the_chain_of_a_flow_takes_equal_steps_in_time_from_next_to_noise():
    chain = flow.Parametrisation(num_levels=8, sigma_max=None).chain
    np.testing.assert_allclose(chain.sigmas / (1 + chain.sigmas), np.arange(7, -1, -1) / 8, rtol=1e-12)
    assert chain.family == "flow" and chain.sigma_max == 7 and chain.prior_std == 7
