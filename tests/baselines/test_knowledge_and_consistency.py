"""Knowledge and consistency distillation, where the perfect student is known in closed form."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from baselines import ddim, edm
from baselines.distillation import consistency, knowledge
from dpmot import seeds
from dpmot.diffusion.denoiser import IdealDenoiser, MixtureDenoiser, TiledDenoiser
from dpmot.diffusion.network import NetworkDenoiser
from dpmot.diffusion.networks import edm as edm_network
from dpmot.diffusion.schedule import Schedule
from dpmot.diffusion.sigmas import edm_chain, karras
from dpmot.diffusion.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")
S, MEAN = 0.5, 0.3
CHAIN = edm_chain(sigma_max=10.0, sigma_min=0.05)
GAUSSIAN = MixtureDenoiser(torch.full((1, 3), MEAN, dtype=torch.float64), S)


class Memory:
    """Checkpoints by name that are kept here; ``stop`` saves end the run."""

    def __init__(self, *, stop=None):
        self.states, self.stop, self.saves = {}, stop, 0

    def __call__(self, name):
        return SimpleNamespace(load=lambda: self.states.get(name), save=partial(self.save, name))

    def save(self, name, tensors, facts):
        self.states[name], self.saves = ({k: v.clone() for k, v in tensors.items()}, facts), self.saves + 1
        if self.saves == self.stop:
            raise KeyboardInterrupt


def test_trajectories_are_heuns_from_prior_draws_and_are_kept_at_every_level():
    levels = karras(16, CHAIN.sigma_max, CHAIN.sigma_min)
    path = knowledge.record(GAUSSIAN, CHAIN, (3,), levels, 20, seed=4)
    assert path.shape == (17, 20, 3) and path.dtype == torch.float32
    rows = seeds.sample_seeds(4, 20)
    start = CHAIN.prior_std * seeds.normal(rows, (3,), "knowledge").double()
    torch.testing.assert_close(path[0], start.float())
    end = edm.sample(TiledDenoiser(GAUSSIAN), start, torch.from_numpy(levels.copy()))
    torch.testing.assert_close(path[-1], end.float())
    exact = MEAN + (start - MEAN) * S / np.sqrt(S**2 + CHAIN.sigma_max**2)
    torch.testing.assert_close(path[-1].double(), exact, rtol=0.05, atol=0.05)


def test_an_interrupted_recording_goes_on_to_the_same_bits(monkeypatch):
    monkeypatch.setattr(knowledge, "BLOCK", 8)
    levels = karras(4, CHAIN.sigma_max, CHAIN.sigma_min)
    whole = knowledge.record(GAUSSIAN, CHAIN, (3,), levels, 20, seed=0)
    memory = Memory(stop=2)
    with pytest.raises(KeyboardInterrupt):
        knowledge.record(GAUSSIAN, CHAIN, (3,), levels, 20, seed=0, checkpoint=memory)
    memory.stop = None
    assert torch.equal(knowledge.record(GAUSSIAN, CHAIN, (3,), levels, 20, seed=0, checkpoint=memory), whole)
    assert memory.saves == 3  # the first two blocks were not computed again


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_student_whose_steps_land_on_the_trajectory_has_zero_loss(count):
    levels = knowledge.refined(replace(CHAIN, step_counts=(4,)).grid(4, CHAIN.sigma_max), 4, CHAIN.sigma_min)
    path = knowledge.record(GAUSSIAN, CHAIN, (3,), levels, 50, seed=0).double()
    rows = torch.arange(0, 17, 16 // count)
    at, grid = path[rows], torch.from_numpy(levels.copy())[rows]
    chosen, i = torch.arange(50), torch.arange(50) % count

    def student(x, sigma):
        ratio = (grid[i + 1] / grid[i])[:, None]
        assert torch.equal(sigma, grid[i])
        return (at[i + 1, chosen] - ratio * x) / (1 - ratio)

    assert knowledge.pair_loss(student, grid, at[i, chosen], at[i + 1, chosen], i).max() < 1e-20
    ddim_of_teacher = knowledge.pair_loss(GAUSSIAN, grid, at[i, chosen], at[i + 1, chosen], i)
    assert ddim_of_teacher.mean() > 1e-3  # the teacher's own long steps miss its trajectory
    x = ddim.sample(lambda x, sigma: student_at(x, sigma, grid, at), at[0], grid)
    torch.testing.assert_close(x, at[-1], rtol=1e-9, atol=1e-9)


def student_at(x, sigma, grid, at):
    i = int((grid - sigma).abs().argmin())
    ratio = grid[i + 1] / grid[i]
    return (at[i + 1] - ratio * x) / (1 - ratio)


def test_a_refined_grid_holds_the_coarse_one():
    coarse = karras(8, 10.0, 0.05)[::2]
    fine = knowledge.refined(coarse, 4, 0.05)
    assert len(fine) == 17 and np.all(np.diff(fine) < 0) and fine[-1] == 0 and fine[-2] == pytest.approx(0.05)
    np.testing.assert_allclose(fine[::4], coarse, rtol=1e-12)


def test_pairs_and_steps_that_do_not_fit_are_refused():
    one = NetworkDenoiser(edm_network.Parametrisation(), UNet(1, channels=4, multipliers=(1,)))
    images = torch.zeros(4, 1, 4, 4)
    for wrong in ({"pairs": 0}, {"teacher_steps": 9, "step_counts": (2, 1)}):
        with pytest.raises(ValueError, match="teacher_steps a multiple of the largest step count"):
            knowledge.train(one, one.parametrisation.chain, images, Schedule(1), seed=0, **wrong)
    with pytest.raises(ValueError, match="at least 2 levels, got 1"):
        consistency.train(one, one.parametrisation.chain, images, Schedule(1), seed=0, levels=1)


def batch(size=60):
    torch.manual_seed(0)
    x0 = MEAN + S * torch.randn(size, 3, dtype=torch.float64)
    return x0, torch.randn(size, 3, dtype=torch.float64), (torch.arange(size, dtype=torch.float64) + 0.5) / size


def exact(x, sigma):
    """Where the flow of N(mean, s^2) leads from (x, sigma)."""
    wide = torch.as_tensor(sigma, dtype=x.dtype).reshape(-1, 1)
    return MEAN + (x - MEAN) * S / (S**2 + wide**2).sqrt()


def test_the_true_end_of_the_flow_is_consistent_and_the_denoiser_is_not():
    x0, noise, u = batch()
    distances = []
    for levels in (10, 40):
        grid = torch.from_numpy(karras(levels, 10.0, 0.002)[:-1].copy())
        spread = (grid[:-1] - grid[1:])[(u * (levels - 1)).long()]  # without the weight
        distances.append((consistency.consistency_loss(GAUSSIAN, exact, grid, x0, noise, u) * spread).mean())
        worse = (consistency.consistency_loss(GAUSSIAN, GAUSSIAN, grid, x0, noise, u) * spread).mean()
        assert worse > 10 * distances[-1]
    assert distances[1] < distances[0] / 6  # what is left is the error of one Heun step, of order three


def test_for_data_at_one_point_only_the_boundary_is_left():
    point = IdealDenoiser(torch.tensor([[0.3, -0.2, 0.9]], dtype=torch.float64))
    x0, noise, u = batch()
    x0 = point.points.expand_as(x0)
    grid = torch.from_numpy(karras(6, 10.0, 0.002)[:-1].copy())
    loss = consistency.consistency_loss(point, point, grid, x0, noise, u)
    last = (u * 5).long() == 4
    assert loss[~last].max() < 1e-9
    squared = (0.002 * noise[last]).square().sum(1)  # the target is x' itself, at sigma_min
    c = 0.00054 * 3**0.5
    torch.testing.assert_close(loss[last], ((squared + c**2).sqrt() - c) / (grid[-2] - grid[-1]), rtol=1e-6, atol=1e-12)


def test_no_gradient_goes_through_the_target():
    weight = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    x0, noise, u = batch()
    grid = torch.from_numpy(karras(6, 10.0, 0.002)[:-1].copy())
    calls = []

    def student(x, sigma):
        calls.append(torch.is_grad_enabled())
        return weight * exact(x, sigma)

    consistency.consistency_loss(GAUSSIAN, student, grid, x0, noise, u).mean().backward()
    assert calls == [False, True] and weight.grad.isfinite()
