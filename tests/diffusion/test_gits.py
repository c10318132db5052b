"""GITS: the cheapest cut of a fine grid, against all cuts; and its costs where they are known."""

from itertools import combinations, pairwise

import numpy as np
import pytest
import torch

from dpmot.diffusion import gits
from dpmot.diffusion.denoiser import IdealDenoiser, MixtureDenoiser
from dpmot.diffusion.sigmas import UnattainableBudget, karras


@pytest.mark.parametrize("steps", [1, 2, 3, 6])
def test_the_cut_is_the_cheapest_of_all(steps):
    cost = np.where(np.triu(np.ones((9, 9)), 1) > 0, np.random.default_rng(steps).random((9, 9)), np.inf)

    def price(way):
        return sum(gits.WEIGHT**k * cost[i, j] for k, (i, j) in enumerate(pairwise(way)))

    ways = [(0, *inner, 8) for inner in combinations(range(1, 8), steps - 1)]
    found = gits.cut(cost, steps)
    assert len(found) == steps + 1 and price(found) == pytest.approx(min(map(price, ways)), rel=1e-12)


def test_a_grid_is_cut_from_the_karras_grid_of_its_start():
    torch.manual_seed(0)
    denoiser = MixtureDenoiser(torch.randn(5, 4, dtype=torch.float64), 0.2)
    x = 30 * torch.randn(32, 4, dtype=torch.float64)
    fine = karras(gits.TEACHER, 30.0, 0.01)
    for steps in (1, 2, 5, 10, 60):
        levels = gits.levels(denoiser, x, steps, finest=0.01, start=30.0)
        assert levels.shape == (steps + 1,) and levels[0] == 30 and levels[-1] == 0
        assert np.all(np.diff(levels) < 0) and np.isin(levels, fine).all()
    with pytest.raises(UnattainableBudget, match="61 steps do not fit"):
        gits.check(61)


def test_a_straight_way_costs_nothing():
    point = torch.full((1, 3), 0.5, dtype=torch.float64)  # data of one point: eps is constant along the flow
    x = 30 * torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    cost = gits.costs(IdealDenoiser(point), x, karras(10, 30.0, 0.01))
    above = np.triu_indices(11, 1)
    np.testing.assert_allclose(cost[above], 0, atol=1e-10)
    assert np.isinf(cost[np.tril_indices(11)]).all()
