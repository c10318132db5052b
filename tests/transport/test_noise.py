"""Every kind of noise gives the cells the masses that plain Gaussian noise gives them, at fewer operations."""

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dpmot.seeds import generator
from dpmot.transport import SemiDiscreteProblem, SemiDiscreteSolver, race
from dpmot.transport import noise as noise_module
from dpmot.transport.certificate import chi2_estimate
from dpmot.transport.closed_form import closed_form_start, newton_scale
from dpmot.transport.curvature import trends
from dpmot.transport.measures import NORMAL, UNIFORM
from dpmot.transport.near_duplicates import crowded, near_duplicates
from dpmot.transport.noise import BASE, KINDS, bundle_size, draw, kind_for, turns
from dpmot.transport.tally import tally
from dpmot.transport.workers import Scratch


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def problem_of(number: int, dim: int) -> SemiDiscreteProblem:
    return SemiDiscreteProblem(draws(number, dim) * torch.linspace(0.3, 2, dim))


def pieces(kind: str, number: int, dim: int, rows: int, tile: int = 64):
    return draw(kind, NORMAL, (number, dim), rows, generator(1, kind), tile=tile, device=torch.device("cpu"))


def products(piece, atoms: torch.Tensor, heights: torch.Tensor | None = None) -> torch.Tensor:
    heights = torch.zeros(len(atoms)) if heights is None else heights
    return torch.cat([part.clone() for part in piece.scores(atoms, heights, Scratch(atoms.device))])


@pytest.mark.parametrize("kind", KINDS)
def test_products_are_those_of_rows_with_the_law_of_the_source(kind):
    z = torch.cat([products(piece, torch.eye(30)) for piece in pieces(kind, 40, 30, 6000)])
    # 5 standard errors of a mean and a variance over 6000 rows; recycled rows are not independent, 2 for safety
    assert z.mean(0).abs().max() < 10 / math.sqrt(6000)
    assert (z.var(0) - 1).abs().max() < 10 * math.sqrt(2 / 6000)
    atoms = draws(7, 30, seed=3)
    first, again = (next(iter(pieces(kind, 40, 30, 64))) for _ in range(2))
    rows = products(first, torch.eye(30))
    assert len(rows) == len(first)
    heights = draws(7, seed=4)
    torch.testing.assert_close(
        products(again, atoms, heights), rows @ atoms.T + heights, rtol=1e-5, atol=1e-4
    )  # float32


@pytest.mark.parametrize("kind", ["mirrored", "recycled"])
@pytest.mark.parametrize("dim", [8, 300])
def test_masses_are_those_of_plain_noise(kind, dim):
    problem = problem_of(60, dim)
    heights = closed_form_start(problem)
    bias = []
    for k in range(2):
        plain, fast = (
            tally(problem, [heights], 60_000, generator(k, "law", noise), noise=noise, rough=True)[0]
            for noise in ("plain", kind)
        )
        bias.append(plain.counts / plain.draws - fast.counts / fast.draws)
    # product of independent deviations: its expectation is the squared bias, its standard deviation sqrt(2 N) times
    # 2 / 60,000 = .0004, twice that where rows depend on each other
    assert abs(float((bias[0] * bias[1] / problem.masses).sum())) < 0.0024


def test_structured_rows_are_nearly_unbiased_where_they_are_offered_for():
    problem = problem_of(60, 400)
    heights = closed_form_start(problem)
    looks = [tally(problem, [heights], 20_000, generator(k, "structured"), noise="structured")[0] for k in range(2)]
    plain = [tally(problem, [heights], 40_000, generator(k, "reference"), noise="plain")[0] for k in range(2)]
    bias = [a.counts / a.draws - b.counts / b.draws for a, b in zip(looks, plain, strict=True)]
    squared = float((bias[0] * bias[1] / problem.masses).sum())  # independent bundles: no noise in expectation
    assert (
        abs(squared) < 0.003
    )  # its standard deviation is sqrt(N) (1/20,000 + 1/40,000) N ~ .0006, doubled for bundles


@pytest.mark.parametrize("kind", KINDS)
def test_chi2_of_dependent_draws_is_unbiased(kind):
    problem = problem_of(50, 40)
    heights = closed_form_start(problem) + 0.3 * newton_scale(problem) * draws(50, seed=5)
    truth = tally(problem, [heights], 400_000, generator(0, "truth"), noise="mirrored")[0].chi2(problem.masses)
    looks = torch.tensor(
        [tally(problem, [heights], 4000, generator(k, kind), noise=kind)[0].chi2(problem.masses) for k in range(24)]
    )
    bias = 0.0 if kind != "structured" else 0.005  # 3 layers at d = 40
    assert abs(float(looks.mean()) - truth) < 4 * float(looks.std()) / math.sqrt(24) + 0.002 + bias


@pytest.fixture
def often_turned(monkeypatch):
    """Recycled rows in bundles of 16 turns, as many atoms of many dimensions have them."""
    monkeypatch.setattr(noise_module, "turns", lambda number, dim: 16)


def looks(problem, heights, rows, number):
    options = {"noise": "recycled"}
    return [tally(problem, [heights], rows, generator(k, "blocks"), **options)[0] for k in range(number)]


def test_smooth_modes_vary_by_the_inflation_that_the_bundles_tell(often_turned):
    problem = problem_of(300, 300)
    modes = trends(problem)[:, :10]
    seen = looks(problem, closed_form_start(problem), 60_000, 60)
    found = np.mean([one.mode_inflation(modes) for one in seen])
    sums = torch.stack([modes.T @ one.counts for one in seen])
    share = sum(one.counts for one in seen) / sum(one.draws for one in seen)
    single = float(share @ modes.square().sum(1) - (modes.T @ share).square().sum())
    true = float(sums.var(0).sum()) / (seen[0].draws * single)
    # the variance of 60 sums is known to sqrt(2 / 60) = .18 at worst, if all 10 modes are one
    assert found == pytest.approx(true, rel=0.55) and found > 2


def test_the_error_of_chi2_is_that_of_dependent_looks(often_turned):
    problem = problem_of(300, 300)
    found = [chi2_estimate(one, problem.masses) for one in looks(problem, closed_form_start(problem), 40_000, 80)]
    spread = np.std([chi2 for chi2, _ in found], ddof=1)
    # a standard deviation from 80 looks has a relative error of 1 / sqrt(160) = .08
    assert np.mean([error for _, error in found]) == pytest.approx(spread, rel=0.32)


def test_draws_come_in_whole_bundles_and_do_not_depend_on_the_tile(multiply_in):
    problem = problem_of(50, 40)

    def seen(kind, rows):
        multiply_in(rows, 2048)
        return tally(problem, [closed_form_start(problem)], 1000, generator(0), noise=kind)[0]

    for kind in KINDS:
        size, one, other = bundle_size(kind, 40, 50), seen(kind, 64), seen(kind, 256)
        assert one.draws % size == 0 and one.draws >= 1000
        # another tile rounds products differently: a draw at a wall may change sides
        assert (one.counts - other.counts).abs().sum() <= 4


@pytest.mark.parametrize("kind", ["mirrored", "recycled"])
def test_two_looks_together_are_one_of_all_their_draws(kind):
    problem, w = problem_of(40, 300), torch.full((40,), 1 / 40, dtype=torch.float64)
    start = closed_form_start(problem)
    one, other = (tally(problem, [start], 4000, generator(k, "two"), noise=kind)[0] for k in range(2))
    both = one + other
    assert torch.equal(both.counts, one.counts + other.counts) and both.draws == one.draws + other.draws
    # pairs across the two are independent: with them all, what is left of all pairs are those inside bundles
    assert both.draws * (both.draws - 1) - both.pairs == sum(t.draws * (t.draws - 1) - t.pairs for t in (one, other))
    across = 2 * float((one.counts * other.counts / w).sum())
    inside = sum((1 + t.chi2(w)) * t.pairs for t in (one, other))
    assert both.chi2(w) == pytest.approx((across + inside) / both.pairs - 1, rel=1e-9)
    assert (both.bundles is None) == (kind == "mirrored")
    assert kind == "mirrored" or len(both.bundles) == len(one.bundles) + len(other.bundles)


def test_two_heights_share_the_noise_of_one_look():
    problem = problem_of(50, 40)
    low, high = closed_form_start(problem), closed_form_start(problem) + draws(50, seed=2)
    together = tally(problem, [low, high], 2000, generator(0), noise="mirrored")
    for heights, seen in zip((low, high), together, strict=True):
        alone = tally(problem, [heights], 2000, generator(0), noise="mirrored")[0]
        assert (seen.counts - alone.counts).abs().sum() <= 4  # sums are rounded in another order


def test_the_fast_kinds_are_refused_where_the_source_is_no_gaussian():
    for kind in ("recycled", "structured"):
        with pytest.raises(ValueError, match="needs the normal source"):
            kind_for(kind, UNIFORM, 300)
    with pytest.raises(ValueError, match='"pink" is unknown; choose "auto", '):
        SemiDiscreteSolver(noise="pink")
    assert kind_for("auto", UNIFORM, 3000) == "mirrored" and kind_for("auto", NORMAL, 3000) == "recycled"


def test_a_block_is_turned_more_often_the_more_atoms_and_dimensions_there_are():
    assert (
        turns(100, 784) == 1
        and turns(10_000, 784) == turns(10_000, 3072) == 6
        and turns(50_000, 3072) == 28
        and turns(10**6, 3072) == 32
    )
    assert bundle_size("recycled", 784, 10_000) == 2 * 6 * BASE


@pytest.mark.parametrize("kind", ["recycled", "structured", "plain"])
def test_a_fit_converges_on_every_kind(kind):
    solution = SemiDiscreteSolver(chi2=0.05, noise=kind)(problem_of(100, 300), seed=0)
    assert solution.converged


def test_near_duplicates_in_many_dimensions_are_judged_and_mapped_in_float32():
    # closer than bfloat16 tells apart: rounding them in the certificate would call chi2 .07 converged
    atoms = draws(200, 256).repeat_interleave(5, 0) + 0.001 * draws(1000, 256, seed=1)
    solution = SemiDiscreteSolver()(SemiDiscreteProblem(atoms), seed=0)
    counts = torch.bincount(solution.potential.cell(draws(40_000, 256, seed=2)), minlength=1000).double()
    chi2 = float((counts * (counts - 1)).sum()) * 1000 / (40_000 * 39_999) - 1
    # the standard error of 40,000 draws is sqrt(2000) / 40,000 = .0011
    assert solution.converged and chi2 < 0.01 + 3 * 0.0011


def test_a_clump_too_wide_to_merge_is_fitted_in_float32_everywhere(monkeypatch):
    close = torch.cat([draws(300, 256, seed=2), draws(1, 256) + 0.003 * draws(400, 256, seed=1)])
    found = []
    for fast in (False, True):
        monkeypatch.setattr("dpmot.device.cpu_multiplies_bfloat16", lambda fast=fast: fast)
        problems = SemiDiscreteProblem(close), problem_of(700, 256)
        assert near_duplicates(problems[0]).merged is problems[0] and [crowded(p) for p in problems] == [True, False]
        found.append([SemiDiscreteSolver(chi2=0.2, max_noises=100_000)(p, seed=0).potential.heights for p in problems])
    (one, exact), (other, rounded) = found
    # float32 on both paths, by two libraries: a product of 30 has an ulp of 2e-6; bfloat16 has one of .1
    assert (one - other).abs().max() < 1e-4
    assert (exact - rounded).abs().max() > 1e-2


def test_a_look_holds_at_least_two_bundles():
    seen = tally(problem_of(20, 784), [torch.zeros(20)], 10, generator(0), noise="structured")[0]
    assert seen.draws == 2 * bundle_size("structured", 784, 20) and math.isfinite(seen.chi2(torch.full((20,), 0.05)))


@pytest.mark.parametrize("kind", ["plain", "lognormal", "wide"])
def test_an_interrupted_fit_ends_in_the_same_bits(kind, rounds):
    # outliers of a lognormal norm make the fit give its trends up on the way
    problem = problem_of(150, 300 if kind == "wide" else 20)
    problem = SemiDiscreteProblem(draws(150, 20) * draws(150, 1, seed=1).exp()) if kind == "lognormal" else problem
    states, solve = [], SemiDiscreteSolver(chi2=0.02)
    whole = solve(problem, seed=0, callback=lambda seen: states.append(seen["state"]()))
    for state in states:
        resumed = solve(problem, seed=0, resume=state)
        assert torch.equal(resumed.potential.heights, whole.potential.heights)
        assert resumed.noises == whole.noises
    assert resumed.history[-1] == whole.history[-1]
    for other in ({"heights": torch.zeros(150)}, {**states[0], "heights": torch.zeros(7)}):
        with pytest.raises(ValueError, match="give one that this solver handed out for 150 atoms"):
            solve(problem, seed=0, resume=other)
    for other, seed in (
        (solve, 1),
        (SemiDiscreteSolver(chi2=0.03), 0),
        (SemiDiscreteSolver(chi2=0.02, noise="plain"), 0),
    ):
        with pytest.raises(ValueError, match="resume with the options of the interrupted fit, or begin anew"):
            other(problem, seed=seed, resume=states[0])
    with pytest.raises(ValueError, match="cannot be resumed"):
        SemiDiscreteSolver(method="authors")(problem, seed=0, resume=states[0])


def test_a_fit_interrupted_after_its_budget_was_spent_tells_the_same():
    atoms = draws(100, 20) * (2 * draws(100, 1, seed=1)).exp()  # outliers: a poor start
    states, solve = [], SemiDiscreteSolver(chi2=0.005, max_noises=50_000)
    problem = SemiDiscreteProblem(atoms)
    whole = solve(problem, seed=0, callback=lambda seen: states.append(seen["state"]()))
    resumed = solve(problem, seed=0, resume=states[-1])
    assert not whole.converged and resumed.reason == whole.reason
    assert torch.equal(resumed.potential.heights, whole.potential.heights)


@pytest.mark.parametrize("law", [NORMAL, UNIFORM])
def test_draws_have_the_law_of_the_source_and_do_not_depend_on_the_tile(law):
    def drawn(*key, tile: int = 4000) -> torch.Tensor:
        parts = draw("plain", law, (9, 10), 4000, generator(*key), tile=tile, device=torch.device("cpu"))
        return torch.cat([part.z for part in parts])

    z = drawn(0)
    # five standard errors of 40,000 numbers, 6e-7 false alarms each
    assert abs(float(z.mean())) < 5 * law.scale / 200
    assert abs(float(z.square().mean()) / law.scale**2 - 1) < 5 * math.sqrt(2 / 40_000)
    assert float(z.abs().max()) <= law.bound
    assert torch.equal(drawn(0, tile=100), z) and not torch.equal(drawn(1), z)


def test_turns_of_recycled_rows_are_rotations():
    piece = next(draw("recycled", NORMAL, (900, 784), 1, generator(0), tile=1, device=torch.device("cpu")))
    turned = piece.mixing.view(-1, BASE, BASE)
    torch.testing.assert_close(turned @ turned.mT, torch.eye(BASE).expand_as(turned), rtol=0, atol=1e-5)  # float32


@pytest.mark.parametrize("noise", KINDS)
def test_what_a_gpu_multiplies_and_compares_at_once_counts_the_same(noise, monkeypatch, multiply_in):
    # in place of the Triton kernel (test_triton.py), which gets the factors of the products and says who leads
    def leaders(mixing, factor, heights, *, mirror, exact):
        scores = factor if mixing is None else torch.einsum("mb,bgn->mgn", mixing, factor).flatten(0, 1)
        return [(heights + side * scores).max(1) for side in ((1, -1) if mirror else (1,))]

    monkeypatch.setitem(sys.modules, "dpmot.transport._triton", SimpleNamespace(leaders=leaders))
    problem = problem_of(150, 40)
    heights = [closed_form_start(problem), torch.zeros(150)]
    multiply_in(1024, 64)
    one, other = (tally(problem, heights, 2000, generator(0), noise=noise, fused=by) for by in (True, False))
    for a, b in zip(one, other, strict=True):
        assert a.draws == b.draws and (a.counts - b.counts).abs().sum() <= 4  # a draw at a wall may change sides


def test_the_kernel_is_asked_for_on_a_gpu_with_triton_only(monkeypatch):
    for spec in (None, "found"):
        monkeypatch.setattr(race, "find_spec", lambda name, spec=spec: spec)
        race._fusing.cache_clear()
        assert not race._fusing(torch.device("cpu"))
        assert race._fusing(torch.device("cuda", 0)) == (spec is not None)
    race._fusing.cache_clear()
