"""DM-NonUniform's bound and grids against the authors' code: step_optim.py of scxue/DM-NonUniform at 95d4ac6.

Theirs with the errors that its comment advises for pixels, ``sigma_vec / alpha_vec``, from equal steps of lambda
("unif"); lambda_T and lambda_eps are those of sigma 80 and 0.002.
"""

import numpy as np
import pytest

from dpmot.diffusion import dmn
from dpmot.diffusion.sigmas import UnattainableBudget, edm_chain

BOUNDS = {  # steps -> theirs at sigma_i = 80 (0.002 / 80)^((i / N)^1.3)
    2: 612.7711405149817,
    3: 655.3123056332311,
    4: 310.61568755692053,
    5: 455.0427663891532,
    9: 79.43887222033797,
    14: 27.42912716759959,
}
GRIDS = {
    4: [80.0, 2.4605414206684344, 0.6802573318015128, 0.09166190297219476, 0.002],
    5: [80.0, 3.06275343936933, 1.113525682555161, 0.37369935815107874, 0.07227292386440447, 0.002],
}
THEIR_LEAST = {7: 55.50905188548214, 9: 31.02112800175717, 14: 16.231470697684152}


@pytest.mark.parametrize("steps", BOUNDS)
def test_the_bound_is_the_authors(steps):
    sigmas = 80 * (0.002 / 80) ** ((np.arange(steps + 1) / steps) ** 1.3)
    assert dmn.bound(-np.log(sigmas)) == pytest.approx(BOUNDS[steps], rel=1e-12)  # found: 3e-16


@pytest.mark.parametrize("steps", GRIDS)
def test_a_grid_of_few_steps_is_the_authors(steps):
    # both stop in a flat minimum; ours rounds lambda to 1e-5 of its way, 1e-4: found 5e-5 in lambda
    np.testing.assert_allclose(dmn.levels(steps + 1, 80.0, 0.002), GRIDS[steps], rtol=2e-4)


@pytest.mark.parametrize("steps", THEIR_LEAST)
def test_where_there_are_several_minima_the_bound_is_no_larger_than_where_their_search_stops(steps):
    assert dmn.bound(-np.log(dmn.levels(steps + 1, 80.0, 0.002))) <= THEIR_LEAST[steps]


def test_it_is_a_grid_that_every_sampler_may_take_and_of_few_steps():
    grid = edm_chain().grid(10, 80.0, family="dmn")
    assert grid[0] == 80 and grid[-2] == 0.002 and grid[-1] == 0 and np.all(np.diff(grid) < 0)
    near = edm_chain().grid(18, 0.00201, family="dmn")
    assert np.all(np.diff(near) < 0) and near[-2] == 0.002
    with pytest.raises(UnattainableBudget, match="20 at most; 21 were asked for"):
        edm_chain().grid(21, 80.0, family="dmn")
