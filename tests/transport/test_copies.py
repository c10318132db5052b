"""Exact duplicates among the atoms: one cell, one height, draws for each of them."""

import pytest
import torch

from dpmot.transport import (
    BrenierPotential,
    NoisyImages,
    SemiDiscreteProblem,
    SemiDiscreteSolver,
    SmoothedPotential,
    angles,
    certify,
)


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shares(potential, dim, number=20_000):
    return torch.bincount(potential.cell(draws(number, dim, seed=5)), minlength=len(potential.atoms)) / number


def solved(atoms, masses=None, **options):
    problem = SemiDiscreteProblem(atoms, masses, **options)
    return problem, SemiDiscreteSolver(chi2=0.02)(problem, seed=0)


@pytest.mark.parametrize("dim", [1, 2, 8])
def test_every_copy_gets_its_share_and_the_solution_says_how_many_there_are(dim):
    atoms = draws(20, dim)
    problem, solution = solved(torch.cat([atoms, atoms[:5], atoms[:2]]))
    assert solution.converged and solution.duplicates == 7 and solution.reason is None
    assert solution.certificate.empty_cells == 0 and solution.potential.heights.shape == (27,)
    assert abs(float(solution.potential.heights.sum())) < 1e-9
    # chi2 < .02 of the cells, and 26 / 20,000 for counting, with three standard errors sqrt(2 * 26) / 20,000
    found = shares(solution.potential, dim).double()
    assert float(((found - problem.masses) ** 2 / problem.masses).sum()) < 0.02 + (26 + 3 * 52**0.5) / 20_000
    assert certify(problem, solution.potential.heights, seed=1).low < 0.02


def test_copies_share_their_cell_by_their_masses():
    atoms, masses = torch.tensor([[1.0], [-1.0], [1.0]]), torch.tensor([0.3, 0.5, 0.2])
    _, solution = solved(atoms, masses)
    # the standard error of a share of 20,000 draws is .0035; chi2 < .02 leaves .07 of two halves
    found = shares(solution.potential, 1)
    assert found[0] / (found[0] + found[2]) == pytest.approx(0.6, abs=4 * 0.005)
    assert found[1] == pytest.approx(0.5, abs=0.07 + 4 * 0.0035)


def test_a_draw_goes_to_the_same_copy_in_every_batch_and_map():
    atoms = draws(20, 6).repeat(3, 1)
    _, solution = solved(atoms)
    potential, x = solution.potential, draws(300, 6, seed=3)
    rebuilt = BrenierPotential(atoms, potential.heights.clone())
    whole = potential.cell(x)
    assert torch.equal(rebuilt.cell(x), whole) and torch.equal(potential.cell(x[7:100]), whole[7:100])
    assert torch.equal(potential.cells(x, 3)[:, 0], whole)
    assert torch.equal(potential.transport(x), atoms[whole]) and len(whole.unique()) > 50


def test_a_copy_with_a_lower_height_has_no_draws():
    potential = BrenierPotential(draws(10, 3).repeat(2, 1), torch.cat([torch.zeros(10), torch.full((10,), -1.0)]))
    assert potential.cell(draws(500, 3, seed=1)).max() < 10


@pytest.mark.parametrize("sigma", [0.0, 1e-30])
def test_recipes_without_noise_have_copies_too_in_memory_and_streamed(sigma):
    images = torch.randint(0, 256, (20, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    recipe = NoisyImages(images, sigma, 0, noises_per_image=2)
    stored, streamed = (solved(recipe, memory=memory)[1] for memory in (2**20, 0))
    assert stored.converged and stored.duplicates == 20
    assert torch.equal(stored.potential.heights, streamed.potential.heights)


def test_atoms_whose_sums_agree_are_told_apart_and_minus_zero_is_zero():
    atoms = draws(200, 5)
    atoms = torch.cat([atoms - atoms.mean(1, keepdim=True), torch.tensor([[0.0] * 5, [-0.0] * 5])])
    copies = SemiDiscreteProblem(atoms).copies
    assert len(copies.first) == 201 and copies.names[200] == copies.names[201]


def test_planes_angles_and_smoothed_maps_are_those_of_the_points_that_differ():
    atoms, heights, x = draws(15, 4), draws(15, seed=1), draws(50, 4, seed=2)
    one, twice = BrenierPotential(atoms, heights), BrenierPotential(atoms.repeat(2, 1), heights.repeat(2))
    assert torch.equal(twice.cells(x, 4) % 15, one.cells(x, 4))
    torch.testing.assert_close(angles(twice, x, 3), angles(one, x, 3))
    values = draws(30, 2, seed=3)
    for k in (None, 3):
        smooth, both = SmoothedPotential(one, 0.5, k), SmoothedPotential(twice, 0.5, k)
        torch.testing.assert_close(both.transport(x), smooth.transport(x), rtol=0, atol=1e-5)  # float32
        expected = smooth.average(x, (values[:15] + values[15:]) / 2)
        torch.testing.assert_close(both.average(x, values), expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"choose 1\.\.15, the number of points that differ"):
        twice.cells(x, 16)


def test_a_warm_start_a_callback_and_a_resumed_fit_speak_of_all_atoms():
    problem, states, seen = SemiDiscreteProblem(draws(40, 8).repeat(2, 1)), [], []
    solver = SemiDiscreteSolver(chi2=0.02)

    def watch(report):
        states.append(report["state"]())
        seen.append(report["heights"])

    whole = solver(problem, seed=0, callback=watch)
    assert all(heights.shape == (80,) for heights in seen) and torch.equal(seen[-1], whole.potential.heights)
    resumed = solver(problem, seed=0, resume=states[0])
    assert torch.equal(resumed.potential.heights, whole.potential.heights) and resumed.duplicates == 40
    assert solver(problem, seed=1, heights=whole.potential.heights).history[0][1] < whole.history[0][1]


def test_groups_of_a_certificate_are_those_of_the_atoms():
    problem = SemiDiscreteProblem(torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]))
    look = certify(problem, torch.zeros(4), seed=0, groups=torch.tensor([7, 3, 7, 3]))
    assert abs(look.chi2) < 0.01 and abs(look.group_chi2) < 0.01


@pytest.mark.parametrize("value", [0.0, 0.1, 1e30])
def test_atoms_that_are_all_one_point_are_said_to_be(value):
    solution = SemiDiscreteSolver()(SemiDiscreteProblem(torch.full((5, 8), value)), seed=0)
    assert not solution.converged and solution.noises == 0 and solution.duplicates == 4
    assert solution.reason == "all 5 atoms are the same point"
    assert len(solution.potential.cell(draws(200, 8)).unique()) == 5
