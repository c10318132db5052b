"""The singular set: angles and top-k planes against brute force, the smoothed potential against its closed forms."""

import math

import pytest
import torch

from dpmot.transport import BrenierPotential, SmoothedPotential, angles
from dpmot.transport.atoms import BLOCK

CASES = [(40, 2), (300, 64)]


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def potential_of(number, dim, *, measure="normal"):
    return BrenierPotential(draws(number, dim) + 0.5, draws(number, seed=1), measure)


def planes(potential, x):
    """Every score in float64, (B, N)."""
    return x.flatten(1).double() @ potential.atoms.block(0, len(potential.atoms)).double().T + potential.heights


# --- top-k and angles --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "dim"), CASES)
def test_the_best_planes_are_those_of_a_sort_of_all_scores(number, dim):
    potential, x = potential_of(number, dim), draws(500, dim, seed=2)
    order = planes(potential, x).topk(7)
    found = potential.cells(x, 7)
    # planes are ranked in float32: two of them may change places where their scores agree to its rounding
    same = found == order.indices
    gaps = (potential.planes(x, found) - order.values).abs()
    assert same.float().mean() > 0.999 and gaps.max() < 1e-5


@pytest.mark.parametrize(("number", "dim"), CASES)
def test_angles_are_those_between_the_normals_of_the_planes(number, dim):
    potential, x = potential_of(number, dim), draws(200, dim, seed=2)
    y = potential.atoms.block(0, number).double()
    found = angles(potential, x, 4)
    assert found.shape == (200, 3) and found.dtype == torch.float64
    for row, cells in zip(found, planes(potential, x).topk(4).indices.tolist(), strict=True):
        first, *others = (torch.cat([y[i], torch.tensor([-1.0])]) for i in cells)
        expected = [math.acos(float(first @ one / (first.norm() * one.norm()))) for one in others]
        assert row.tolist() == pytest.approx(expected, abs=1e-7)  # arccos keeps half of float64's digits


def test_two_known_planes_meet_at_a_known_angle():
    potential = BrenierPotential(torch.tensor([[1.0], [-1.0]]), torch.zeros(2))  # |x|: normals (1, -1), (-1, -1)
    assert angles(potential, torch.tensor([[0.3], [-2.0]])).flatten().tolist() == pytest.approx([math.pi / 2] * 2)
    nearly = BrenierPotential(torch.tensor([[1.0], [1.0 + 2**-20]]), torch.zeros(2))
    assert angles(nearly, torch.ones(1, 1)).item() == pytest.approx(2**-21, rel=1e-5)  # arccos would give 0 or 2e-8


def test_an_angle_does_not_depend_on_which_other_draws_are_looked_at():
    potential, x = potential_of(300, 64), draws(257, 64, seed=2)
    together = angles(potential, x, 3)
    for rows in (slice(0, 1), slice(5, 12), slice(64, 128), slice(100, 257)):
        assert torch.equal(angles(potential, x[rows], 3), together[rows])
    assert angles(potential, x[:0]).shape == (0, 1)


@pytest.mark.parametrize("k", [1, 41])
def test_an_angle_needs_two_planes(k):
    with pytest.raises(ValueError, match=rf"k = {k} was given, choose 2\.\.40"):
        angles(potential_of(40, 2), draws(3, 2), k)


# --- the smoothed potential --------------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [0.05, 0.7, 20.0])
@pytest.mark.parametrize(("number", "dim", "measure"), [(40, 2, "normal"), (300, 64, "normal"), (300, 64, "uniform")])
def test_the_smoothed_potential_is_a_log_sum_and_its_map_the_softmax_barycentre(number, dim, measure, tau):
    potential, x = potential_of(number, dim, measure=measure), draws(150, dim, seed=2)
    smoothed, scores = SmoothedPotential(potential, tau), planes(potential, x)
    # scores are float32: their rounding, 1e-5, is magnified by 1/tau
    torch.testing.assert_close(smoothed(x), tau * torch.logsumexp(scores / tau, 1), rtol=0, atol=1e-4)
    p, y = torch.softmax(scores / tau, 1), potential.atoms.block(0, number).double()
    found = smoothed.transport(x)
    torch.testing.assert_close(found.double(), p @ y, rtol=0, atol=1e-5 / min(tau, 1) * 3)
    torch.testing.assert_close(smoothed.average(x, y.float()), found, rtol=0, atol=1e-5)


def test_many_blocks_of_atoms_give_what_one_softmax_gives():
    number = 2 * BLOCK + 100
    potential, x = potential_of(number, 3), draws(30, 3, seed=2)
    p = torch.softmax(planes(potential, x) / 0.5, 1)
    found = SmoothedPotential(potential, 0.5).transport(x)
    # float32 scores of order ten are off by 1e-6; over tau, times |y| of about 4
    torch.testing.assert_close(found.double(), p @ potential.atoms.block(0, number).double(), rtol=0, atol=5e-5)


@pytest.mark.parametrize("k", [None, 2, 5])
@pytest.mark.parametrize(("number", "dim"), CASES)
def test_the_smoothed_map_tends_to_the_map_as_tau_falls(number, dim, k):
    potential, x = potential_of(number, dim), draws(400, dim, seed=2)
    best = planes(potential, x).topk(2).values
    plain, spread = potential.transport(x), float(torch.cdist(*[potential.atoms.block(0, number)] * 2).max())
    distances = []
    for tau in (1.0, 0.1, 0.01, 0.001):
        found = SmoothedPotential(potential, tau, k).transport(x)
        # 1 - p_best <= sum over the others of exp(-gap/tau) <= (N - 1) exp(-gap/tau); 3e-5: float32
        bound = spread * (number - 1) * torch.exp((best[:, 1] - best[:, 0]) / tau)
        distance = (found - plain).norm(dim=1)
        clear = best[:, 0] - best[:, 1] > 1e-3
        assert (distance.double()[clear] <= bound[clear] * (1 + 1e-2) + 3e-5).all()
        distances.append(float(distance.mean()))
    assert distances == sorted(distances, reverse=True) and distances[-1] < 0.01 * distances[0]


def test_the_smoothed_map_is_the_gradient_of_the_smoothed_potential():
    potential, x = potential_of(40, 2), draws(20, 2, seed=2).double()
    smoothed, step = SmoothedPotential(potential, 0.5), 1e-2
    for axis in torch.eye(2, dtype=torch.float64):
        slope = (smoothed(x + step * axis) - smoothed(x - step * axis)) / (2 * step)
        # third derivative times step^2 / 6: |y|^3 / tau^2 is about 50
        torch.testing.assert_close(slope, smoothed.transport(x).double() @ axis, rtol=0, atol=5e-3)


def test_the_best_planes_alone_carry_all_the_weight():
    potential, x = potential_of(300, 64), draws(150, 64, seed=2)
    scores, cells = planes(potential, x).topk(3)
    p = torch.softmax(scores / 0.7, 1)
    found = SmoothedPotential(potential, 0.7, 3).transport(x)
    expected = (p[:, :, None] * potential.atoms.block(0, 300).double()[cells]).sum(1)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-4)
    whole = SmoothedPotential(potential, 0.7, 300).transport(x), SmoothedPotential(potential, 0.7).transport(x)
    torch.testing.assert_close(*whole, rtol=0, atol=1e-4)


@pytest.mark.parametrize("k", [None, 3])
def test_a_smoothed_row_has_the_same_bits_in_every_batch(k):
    potential, x = potential_of(300, 64), draws(257, 64, seed=2)
    smoothed = SmoothedPotential(potential, 0.7, k)
    together = smoothed.transport(x)
    for rows in (slice(0, 1), slice(5, 12), slice(64, 128), slice(100, 257)):
        alone = smoothed.transport(x[rows])
        assert torch.equal(alone, together[rows])
    assert smoothed.transport(x[:0]).shape == (0, 64) and smoothed(x[:0]).shape == (0,)


@pytest.mark.parametrize("tau", [0.0, -1.0, float("nan"), float("inf")])
def test_a_tau_that_smooths_nothing_is_refused(tau):
    with pytest.raises(ValueError, match="choose a positive number, in units of <x, y>"):
        SmoothedPotential(potential_of(40, 2), tau)


@pytest.mark.parametrize("k", [0, 41])
def test_more_planes_than_there_are_cannot_be_smoothed(k):
    with pytest.raises(ValueError, match=r"choose 1\.\.40, or None for all"):
        SmoothedPotential(potential_of(40, 2), 1.0, k)
