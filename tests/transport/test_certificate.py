"""The certificate: unbiased, with an interval that covers, on problems whose masses are known exactly."""

import itertools
import math

import numpy as np
import pytest
import torch

from dpmot.seeds import generator
from dpmot.transport import SemiDiscreteProblem, SemiDiscreteSolver, certify
from dpmot.transport.certificate import FEWEST_BUNDLES, PRECISION, Z95, chi2_estimate, interval, look_size
from dpmot.transport.closed_form import closed_form_start, newton_scale
from dpmot.transport.noise import bundle_size
from dpmot.transport.tally import Tally, tally

TWO = torch.tensor([[1.0, 2.0, 2.0], [-1.0, -2.0, -2.0]])  # |y_1 - y_2| = 6


def two_atoms(mass: float, chi2: float) -> tuple[SemiDiscreteProblem, torch.Tensor]:
    """Two atoms and heights that miss their masses by exactly chi2: p_1 = Phi((h_1 - h_2) / 6)."""
    share = mass + math.sqrt(chi2 * mass * (1 - mass))
    gap = 6 * float(torch.special.ndtri(torch.tensor(share, dtype=torch.float64)))
    return SemiDiscreteProblem(TWO, masses=torch.tensor([mass, 1 - mass])), torch.tensor([gap / 2, -gap / 2])


@pytest.mark.parametrize("mass", [0.5, 0.1])
def test_chi2_of_two_atoms_is_unbiased(mass):
    problem, heights = two_atoms(mass, 0.02)
    looks = [certify(problem, heights, seed=seed, target=0.1) for seed in range(40)]
    values = np.array([look.chi2 for look in looks])
    # 4 standard errors of the mean of 40 looks
    assert abs(values.mean() - 0.02) < 4 * values.std(ddof=1) / math.sqrt(40)


def multinomial_looks(number: int, chi2: float, looks: int) -> np.ndarray:
    """(chi2, standard error, low, high) of many looks at masses that miss 1/N by exactly chi2."""
    rng = np.random.default_rng(1)
    deviation = rng.standard_normal(number)
    deviation -= deviation.mean()
    masses = (1 + deviation * math.sqrt(chi2 * number / (deviation**2).sum())) / number
    counts = rng.multinomial(look_size(number, chi2), masses, size=looks)
    draws = float(look_size(number, chi2))
    weights = torch.full((number,), 1 / number)
    tallies = [Tally(torch.tensor(c), 0 * weights, draws * (draws - 1)) for c in counts]
    return np.array([(*chi2_estimate(seen, weights), *interval(seen, weights)[1:]) for seen in tallies])


@pytest.mark.parametrize("number", [20, 500])
def test_the_interval_covers_and_a_missed_target_rarely_passes(number):
    values, errors, low, high = multinomial_looks(number, 0.01, 3000).T
    assert abs(values.mean() - 0.01) < 4 * values.std() / math.sqrt(3000)
    # nominal .025 each, and 3 standard errors of 3,000 looks
    most = 0.025 + 3 * math.sqrt(0.025 * 0.975 / 3000)
    assert (low > 0.01).mean() < most and (high < 0.01).mean() < most
    # the look was sized for this half-width
    assert np.median(Z95 * errors) == pytest.approx(PRECISION * 0.01, rel=0.1)


def test_mirrored_pairs_are_left_out_of_the_pair_count():
    cells = [(0, 0), (0, 1), (2, 1), (1, 1), (0, 2)]  # (cell of z, cell of -z)
    masses = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    rows = [(pair, cell) for pair, both in enumerate(cells) for cell in both]
    pairs = [(a, b) for a, b in itertools.permutations(rows, 2) if a[0] != b[0]]
    expected = sum(float(a[1] == b[1]) / float(masses[a[1]]) for a, b in pairs) / len(pairs) - 1
    seen = Tally(torch.tensor([4.0, 4.0, 2.0]), 2 * torch.tensor([1.0, 1.0, 0.0]), 10.0 * 8.0)
    assert chi2_estimate(seen, masses)[0] == pytest.approx(expected, rel=1e-12)


def test_group_chi2_sees_the_groups_only():
    # four atoms in two antipodal pairs of near copies: the halves are exact, the split inside them is not
    step = torch.tensor([[0.1, 0.0], [-0.1, 0.0]])
    far = torch.tensor([0.0, 5.0])
    problem = SemiDiscreteProblem(torch.cat([far + step, -far + step]))
    heights = torch.tensor([0.1, -0.1, 0.1, -0.1])
    look = certify(problem, heights, seed=0, target=0.05, groups=torch.tensor([7, 7, 3, 3]))
    # the split: Phi(.2 / .2) = .841 against .5, chi2 = (2 * .341)^2 = .466
    assert look.chi2 == pytest.approx(0.466, abs=0.06)  # 3 half-widths of the look at a chi2 this large
    assert abs(look.group_chi2) < 0.01
    with pytest.raises(ValueError, match="one label per atom"):
        certify(problem, heights, seed=0, groups=torch.tensor([0, 1]))


def test_total_variation_is_bounded_and_empty_cells_are_counted():
    problem = SemiDiscreteProblem(torch.tensor([[1.0], [-1.0], [0.0]]))
    look = certify(problem, torch.tensor([0.0, 0.0, -5.0]), seed=0)
    # exact masses (1/2, 1/2, 0): chi2 = 1/2, total variation 1/3 <= sqrt(1/2) / 2
    assert look.low < 0.5 < look.high
    assert look.empty_cells == 1
    assert 1 / 3 < look.total_variation < 0.37


def test_a_look_uses_other_noise_than_the_fit_and_repeats_for_its_seed():
    problem, heights = two_atoms(0.5, 0.02)
    first, second, other = (certify(problem, heights, seed=seed) for seed in (0, 0, 1))
    assert first.chi2 == second.chi2 != other.chi2
    # a fit on the certificate's own noise would find chi2 below zero every time
    atoms = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    solver = SemiDiscreteSolver(chi2=0.05)
    values = [solver(SemiDiscreteProblem(atoms), seed=seed).certificate.chi2 for seed in range(12)]
    assert np.mean(values) > 0


def test_certificates_of_two_problems_with_one_seed_use_different_noise_and_their_fits_the_same():
    problem, heights = two_atoms(0.5, 0.02)
    looks = [
        certify(problem, heights, seed=0, name=name).chi2 for name in ("", "A_normal_1", "A_normal_2", "A_normal_1")
    ]
    assert len({*looks}) == 3 and looks[1] == looks[3]
    atoms = torch.randn(40, 8, generator=torch.Generator().manual_seed(0))
    one, other = (SemiDiscreteSolver(chi2=0.05)(SemiDiscreteProblem(atoms), seed=0, name=name) for name in "ab")
    assert torch.equal(one.potential.heights, other.potential.heights)
    assert one.certificate.chi2 != other.certificate.chi2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mirrored", "recycled"])
def test_the_interval_covers_where_draws_depend_on_each_other(kind):
    number, dim = 1500, 300
    problem = SemiDiscreteProblem(torch.randn(number, dim, generator=torch.Generator().manual_seed(0)))
    heights = closed_form_start(problem)
    heights = heights + 0.1 * newton_scale(problem) * torch.randn(number, generator=torch.Generator().manual_seed(1))
    truth = tally(problem, [heights], 400_000, generator(0, "truth"), noise="mirrored")[0].chi2(problem.masses)
    looks = [tally(problem, [heights], 12_000, generator(k, "look"), noise=kind)[0] for k in range(80)]
    values, errors = np.array([chi2_estimate(look, problem.masses) for look in looks]).T
    # standard errors of the mean and of a standard deviation over 80 looks; the truth's own is sqrt(2 N) / 400,000
    assert abs(values.mean() - truth) < 4 * values.std() / math.sqrt(80) + 4e-4
    assert errors.mean() == pytest.approx(values.std(), rel=4 / math.sqrt(160))


@pytest.mark.parametrize("count", [3, 5, 14])
def test_the_upper_end_holds_for_few_bundles(count):
    cells, size, share = 200, 400, 0.3  # of a block's draws that fall where its own preference says
    rng, masses = np.random.default_rng(count), torch.full((200,), 1 / 200, dtype=torch.float64)
    missed = []
    for _ in range(1000):
        favoured = rng.dirichlet(np.ones(cells), size=count)
        bundles = torch.from_numpy(np.stack([rng.multinomial(size, share * f + (1 - share) / cells) for f in favoured]))
        counts, draws = bundles.sum(0).double(), count * size
        together = (bundles * (bundles - 1)).sum(0).double()
        missed.append(interval(Tally(counts, together, draws * (draws - size), bundles.float()), masses)[2] <= 0)
    # 2.5 % are to miss the truth, chi2 = 0, from below; 3 standard errors of 1,000 looks
    assert np.mean(missed) <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / 1000)


def test_a_look_has_twenty_bundles_at_least():
    problem = SemiDiscreteProblem(torch.randn(1000, 3000, generator=torch.Generator().manual_seed(0)))
    look = certify(problem, torch.zeros(1000), seed=0, target=1.0)
    assert look.noises >= FEWEST_BUNDLES * bundle_size("recycled", 3000, 1000) > look_size(1000, 1.0)


def test_clusters_are_found_without_being_given_and_unseen_cells_are_put_in_proportion():
    centres = 30 * torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(300, 16, generator=torch.Generator().manual_seed(1))
    problem = SemiDiscreteProblem(centres.repeat(50, 1) + noise)
    look = certify(problem, torch.zeros(300), seed=0, target=0.5)
    # zero heights: the centres that stick out take far more than their share; .117, with a standard error of .02
    assert look.group_chi2 > 0.04 and look.group_high > look.group_chi2
    assert look.empty_expected == pytest.approx(300 * (1 - 1 / 300) ** look.noises, rel=1e-6)
    assert look.empty_cells > look.empty_expected + 10


def test_the_primal_dual_gap_is_the_mass_error_times_the_heights():
    problem, heights = two_atoms(0.5, 0.04)  # p - w = (.1, -.1)
    look = certify(problem, heights, seed=0, target=0.1)
    expected = 0.1 * float(heights[0] - heights[1]) / 3  # rms |y - mean| = 3
    assert look.primal_dual_gap == pytest.approx(expected, abs=4 * 0.5 * float(heights[0] - heights[1]) / 3 / 70)
    solved = SemiDiscreteSolver(chi2=0.001)(problem, seed=0).certificate
    assert abs(solved.primal_dual_gap) < 0.01
