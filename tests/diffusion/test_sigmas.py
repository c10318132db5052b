"""Noise levels against the papers' formulas and the measured ends of the chains."""

from itertools import pairwise

import numpy as np
import pytest

from dpmot.diffusion.sigmas import (
    FAMILIES,
    Chain,
    UnattainableBudget,
    aligned,
    ddpm_chain,
    edm_chain,
    intervals,
    karras,
    time_of,
    vp_linear_levels,
    vp_sigma,
    vp_time,
)

CHAINS = {"ddpm": ddpm_chain(), "edm": edm_chain()}


def test_the_linear_beta_levels_follow_the_recursion_of_ddpm():
    abar, expected = 1.0, []
    for t in range(1000):
        abar *= 1 - (1e-4 + (0.02 - 1e-4) * t / 999)
        expected.append(((1 - abar) / abar) ** 0.5)
    np.testing.assert_allclose(vp_linear_levels(), expected, rtol=1e-10)  # 1000 roundings of float64


def test_the_karras_grid_is_equation_5_from_end_to_end():
    grid = karras(18, 80.0, 0.002)
    expected = [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)]
    np.testing.assert_allclose(grid[:-1], expected, rtol=1e-12)
    assert grid[0] == 80 and grid[-1] == 0 and grid[-2] == pytest.approx(0.002, rel=1e-12)
    np.testing.assert_array_equal(karras(1, 3.0, 0.002), [3.0, 0.0])


# Measured on the reference chains: the level with M evaluations left, to the digits that were noted.
@pytest.mark.parametrize(("steps", "sigma"), [(5, 0.026), (10, 0.044), (20, 0.076), (30, 0.108), (50, 0.173)])
def test_the_ddpm_chain_ends_at_the_measured_levels(steps, sigma):
    tail = CHAINS["ddpm"].tail(steps)
    assert len(tail) == steps + 1 and tail[0] == pytest.approx(sigma, abs=5e-4)


@pytest.mark.parametrize(("steps", "sigma"), [(5, 0.14), (10, 3.26)])
def test_the_edm_chain_ends_at_the_measured_levels(steps, sigma):
    tail = CHAINS["edm"].tail(steps)
    assert len(tail) == steps + 1 and tail[0] == pytest.approx(sigma, abs=5e-3)


def test_the_prior_has_the_exact_terminal_marginal_of_its_family():
    ddpm, edm = CHAINS["ddpm"], CHAINS["edm"]
    assert edm.prior_std == edm.sigma_max == 80
    assert ddpm.prior_std == pytest.approx(np.sqrt(1 + ddpm.sigma_max**2), rel=1e-15)
    assert ddpm.prior_std == pytest.approx(
        np.prod(1 - np.linspace(1e-4, 0.02, 1000)) ** -0.5, rel=1e-10
    )  # x_T ~ N(0, I)


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_a_chain_descends_from_its_coarsest_level_through_its_finest_to_zero(chain):
    assert np.all(np.diff(chain.sigmas) < 0) and chain.sigmas[-1] == 0
    assert chain.sigmas[0] == chain.sigma_max and chain.sigmas[-2] == pytest.approx(chain.sigma_min, rel=1e-12)
    np.testing.assert_array_equal(chain.levels, chain.sigmas[:-1][::-1])


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("family", ["vp", *FAMILIES])
@pytest.mark.parametrize("sigma", [0.1, 1.0, 17.3, 80.0])
@pytest.mark.parametrize("n", [1, 2, 5, 18])
def test_every_grid_starts_at_sigma_and_descends_to_zero_in_n_steps(chain, family, sigma, n):
    grid = chain.grid(n, sigma, family=family)
    assert grid.shape == (n + 1,) and grid[0] == sigma and grid[-1] == 0
    assert np.all(np.diff(grid) < 0) and grid[-2] >= chain.sigma_min * (1 - 1e-12)


def test_the_vp_grid_of_all_levels_is_the_full_chain():
    chain = CHAINS["ddpm"]
    np.testing.assert_array_equal(chain.grid(1000, chain.sigma_max), chain.sigmas)


def test_the_vp_grid_takes_equal_steps_in_t():
    chain = CHAINS["ddpm"]
    times = time_of(chain.grid(10, chain.sigma_max)[:-1], chain.levels)
    np.testing.assert_allclose(times, np.arange(1000, 0, -100), atol=1e-9)


def test_as_many_vp_steps_fit_as_there_are_levels_and_no_more():
    chain = ddpm_chain(num_levels=60)
    for start in (1, 2.5, 7.0, 19.9, 60):
        sigma = np.exp(np.interp(start, np.arange(1, 61), np.log(chain.levels)))
        for n in range(1, int(start) + 1):
            assert len(chain.grid(n, sigma)) == n + 1
        too_many = int(np.ceil(start)) + 1
        reason = rf"{too_many} steps do not fit .*only {int(start)} of its levels lie there; use fewer"
        with pytest.raises(UnattainableBudget, match=reason):
            chain.grid(too_many, sigma)


def test_the_time_of_a_level_is_its_number_and_between_levels_log_sigma_is_linear():
    levels = vp_linear_levels()
    np.testing.assert_allclose(time_of(levels, levels), np.arange(1, 1001), atol=1e-9)
    assert time_of(np.sqrt(levels[9] * levels[10]), levels) == pytest.approx(10.5, abs=1e-9)


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("factor", [0.99, 1.01])
def test_a_start_outside_the_levels_is_refused_with_the_range(chain, factor):
    sigma = (chain.sigma_min if factor < 1 else chain.sigma_max) * factor
    with pytest.raises(ValueError, match=r"sigma_M = .* lies outside the network's levels \[.*, .*\]") as caught:
        chain.grid(5, sigma)
    assert f"{chain.sigma_min:g}, {chain.sigma_max:g}" in str(caught.value)


def test_below_the_finest_karras_level_one_step_is_all():
    chain = CHAINS["edm"]
    np.testing.assert_array_equal(chain.grid(1, 0.002), [0.002, 0])
    with pytest.raises(UnattainableBudget, match=r"2 steps do not fit below the finest level 0\.002; use 1"):
        chain.grid(2, 0.002)


def test_an_unknown_family_lists_those_that_exist():
    with pytest.raises(ValueError, match='Unknown grid family "cosin": allowed are vp, karras, geometric, log_snr'):
        CHAINS["edm"].grid(5, 1.0, family="cosin")


def test_a_chain_shorter_than_the_budget_says_how_long_it_is():
    with pytest.raises(UnattainableBudget, match="the full chain has 18 steps, fewer than 20"):
        CHAINS["edm"].tail(20)


# --- families ----------------------------------------------------------------------------------------------

SCALES = {
    "geometric": np.log,
    "log_snr": lambda sigma: -2 * np.log(sigma),
    "uniform": lambda sigma: sigma,
    "karras": lambda sigma: sigma ** (1 / 7),
    "cosine": lambda sigma: np.arccos(1 / np.sqrt(1 + sigma**2)),  # abar = cos^2 of an angle that is linear in t
    "quadratic": lambda sigma: np.sqrt(vp_time(sigma)),
    "aligned": lambda sigma: np.arctan(sigma / 0.5),
    "flow": lambda sigma: sigma / (1 + sigma),
}


@pytest.mark.parametrize("family", SCALES)
def test_a_family_takes_equal_steps_on_its_own_scale(family):
    grid = edm_chain().grid(12, 50.0, family=family)
    assert grid[0] == 50 and grid[-1] == 0
    to_zero = family in ("cosine", "aligned", "flow")  # the others end at the finest level, and then jump to 0
    assert to_zero or grid[-2] == pytest.approx(0.002, rel=1e-9)
    steps = np.diff(SCALES[family](grid if to_zero else grid[:-1]))
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)


def test_vp_time_and_sigma_are_inverse_and_follow_the_discrete_chain():
    time = np.linspace(1e-3, 1, 50)
    np.testing.assert_allclose(vp_time(vp_sigma(time)), time, rtol=1e-9)
    # DDPM's betas are those of the continuous diffusion over T: equal to the order 1 / T
    levels = vp_linear_levels()
    np.testing.assert_allclose(vp_sigma(np.arange(100, 1001) / 1000), levels[99:], rtol=0.04)


def loss_of_deviation(grid, c):
    """How far DDIM with the exact denoiser of N(0, c^2) stays from c when it starts from N(0, c^2 + sigma^2)."""
    kept = np.prod([(c**2 + a * b) / (c**2 + a * a) for a, b in pairwise(grid)])
    return abs(kept * np.sqrt(c**2 + grid[0] ** 2) - c)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_no_other_grid_keeps_gaussian_data_better_than_the_aligned_one(n):
    best = aligned(n, 80.0, 0.002, data_std=0.5)
    least, draw = loss_of_deviation(best, 0.5), np.random.default_rng(0)
    for family in set(FAMILIES) - {"aligned"}:
        assert loss_of_deviation(edm_chain().grid(n, 80.0, family=family), 0.5) > 1.05 * least
    for size in (1e-3, 1e-2, 0.1, 1.0):
        for _ in range(50):
            moved = best.copy()
            moved[1:-1] *= np.exp(size * draw.standard_normal(n - 1))
            assert np.any(np.diff(moved) >= 0) or loss_of_deviation(moved, 0.5) > least


@pytest.mark.parametrize("n", [2, 3, 10])
def test_near_the_finest_level_no_grid_that_stays_above_it_is_better(n):
    best, draw = aligned(n, 0.05, 0.03, data_std=0.5), np.random.default_rng(0)
    assert best[-2] == 0.03 and (best[:-1] >= 0.03).all()
    for size in (1e-3, 1e-2, 0.1):
        for _ in range(50):
            moved = best.copy()
            moved[1:-1] = np.clip(moved[1:-1] * np.exp(size * draw.standard_normal(n - 1)), 0.03, None)
            assert np.any(np.diff(moved) >= 0) or loss_of_deviation(moved, 0.5) >= loss_of_deviation(best, 0.5)


@pytest.mark.parametrize("data_std", [0.0, -1.0, np.nan, np.inf])
def test_the_aligned_grid_needs_a_deviation(data_std):
    with pytest.raises(ValueError, match="needs data_std > 0, got"):
        aligned(5, 80.0, 0.002, data_std=data_std)


def test_steps_are_numbered_pairs_and_may_end_above_zero():
    assert list(intervals(np.array([3.0, 2.0, 0.0]))) == [(0, 3.0, 2.0), (1, 2.0, 0.0)]
    assert list(intervals([3.0, 2.0])) == [(0, 3.0, 2.0)]


# --- students ----------------------------------------------------------------------------------------------


def student(name) -> Chain:
    from dataclasses import replace

    return replace(CHAINS[name], step_counts=(5, 10, 20))


@pytest.mark.parametrize("name", CHAINS)
def test_a_students_levels_are_every_second_level_of_the_student_before(name):
    chain = student(name)
    for count in (5, 10):
        finer = chain.grid(2 * count, chain.sigma_max)
        np.testing.assert_array_equal(chain.grid(count, chain.sigma_max), finer[::2])
    np.testing.assert_array_equal(chain.grid(20, chain.sigma_max), CHAINS[name].grid(40, chain.sigma_max)[::2])


def test_a_vp_student_has_the_same_grid_as_its_teacher_at_that_step_count():
    chain = student("ddpm")
    for count in chain.step_counts:
        np.testing.assert_array_equal(chain.grid(count, chain.sigma_max), CHAINS["ddpm"].grid(count, chain.sigma_max))


def test_the_whole_chain_of_a_student_is_its_own_grid():
    chain = student("edm")
    np.testing.assert_array_equal(chain.tail(5), chain.grid(5, 80.0))


@pytest.mark.parametrize("arguments", [(5, 1.0, None), (5, 80.0, "vp")])
def test_a_student_refuses_a_grid_it_was_not_distilled_for(arguments):
    n, sigma, family = arguments
    with pytest.raises(
        UnattainableBudget, match="a student runs on the karras grid it was distilled for, from sigma 80"
    ):
        student("edm").grid(n, sigma, family=family)


def test_a_student_refuses_a_step_count_that_was_not_distilled():
    for call in (lambda chain: chain.grid(4, 80.0), lambda chain: chain.tail(4)):
        with pytest.raises(UnattainableBudget, match="no student of 4 steps was distilled; use 5, 10, 20"):
            call(student("edm"))
