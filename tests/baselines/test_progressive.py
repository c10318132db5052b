"""Progressive distillation, where the student that its target asks for is known in closed form.

For data N(mean, s^2) the exact denoiser is linear, and a DDIM step sigma -> to maps x - mean to (s^2 + sigma to) /
(s^2 + sigma^2) times itself.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import pytest
import torch

from baselines import ddim
from baselines.distillation import progressive
from dpmot.diffusion.denoiser import IdealDenoiser, MixtureDenoiser
from dpmot.diffusion.network import NetworkDenoiser
from dpmot.diffusion.networks import edm
from dpmot.diffusion.schedule import Schedule
from dpmot.diffusion.sigmas import Chain, ddpm_chain, edm_chain
from dpmot.diffusion.unet import UNet

pytestmark = pytest.mark.usefixtures("one_thread")
S = 0.5
CHAINS = {"karras": edm_chain(sigma_max=10.0, sigma_min=0.05), "vp": ddpm_chain()}


def factor(*levels):
    """What DDIM steps of the exact denoiser through ``levels`` multiply x by, for data N(0, s^2)."""
    product = 1.0
    for sigma, to in pairwise(levels):
        product = product * (S**2 + sigma * to) / (S**2 + sigma**2)
    return product


def batch(size=40, dim=3):
    torch.manual_seed(0)
    x0, noise = S * torch.randn(size, dim, dtype=torch.float64), torch.randn(size, dim, dtype=torch.float64)
    return x0, noise, (torch.arange(size, dtype=torch.float64) + 0.5) / size


TEACHERS = {
    "one Gaussian": MixtureDenoiser(torch.zeros(1, 3, dtype=torch.float64), S),
    "mixture": MixtureDenoiser(torch.randn(4, 3, dtype=torch.float64), 0.3),
    "data set": IdealDenoiser(torch.randn(6, 3, dtype=torch.float64)),
}


@pytest.mark.parametrize("family", CHAINS)
@pytest.mark.parametrize("teacher", TEACHERS.values(), ids=TEACHERS)
def test_a_student_that_lands_where_two_teacher_steps_land_has_zero_loss(teacher, family):
    chain = CHAINS[family]
    grid = torch.from_numpy(chain.grid(8, chain.sigma_max))

    def student(x, sigma):
        """The D whose one DDIM step is two of the teacher's, row by row through the public sampler."""
        rows = []
        for row, level in zip(x[:, None], sigma, strict=True):
            i = int((grid - level).abs().argmin())
            assert grid[i] == level and i % 2 == 0  # only the student's own levels are asked for
            halfway = teacher(row, level) + grid[i + 1] / level * (row - teacher(row, level))
            there = teacher(halfway, grid[i + 1]) + grid[i + 2] / grid[i + 1] * (
                halfway - teacher(halfway, grid[i + 1])
            )
            ratio = grid[i + 2] / level
            rows.append((there - ratio * row) / (1 - ratio))
        return torch.cat(rows)

    x0, noise, u = batch()
    loss = progressive.stage_loss(teacher, student, grid, x0, noise, u)
    assert loss.shape == (40,) and loss.max() < 1e-18  # squares of float64 roundings, weighted by up to 1 / sigma^2
    worse = progressive.stage_loss(teacher, lambda x, sigma: student(x, sigma) + 1e-3, grid, x0, noise, u)
    assert (worse > loss).all()
    assert progressive.stage_loss(teacher, teacher, grid, x0, noise, u).max() > 1e-6  # two steps are not one


def test_the_loss_is_the_squared_error_weighted_by_one_plus_the_inverse_variance():
    teacher = TEACHERS["one Gaussian"]
    grid = torch.tensor([4.0, 2.0, 1.0, 0.5, 0.0], dtype=torch.float64)
    x0, noise, _ = batch(2)
    u = torch.tensor([0.25, 0.75], dtype=torch.float64)  # steps 4 -> 2 -> 1 and 1 -> 0.5 -> 0
    target = []
    for levels, x in zip(([4.0, 2.0, 1.0], [1.0, 0.5, 0.0]), x0 + torch.tensor([[4.0], [1.0]]) * noise, strict=True):
        ratio = levels[2] / levels[0]
        target.append((factor(*levels) - ratio) / (1 - ratio) * x)
    expected = torch.tensor([1 + 1 / 16, 1 + 1]) * torch.stack(target).square().mean(1)
    found = progressive.stage_loss(teacher, lambda x, sigma: torch.zeros_like(x), grid, x0, noise, u)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


# --- a student of a linear teacher: one coefficient for each level -----------------------------------------


class Coefficients(torch.nn.Module):
    """F: one number for each level of a grid; it starts at the exact denoiser of N(0, s^2)."""

    def __init__(self, levels):
        super().__init__()
        self.register_buffer("levels", levels, persistent=False)
        self.values = torch.nn.Parameter(S**2 / (S**2 + levels**2))

    def forward(self, sigma):
        distance, nearest = (self.levels / sigma[:, None]).log().abs().min(1)
        assert distance.max() < 1e-4, "a student was asked at a level that is not its own"
        return self.values[nearest]


@dataclass(frozen=True)
class Linear:
    """D(x, sigma) = F(sigma) x."""

    full: Chain

    @cached_property
    def chain(self):
        return self.full

    def denoise(self, model, x, sigma):
        return model(sigma)[:, None] * x


@pytest.mark.parametrize("family", CHAINS)
def test_students_of_a_linear_teacher_learn_its_steps_on_the_grids_they_are_sampled_on(family):
    chain, counts = CHAINS[family], (4, 2, 1)
    finest = torch.from_numpy(chain.grid(8, chain.sigma_max)).float()
    teacher = NetworkDenoiser(Linear(chain), Coefficients(finest[:-1]))
    images = S * torch.randn(500, 1, generator=torch.Generator().manual_seed(0))
    weights = progressive.train(teacher, chain, images, Schedule(400, 64, lr=0.03, ema=0.9), seed=0, step_counts=counts)
    assert list(weights) == list(counts)
    torch.testing.assert_close(teacher.model.values.detach(), S**2 / (S**2 + finest[:-1] ** 2))  # it did not move
    x = chain.sigma_max * torch.randn(50, 1, generator=torch.Generator().manual_seed(1))
    landed = factor(*finest.double()).item() * x  # where the teacher's eight steps land
    for count in counts:
        grid = torch.from_numpy(replace(chain, step_counts=counts).grid(count, chain.sigma_max)).float()
        model = Coefficients(finest[:-1])
        model.load_state_dict(weights[count])
        end = ddim.sample(NetworkDenoiser(Linear(chain), model), x, grid)
        torch.testing.assert_close(end, landed, rtol=0, atol=0.005)  # found after 400 steps: 1e-3 (vp), 4e-7 (karras)


def test_each_stage_starts_from_the_weights_of_the_one_before_and_has_its_own_checkpoint():
    chain, asked = CHAINS["karras"], []
    finest = torch.from_numpy(chain.grid(8, chain.sigma_max)).float()
    teacher = NetworkDenoiser(Linear(chain), Coefficients(finest[:-1]))
    weights = progressive.train(
        teacher,
        chain,
        S * torch.randn(50, 1),
        Schedule(20, 16, lr=0.01),
        seed=0,
        step_counts=(4, 2),
        checkpoint=lambda name: asked.append(name),
    )
    assert asked == ["4", "2"]
    trained = {4: [0, 2, 4, 6], 2: [0, 4]}
    for count, levels in trained.items():
        before = teacher.model.values.detach() if count == 4 else weights[4]["values"]
        moved = (weights[count]["values"] - before).abs() > 1e-9
        assert moved.nonzero().flatten().tolist() == levels


def test_a_small_network_is_distilled_and_the_loss_of_the_student_falls():
    torch.manual_seed(0)
    model = UNet(1, channels=8, multipliers=(1,), attention=False)
    torch.nn.init.normal_(model.outlet[-1].weight, std=0.1)
    teacher = NetworkDenoiser(edm.Parametrisation(), model.requires_grad_(True))
    images = torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    chain = teacher.parametrisation.chain
    weights = progressive.train(teacher, chain, images, Schedule(60, 32, warmup=5, ema=0.9), seed=0, step_counts=(2,))
    student = NetworkDenoiser(teacher.parametrisation, UNet(1, channels=8, multipliers=(1,), attention=False))
    student.model.load_state_dict(weights[2])
    grid = torch.from_numpy(chain.grid(4, chain.sigma_max)).float()
    noise, u = torch.randn(40, 1, 4, 4), (torch.arange(40) + 0.5) / 40
    with torch.no_grad():
        before = progressive.stage_loss(teacher, teacher, grid, images, noise, u).mean()
        after = progressive.stage_loss(teacher, student, grid, images, noise, u).mean()
    assert after < 0.5 * before
