"""Reflow on Gaussian data, where the teacher's flow and the straight student are known in closed form."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from baselines import ddim
from baselines.distillation import _pairs, reflow
from dpmot import seeds
from dpmot.diffusion.denoiser import MixtureDenoiser
from dpmot.diffusion.network import NetworkDenoiser
from dpmot.diffusion.networks import flow
from dpmot.diffusion.schedule import Schedule
from dpmot.diffusion.sigmas import flow_chain
from dpmot.diffusion.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")
S, MEAN = 0.4, 0.3
GAUSSIAN = MixtureDenoiser(torch.full((1, 3), MEAN, dtype=torch.float64), S)
CHAIN = flow_chain(sigma_max=1e5)


def straight(x, sigma):
    """E[x0 | x] where x = x0 + sigma eps and x0 = MEAN + S eps: no noise is left to guess."""
    return MEAN + S * (x - MEAN) / (S + torch.as_tensor(sigma, dtype=x.dtype).reshape(-1, 1))


def test_pairs_are_prior_draws_and_where_the_flow_of_the_teacher_leads():
    errors = []
    for steps in (8, 16):
        ends = reflow.coupled(GAUSSIAN, CHAIN, (3,), 30, steps, seed=4)
        noise = seeds.normal(seeds.sample_seeds(4, 30), (3,), "knowledge")
        assert ends.shape == (30, 3) and ends.dtype == torch.float32
        errors.append((ends - (MEAN + S * noise)).abs().max())
    assert errors[1] < errors[0] / 2.5 and errors[1] < 0.02  # of order two, but for Euler's last step


def test_a_long_first_step_from_the_noise_end_is_no_longer_than_others_in_time():
    asked = []

    def denoiser(x, sigma):
        asked.append(float(sigma))
        return GAUSSIAN(x, sigma)

    sigmas = torch.from_numpy(CHAIN.grid(4, 1e5).copy())
    reflow.ends_of(denoiser, 1e5 * torch.randn(5, 3, dtype=torch.float64), sigmas)
    assert len(asked) == 2 * 4 - 1 and max(asked) == 1e5 and min(asked) == pytest.approx(1 / 3, rel=1e-4)


def test_a_straight_student_has_no_loss_and_one_step_of_it_is_the_teachers_whole_way():
    noise = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x0, sigma = MEAN + S * noise, torch.logspace(-2, 4, 40, dtype=torch.float64)
    loss = reflow.pair_velocity_loss(straight, x0, noise, sigma)
    assert loss.max() < 1e-16 and reflow.pair_velocity_loss(GAUSSIAN, x0, noise, sigma).mean() > 1e-2
    end = ddim.sample(lambda x, sigma: straight(x, sigma), 1e5 * noise, torch.tensor([1e5, 0.0]).double())
    torch.testing.assert_close(end, x0, rtol=0, atol=1e-4)  # the start lacks x0 itself, 1e-5 of it


def test_the_loss_is_that_of_flow_matching_in_its_own_words():
    parametrisation, x0, noise = flow.Parametrisation(), *torch.randn(2, 6, 3, dtype=torch.float64)
    sigma = torch.logspace(-2, 3, 6, dtype=torch.float64)
    t = (sigma / (1 + sigma))[:, None]

    def model(x, time):
        return torch.sin(3 * x) + time[:, None]

    in_words = (model((1 - t) * x0 + t * noise, t[:, 0]) - (noise - x0)).square().mean(1)
    found = reflow.pair_velocity_loss(lambda x, s: parametrisation.denoise(model, x, s), x0, noise, sigma)
    torch.testing.assert_close(found, in_words, rtol=1e-9, atol=1e-12)


def test_an_interrupted_recording_goes_on_to_the_same_bits(monkeypatch):
    states, asked = {}, []

    def checkpoint(name):
        return SimpleNamespace(
            load=lambda: states.get(name), save=lambda t, facts: states.update({name: ({**t}, facts)})
        )

    def denoiser(x, sigma):
        asked.append(len(x))
        if len(asked) == 15:
            raise KeyboardInterrupt
        return GAUSSIAN(x, sigma)

    denoiser.sigma_min, denoiser.sigma_max = GAUSSIAN.sigma_min, GAUSSIAN.sigma_max
    monkeypatch.setattr(_pairs.recorded, "__kwdefaults__", {"checkpoint": None, "block": 8})
    whole = reflow.coupled(GAUSSIAN, CHAIN, (3,), 20, 4, seed=0)
    with pytest.raises(KeyboardInterrupt):
        reflow.coupled(denoiser, CHAIN, (3,), 20, 4, seed=0, checkpoint=checkpoint)
    assert sorted(states) == ["trajectories_0", "trajectories_8"]  # 7 evaluations each
    assert torch.equal(reflow.coupled(denoiser, CHAIN, (3,), 20, 4, seed=0, checkpoint=checkpoint), whole)
    assert len(asked) == 15 + 7


def test_every_level_is_trained_equally_often_and_the_first_is_where_samples_start():
    torch.manual_seed(0)
    teacher = NetworkDenoiser(flow.Parametrisation(), UNet(1, channels=4, multipliers=(1,), attention=False))
    seen, call = [], NetworkDenoiser.__call__

    class Recorded(NetworkDenoiser):
        def __call__(self, x, sigma, labels=None):
            if torch.is_grad_enabled():
                seen.append(sigma)
            return call(self, x, sigma, labels)

    teacher.__class__ = Recorded
    options = {"pairs": 10, "teacher_steps": 2, "levels": 8}
    reflow.train(teacher, CHAIN, torch.zeros(3, 1, 4, 4), Schedule(6, batch=16), seed=0, **options)
    levels, count = torch.cat(seen).unique(return_counts=True)
    assert len(levels) == 8 and (count == 12).all() and levels[-1] == 1e5
    np.testing.assert_allclose(levels / (1 + levels), np.arange(1, 9) / 8, rtol=1e-4)


def test_options_that_mean_nothing_are_refused():
    one = NetworkDenoiser(flow.Parametrisation(), UNet(1, channels=4, multipliers=(1,)))
    for wrong in ({"pairs": 0}, {"teacher_steps": 0}, {"levels": 1}):
        with pytest.raises(ValueError, match="pairs >= 1, teacher_steps >= 1 and levels >= 2"):
            reflow.train(one, CHAIN, torch.zeros(4, 1, 4, 4), Schedule(1), seed=0, **wrong)
