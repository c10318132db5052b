"""PAS and GS: what they are before they learn, what they learn, and that it helps, on a mixture whose D is exact."""

from itertools import pairwise

import pytest
import torch

from baselines import ddim, dpm_solver_pp, edm, gs, pas
from baselines._teacher import trajectory
from dpmot import seeds
from dpmot.diffusion.denoiser import MixtureDenoiser
from dpmot.diffusion.learning import Teacher
from dpmot.diffusion.sigmas import karras

pytestmark = pytest.mark.usefixtures("one_thread")
torch.manual_seed(0)
DENOISER = MixtureDenoiser(0.5 * torch.randn(6, 8, dtype=torch.float64), 0.2)


class Float64(Teacher):
    """D of a set of starts without the rounding to float32 of a network."""

    def __call__(self, x, sigma, rows=None):
        return DENOISER(x, sigma)


def starts(seed, number=64):
    return 20 * seeds.normal(seeds.sample_seeds(seed, number), (8,), "prior").double()


def grid(n):
    return torch.from_numpy(karras(n, 20.0, 0.01))


def error(found, start):
    """Root mean squared distance from the end of the flow, which 100 Heun steps find to 1e-4."""
    return (found - edm.sample(DENOISER, start, grid(100))).square().mean().sqrt().item()


def test_before_they_learn_pas_is_ddim_and_gs_is_theory():
    x, sigmas = starts(0), grid(6)
    expected = ddim.sample(DENOISER, x, sigmas)
    for options in ({}, {"coordinates": [0.0] * 24}):
        torch.testing.assert_close(pas.sample(DENOISER, x, sigmas, **options), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(gs.sample(DENOISER, x, sigmas, order=1), expected, rtol=0, atol=1e-12)
    # Of order 2 it is DPM-Solver++ 2M but for the weight of the difference, exact here and h (1 - e^-h) / 2 h_- there.
    theory, other, first = (error(one.sample(DENOISER, x, grid(40)), x) for one in (gs, dpm_solver_pp, ddim))
    assert theory < 2 * other < first


@pytest.mark.parametrize("n", [5, 10])
@pytest.mark.parametrize("sampler", [pas, gs], ids=["pas", "gs"])
def test_what_is_learned_from_some_starts_brings_others_nearer_to_the_flows_end(sampler, n):
    teacher, x, sigmas = Float64(DENOISER, None), starts(1000), grid(n)
    learned, fresh = sampler.learn(teacher, x, sigmas), starts(0)
    assert set(learned) == set(sampler.LEARNS)
    plain = error(ddim.sample(DENOISER, fresh, sigmas), fresh)
    assert error(sampler.sample(DENOISER, fresh, sigmas, **learned), fresh) < 0.9 * plain  # found: 0.2 to 0.8
    assert sampler.learn(teacher, x, sigmas) == learned  # and nothing is drawn


def test_gs_holds_every_linear_method():
    x, sigmas = starts(0), grid(4)
    first = gs.sample(DENOISER, x, sigmas, coefficients=gs.theory(sigmas.tolist(), 1).tolist())
    torch.testing.assert_close(first, ddim.sample(DENOISER, x, sigmas), rtol=0, atol=1e-12)
    asked = []

    def denoiser(x, sigma):
        asked.append(float(sigma))
        return DENOISER(x, sigma)

    gs.sample(denoiser, x, sigmas, levels=[3.0, 2.0, 1.0])
    assert asked == [20.0, 3.0, 2.0, 1.0]


def test_the_basis_of_pas_is_orthonormal_spans_the_way_and_has_no_direction_of_rounding():
    x, sigmas = starts(0), grid(8)
    states, ways = [x], []
    for sigma, to in pairwise(sigmas):
        ways.append((states[-1] - DENOISER(states[-1], sigma)) / sigma)
        states.append(states[-1] + (to - sigma) * ways[-1])
    axes = torch.stack(pas.basis(states[5] - x, ways[5], [x, *ways[:5]]), 1)
    torch.testing.assert_close(axes @ axes.transpose(1, 2), torch.eye(4).double().expand(64, 4, 4), rtol=0, atol=1e-6)
    torch.testing.assert_close(axes[:, 0], ways[5] / ways[5].norm(dim=1, keepdim=True))
    assert ((axes[:, 1:] * (states[5] - x)[:, None]).sum(2) >= 0).all()  # one sign for all samples
    first = torch.stack(pas.basis(0 * x, ways[0], [x]), 1)  # nothing was moved: no sign, and no component
    assert not first[:, 1:].any() and first[:, 0].any(1).all()


@pytest.mark.parametrize(
    ("sampler", "options", "said"),
    [
        (pas, {"coordinates": [1.0] * 3}, "4 numbers a step, got 3"),
        (pas, {"coordinates": [1.0] * 8}, "learned for 2 steps, the grid has 4"),
        (gs, {"coefficients": [1.0] * 3}, r"n \(n \+ 3\) / 2 numbers for n steps, got 3"),
        (gs, {"coefficients": [1.0] * 5}, "another number of steps than 4: 5 coefficients"),
        (gs, {"levels": [1.0]}, "another number of steps than 4: 0 coefficients and 1 levels"),
        (gs, {"levels": [1.0, 0.0, 1.0]}, "levels must be above 0"),
        (gs, {"order": 5}, "order must be 1, 2, 3 or 4, got 5"),
    ],
)
def test_what_was_learned_for_other_steps_is_refused(sampler, options, said):
    with pytest.raises(ValueError, match=said):
        sampler.sample(DENOISER, starts(0), grid(4), **options)


def test_the_teacher_meets_every_level_and_ends_where_the_flow_does():
    x, sigmas = starts(0), grid(5)
    states = trajectory(DENOISER, x, sigmas, inner=10, finest=0.01)
    assert len(states) == 6 and torch.equal(states[0], x)
    assert error(states[-1], x) < 0.2 * error(edm.sample(DENOISER, x, sigmas), x)
    short = trajectory(DENOISER, x, torch.tensor([20.0, 5.0, 0.0], dtype=torch.float64), inner=20, finest=0.01)
    assert error(short[-1], x) < 0.02  # its last step is cut as well
