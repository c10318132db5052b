"""Samplers that must agree with one another, and the errors of their options."""

from itertools import pairwise

import pytest
import torch

from baselines import ddim, ddpm, deis, dpm_solver, dpm_solver_pp, edm, ipndm, restart, unipc
from dpmot import seeds
from dpmot.diffusion.denoiser import IdealDenoiser, MixtureDenoiser
from dpmot.diffusion.sigmas import ddpm_chain, karras

pytestmark = pytest.mark.usefixtures("one_thread")
torch.manual_seed(0)
DENOISER = MixtureDenoiser(torch.randn(4, 3, dtype=torch.float64), 0.3)
X = 10 * torch.randn(20, 3, dtype=torch.float64)
GRIDS = {"karras": torch.from_numpy(karras(12, 10.0, 0.01)), "vp": torch.from_numpy(ddpm_chain().grid(12, 10.0))}


def noise(step):
    return seeds.normal(seeds.sample_seeds(0, 20), (3,), "step", step).double()


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_ddim_with_eta_one_is_ddpm_with_the_small_variance(grid):
    found, expected = ddim.sample(DENOISER, X, grid, noise=noise, eta=1.0), ddpm.sample(DENOISER, X, grid, noise=noise)
    torch.testing.assert_close(
        found, expected, rtol=1e-12, atol=1e-12
    )  # the same formula in another order of operations


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_ddim_with_eta_zero_is_eulers_method(grid):
    x = X
    for sigma, to in pairwise(grid):
        x = x + (to - sigma) * (x - DENOISER(x, sigma)) / sigma
    torch.testing.assert_close(ddim.sample(DENOISER, X, grid), x, rtol=1e-12, atol=1e-12)


FIRST_ORDER = {
    "Heun without its correction": (edm.sample, {"correct": False}),
    "DPM-Solver-1": (dpm_solver.sample, {"order": 1}),
    "DPM-Solver++ of order 1": (dpm_solver_pp.sample, {"order": 1}),
    "UniP-1": (unipc.sample, {"order": 1, "correct": False}),
    "DEIS of order 1": (deis.sample, {"order": 1}),
    "iPNDM of order 1": (ipndm.sample, {"order": 1}),
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("name", FIRST_ORDER)
def test_every_deterministic_method_of_order_one_is_ddim(grid, name):
    sample, options = FIRST_ORDER[name]
    found, expected = sample(DENOISER, X, grid, **options), ddim.sample(DENOISER, X, grid)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_the_sde_of_dpm_solver_pp_of_order_one_is_ddpm_with_the_small_variance(grid):
    found = dpm_solver_pp.sample(DENOISER, X, grid, noise=noise, order=1, sde=True)
    torch.testing.assert_close(found, ddpm.sample(DENOISER, X, grid, noise=noise), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_unipc_of_order_one_moves_only_its_start_by_the_corrector(grid):
    # two steps: the corrector has touched the first landing, with the slope of Heun's method in lambda
    two = torch.tensor([float(grid[0]), float(grid[1]), 0.0], dtype=torch.float64)
    landed = ddim.sample(DENOISER, X, two[:2])
    torch.testing.assert_close(
        unipc.sample(DENOISER, X, two, order=1), DENOISER(landed, two[1]), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_where_trajectories_are_straight_heuns_correction_changes_nothing(grid):
    point = IdealDenoiser(torch.randn(1, 3, dtype=torch.float64))  # x - D shrinks in proportion to sigma
    halfway = grid[:6]  # ends above zero, where the trajectories have not yet met
    found = edm.sample(point, X, halfway)
    torch.testing.assert_close(found, ddim.sample(point, X, halfway), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(edm.sample(DENOISER, X, halfway), ddim.sample(DENOISER, X, halfway), rtol=1e-3)


def test_churn_outside_its_levels_changes_nothing_and_inside_draws_noise_once_a_step():
    grid, drawn = GRIDS["karras"], []

    def counted(step):
        drawn.append(step)
        return noise(step)

    plain = edm.sample(DENOISER, X, grid)
    none = edm.sample(DENOISER, X, grid, noise=counted, churn=5.0, churn_min=20.0)
    assert torch.equal(none, plain) and drawn == []
    edm.sample(DENOISER, X, grid, noise=counted, churn=5.0, churn_min=0.05, churn_max=5.0)
    assert drawn == [i for i, sigma in enumerate(grid[:-1]) if 0.05 <= sigma <= 5.0] and 0 < len(drawn) < 12


def test_restarting_at_the_level_before_repeats_one_step_of_the_trajectory():
    """One restart of one inner step, from the level before to the chosen one, is Heun's step again from new noise."""
    grid = torch.tensor([8.0, 2.0, 0.5, 0.0], dtype=torch.float64)
    found = restart.sample(DENOISER, X, grid, noise=noise, restarts=1, inner=1, low=0.5, high=2.0)
    x = edm.sample(DENOISER, X, grid[:3])
    x = x + (2.0**2 - 0.5**2) ** 0.5 * noise(0)
    x = edm.sample(DENOISER, x, grid[1:3])
    torch.testing.assert_close(found, edm.sample(DENOISER, x, grid[2:]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sample", [ddim.sample, ddpm.sample, edm.sample], ids=["ddim", "ddpm", "edm"])
def test_one_step_to_zero_is_the_denoiser(sample):
    grid = torch.tensor([3.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(sample(DENOISER, X, grid, noise=noise), DENOISER(X, grid[0]), rtol=1e-13, atol=1e-13)


def test_on_a_small_data_set_every_sampler_ends_on_the_data():
    points = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]], dtype=torch.float64)
    grid, x = torch.from_numpy(karras(40, 20.0, 0.01)), 20 * torch.randn(20, 2, dtype=torch.float64)

    def noise(step):
        return seeds.normal(seeds.sample_seeds(0, 20), (2,), "step", step).double()

    for sample in (
        *(ddim.sample, ddpm.sample, edm.sample, deis.sample, dpm_solver.sample, dpm_solver_pp.sample),
        *(ipndm.sample, restart.sample, unipc.sample),
    ):
        end = sample(IdealDenoiser(points), x, grid, noise=noise)
        assert torch.cdist(end, points).min(1).values.max() < 1e-6  # at sigma .01 the softmax is a choice


def test_no_noise_is_drawn_where_none_is_used():
    drawn = []

    def counted(step):
        drawn.append(step)
        return noise(step)

    ddim.sample(DENOISER, X, GRIDS["karras"], noise=counted, eta=0.0)
    edm.sample(DENOISER, X, GRIDS["karras"], noise=counted)
    assert drawn == []
    ddpm.sample(DENOISER, X, GRIDS["karras"], noise=counted)
    assert drawn == list(range(11))  # twelve steps, none in the last


@pytest.mark.parametrize("eta", [-0.1, 1.5, float("nan")])
def test_eta_outside_its_range_is_refused(eta):
    with pytest.raises(ValueError, match=r"eta must lie in \[0, 1\], got"):
        ddim.sample(DENOISER, X, GRIDS["karras"], noise=noise, eta=eta)


def test_a_stochastic_sampler_without_noise_says_so():
    with pytest.raises(ValueError, match=r"DDIM with eta = 0\.3 is stochastic: pass noise"):
        ddim.sample(DENOISER, X, GRIDS["karras"], eta=0.3)
    with pytest.raises(ValueError, match="DDPM is stochastic: pass noise"):
        ddpm.sample(DENOISER, X, GRIDS["karras"])


WRONG = {
    "churn": (edm.sample, {"churn": -1.0}, "churn must be at least 0, got -1.0"),
    "churn, no noise": (edm.sample, {"churn": 1.0, "noise": None}, "is stochastic: pass noise"),
    "DPM-Solver": (dpm_solver.sample, {"order": 4}, "order must be 1, 2 or 3, got 4"),
    "DPM-Solver++": (dpm_solver_pp.sample, {"order": 4}, "has orders 1, 2 and, as an ODE, 3; got 4"),
    "Taylor 2M": (dpm_solver_pp.sample, {"taylor": True}, "an option of order 3, got order 2"),
    "SDE-3M": (dpm_solver_pp.sample, {"order": 3, "sde": True}, "got 3 with sde"),
    "SDE, no noise": (dpm_solver_pp.sample, {"sde": True, "noise": None}, "with sde is stochastic: pass noise"),
    "UniPC": (unipc.sample, {"order": 0}, "order must be 1, 2 or 3, got 0"),
    "UniPC's B": (unipc.sample, {"variant": "bh3"}, 'must be "bh1" or "bh2", got \'bh3\''),
    "DEIS": (deis.sample, {"order": 5}, "order must be 1, 2, 3 or 4, got 5"),
    "DEIS's variable": (deis.sample, {"variable": "s"}, "must be one of t, log_sigma, sigma, got 's'"),
    "iPNDM": (ipndm.sample, {"order": 5}, "order must be 1, 2, 3 or 4, got 5"),
    "Restart": (restart.sample, {"restarts": 0}, "at least 1 restart of 1 inner step, got restarts 0"),
    "Restart, no noise": (restart.sample, {"noise": None}, "Restart is stochastic: pass noise"),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_option_outside_its_range_says_what_is_allowed(name):
    sample, options, said = WRONG[name]
    with pytest.raises(ValueError, match=said):
        sample(DENOISER, X, GRIDS["karras"], **{"noise": noise, **options})


def test_an_unknown_variance_lists_those_that_exist():
    with pytest.raises(ValueError, match='must be "small" or "large", got \'learned\''):
        ddpm.sample(DENOISER, X, GRIDS["karras"], noise=noise, variance="learned")
