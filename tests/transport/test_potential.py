"""The map: same bits in every batch, ties, agreement with the definition, recipes, offsets."""

import numpy as np
import pytest
import torch

from dpmot.transport import BrenierPotential, SemiDiscreteProblem
from dpmot.transport.noise import draw
from dpmot.transport.tally import tally


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def potential():
    return BrenierPotential(draws(300, 20), draws(300, seed=1))


def test_potential_cell_and_map_follow_the_definition(potential):
    x = draws(100, 20, seed=2)
    scores = x.double() @ potential.atoms.values.double().T + potential.heights
    best = scores.topk(6).values
    assert (best[:, :-1] - best[:, 1:]).min() > 1e-3  # float32 moves a score by 1e-5: no library can change a rank
    assert torch.equal(potential.cell(x), scores.argmax(1))
    torch.testing.assert_close(potential(x), scores.amax(1))  # float64 rounding
    assert torch.equal(potential.transport(x), potential.atoms.values[scores.argmax(1)])
    assert torch.equal(potential.cells(x, 5), scores.topk(5).indices)


def test_the_map_is_the_gradient_of_the_potential(potential):
    x = draws(10, 20, seed=3).double()
    step = 1e-3 * draws(10, 20, seed=4).double()
    # u is convex, so the map at x supports it: u(x + s) >= u(x) + <T(x), s>, and <= with T(x + s)
    rise = potential(x + step) - potential(x)
    below = (potential.transport(x).double() * step).sum(1)
    above = (potential.transport(x + step).double() * step).sum(1)
    assert (rise >= below - 1e-6).all() and (rise <= above + 1e-6).all()  # cells are found in float32


def test_a_row_has_the_same_cell_in_every_batch():
    # atoms so close that float32 rounding decides many cells: any change of bits would show
    atoms = draws(1, 48) + 1e-6 * draws(200, 48, seed=1)
    potential = BrenierPotential(atoms, torch.zeros(200))
    x = draws(257, 48, seed=2)
    together, ranks = potential.cell(x), potential.cells(x, 3)
    assert len(together.unique()) > 50
    for rows in (slice(0, 1), slice(5, 12), slice(64, 128), slice(100, 257)):
        assert torch.equal(potential.cell(x[rows]), together[rows])
        assert torch.equal(potential.cells(x[rows], 3), ranks[rows])


def test_ties_go_to_the_lowest_index():
    atoms = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    potential = BrenierPotential(atoms, torch.zeros(4))
    x = torch.tensor([[1.0, 0.0], [0.0, -1.0], [0.0, 0.0]])
    assert potential.cell(x).tolist() == [0, 2, 0]
    assert potential.cells(x, 4).tolist() == [[0, 2, 1, 3], [2, 3, 0, 1], [0, 1, 2, 3]]


@pytest.mark.parametrize("copies", [1, 3])
def test_blocks_of_atoms_keep_the_winner_and_the_lowest_index_on_ties(copies, multiply_in):
    # in one dimension a score is one product and one sum: copies tie exactly, whatever the shape of the tile
    problem = SemiDiscreteProblem(draws(60, 1).repeat(copies, 1))
    heights = 0.01 * draws(60, seed=1).repeat(copies)
    found = []
    for shape in ((256, 2048), (97, 25)):
        multiply_in(*shape)
        found.append(tally(problem, [heights], 5000, np.random.default_rng(0), noise="plain")[0].counts)
    whole, parts = found
    assert torch.equal(whole, parts)
    assert whole[:60].sum() == 5000


@pytest.mark.parametrize("measure", ["normal", "uniform"])
def test_mirrored_counts_are_the_counts_of_both_signs(measure):
    problem = SemiDiscreteProblem(draws(30, 3) + 2, source_measure=measure)
    heights = draws(30, seed=1).double()
    seen = tally(problem, [heights], 6000, np.random.default_rng(5), noise="mirrored")[0]
    where = {"tile": 1024, "device": torch.device("cpu")}
    z = torch.cat(
        [part.z for part in draw("mirrored", problem.measure, (30, 3), 3000, np.random.default_rng(5), **where)]
    )
    potential = BrenierPotential(problem.atoms, problem.original_heights(heights), measure)
    one, other = potential.cell(problem.measure.centre + z), potential.cell(problem.measure.centre - z)
    expected = torch.bincount(torch.cat([one, other]), minlength=30)
    # a draw on a boundary may round to the other side
    assert (seen.counts - expected).abs().sum() <= 2
    assert (seen.together / 2 - torch.bincount(one[one == other], minlength=30)).abs().sum() <= 2


def test_a_gauge_and_a_common_offset_change_no_cell(potential):
    x = draws(500, 20, seed=2)
    moved = BrenierPotential(potential.atoms.values + 64, potential.heights + 1000)
    # the offset costs the stored float32 atoms 2^-18 of their digits, so a draw at a boundary may cross it
    assert (moved.cell(x) != potential.cell(x)).sum() <= 2


def test_a_recipe_gives_the_same_cells_as_its_tensor():
    class Recipe:
        dim = 7

        def __len__(self):
            return 5000  # more than one block

        def block(self, i, j):
            return torch.sin(torch.arange(i, j)[:, None] * torch.arange(1.0, 8.0))

    x, heights = draws(100, 7), 0.1 * draws(5000, seed=1)
    recipe, tensor = BrenierPotential(Recipe(), heights), BrenierPotential(Recipe().block(0, 5000), heights)
    assert torch.equal(recipe.cell(x), tensor.cell(x))
    assert torch.equal(recipe.transport(x), tensor.transport(x))


def test_images_are_accepted_and_an_empty_batch_gives_an_empty_answer(potential):
    x = draws(3, 20)
    assert torch.equal(potential.cell(x.view(3, 1, 4, 5)), potential.cell(x))
    assert potential.cell(x[:0]).shape == (0,) and potential.transport(x[:0]).shape == (0, 20)


@pytest.mark.parametrize("x", [torch.zeros(3, 19), torch.zeros(20), torch.full((1, 20), float("nan"))])
def test_a_wrong_x_is_refused(potential, x):
    with pytest.raises(ValueError, match=r"give finite numbers of shape \(B, 20\)"):
        potential.cell(x)


@pytest.mark.parametrize("k", [0, 301])
def test_more_planes_than_atoms_are_refused(potential, k):
    with pytest.raises(ValueError, match=r"choose 1\.\.300"):
        potential.cells(draws(2, 20), k)


def test_heights_with_nan_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        BrenierPotential(draws(2, 3), torch.tensor([0.0, float("nan")]))
