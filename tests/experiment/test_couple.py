"""The coupling stage: quantities against closed forms, and what a moved noise is."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from dpmot import seeds
from dpmot.diffusion.network import Network
from dpmot.diffusion.sigmas import edm_chain
from dpmot.experiment.cells import Problem
from dpmot.experiment.config import ConfigError, load
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.plan import Experiment
from dpmot.experiment.stages._prepared import Part
from dpmot.experiment.stages.couple import Coupling, distance, mass_chi2, moved, on_arc
from dpmot.experiment.stages.sample import LoadedMethod
from dpmot.plugins import ROOT
from dpmot.starts import prior_noise
from dpmot.transport import NoisyImages, SemiDiscreteProblem, SemiDiscreteSolver

pytestmark = pytest.mark.usefixtures("one_thread")
CHAIN, SIGMA = edm_chain(), 1.0
POINTS = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
ATOMS = NoisyImages(POINTS, SIGMA, 0)[range(40)]
ROWS = seeds.sample_seeds(0, 2000)


class Denoiser:
    """Knows nothing but the mean: D = 0, so a sample of DDIM is 0."""

    sigma_min, sigma_max = CHAIN.sigma_min, CHAIN.sigma_max

    def __call__(self, x, sigma, labels=None):
        return 0.5 * x


def coupling(start, **options):
    method = {"network": "edm", "sampler": "ddim", "start": start, **options}
    experiment = {"experiment": "x", "dataset": "digits", "num_samples": 200, "nfe_budgets": [5], "sample_seeds": [7]}
    experiment |= {"networks": {"edm": {"kind": "edm"}}}
    experiment |= {"methods": {"x": {**method, **({} if start == "prior" else {"level": SIGMA})}}}
    plan = Experiment.model_validate(experiment).completed()
    task = Jobs(plan, Layout(Path())).sample("x").task
    solved = SemiDiscreteSolver(chi2=0.005)(SemiDiscreteProblem(ATOMS), seed=0).potential.heights
    method = LoadedMethod(
        task,
        Network({"kind": "edm", "options": {}, "shape": [3], "unet": {}}, CHAIN, {None: Denoiser()}),
        Part(POINTS, torch.zeros(40)),
        {Problem("A", "normal", SIGMA).name: solved},
        {},
    )
    return Coupling(method, task.cells[0])


def values(found):
    return {(quantity, move): estimate for quantity, move, estimate, _ in found}


@pytest.fixture(scope="module")
def measured():
    torch.set_num_threads(1)
    starts = {"plain": ("transport", {}), "zero": ("transport", {"heights": "zero"}), "copy": ("copy", {})}
    starts |= {"prior": ("prior", {}), "discard": ("transport", {"singular": "discard", "angle": 0.5})}
    starts |= {"smooth": ("transport", {"singular": "smooth", "tau": 0.5})}
    return {
        name: values(coupling(start, **options).measured([0.05, 0.3, 1.0], 2000, 200)[0])
        for name, (start, options) in starts.items()
    }


def inside(estimate, truth, slack=2.0):
    """Whether the truth lies in the 95 % interval, made wider: five of a hundred right ones would not."""
    half = slack * (estimate.high - estimate.low) / 2
    return abs(estimate.value - truth) <= half


def test_a_moved_noise_has_the_law_of_the_prior_and_the_correlation_it_says():
    x = prior_noise(ROWS, (3,))
    for e in (0.1, 0.6, 1.0):
        there = moved(e)(ROWS, (3,))
        assert kstest(there.flatten().numpy(), "norm").pvalue > 1e-3
        correlation = np.corrcoef(x.flatten(), there.flatten())[0, 1]
        assert abs(correlation - math.sqrt(1 - e * e)) < 4 / 6000**0.5
    assert torch.equal(moved(0.0)(ROWS, (3,)), x)


def test_an_arc_leads_from_one_noise_to_another_within_the_law():
    assert torch.equal(on_arc(0.0)(ROWS, (3,)), prior_noise(ROWS, (3,)))
    for t in (0.4, math.pi / 2):
        assert kstest(on_arc(t)(ROWS, (3,)).flatten().numpy(), "norm").pvalue > 1e-3


def test_a_moved_noise_that_is_drawn_anew_is_another_one():
    once, twice = (moved(1.0)(ROWS[:50], (3,), redraws=torch.full((50,), r)) for r in (1, 2))
    assert not (once == twice).any()


def test_the_independent_coupling_costs_what_the_moments_say(measured):
    # E |x - y|^2 / 2 of independent x ~ N(0, I) and a uniform atom
    truth = (3 + float(ATOMS.square().sum(1).mean())) / 2
    for name in ("copy", "plain"):
        assert inside(measured[name]["independent_cost", None], truth)
    assert inside(measured["copy"]["transport_cost", None], truth)
    assert inside(measured["copy"]["cost_saved", None], 0.0)


def test_optimal_transport_costs_less_and_no_other_map_onto_the_atoms_saves_more(measured):
    plain = measured["plain"]
    assert plain["cost_saved", None].low > 0
    saved = plain["independent_cost", None].value - plain["transport_cost", None].value
    assert plain["cost_saved", None].value == pytest.approx(saved, rel=1e-12)
    # the best assignment of as many draws to the atoms (linear programme) costs no more than a little less
    from scipy.optimize import linear_sum_assignment

    x, y = prior_noise(seeds.sample_seeds(7, 2000), (3,)), ATOMS.repeat(50, 1)
    costs = (torch.cdist(x.double(), y.double()) ** 2 / 2).numpy()
    rows, columns = linear_sum_assignment(costs)
    assert plain["transport_cost", None].value == pytest.approx(
        costs[rows, columns].mean(), rel=0.02
    )  # sd of 2000 draws


def test_cells_change_with_the_move_and_all_of_them_at_independent_noise(measured):
    for name in ("plain", "smooth", "discard"):
        shares = [measured[name]["cell_changes", e].value for e in (0.05, 0.3, 1.0)]
        assert shares == sorted(shares) and 0 < shares[0] < 0.5 < shares[2]
    assert inside(measured["plain"]["cell_changes", 1.0], 1 - 1 / 40)  # two independent uniform atoms
    assert inside(measured["copy"]["cell_changes", 0.05], 1 - 1 / 40)  # whatever the move


def test_the_chi2_of_the_cells_is_that_of_equal_masses_unless_noises_are_discarded(measured):
    assert inside(measured["plain"]["mass_chi2", None], 0.0025, slack=3)  # within the certificate's 0.005
    assert measured["discard"]["mass_chi2", None].low > 0.01
    assert measured["zero"]["mass_chi2", None].low > 0.1


def test_the_prior_has_a_distance_of_samples_alone(measured):
    assert {quantity for quantity, _ in measured["prior"]} == {"sample_distance"}


def test_redraws_and_the_share_near_the_set_belong_together(measured):
    share, redraws = (measured["discard"][name, None].value for name in ("singular_share", "redraws"))
    assert 0.05 < share < 0.95
    assert redraws == pytest.approx(share / (1 - share), rel=0.25)  # a geometric law, 2000 draws


def test_the_noise_level_is_the_one_that_is_told(measured):
    own = ((ATOMS - POINTS).square().mean().sqrt() / SIGMA).item()  # of 120 normal numbers
    assert measured["plain"]["noise_level", None].value == pytest.approx(own, rel=0.03)
    assert measured["smooth"]["noise_level", None].value == pytest.approx(own, rel=0.08)  # masses are not quite equal
    assert measured["smooth"]["start_distance", 0.05].value < measured["plain"]["start_distance", 0.05].value


def test_mass_chi2_is_unbiased():
    draw = np.random.default_rng(0)
    found = [mass_chi2(draw.choice(10, 400, p=[0.19] + [0.09] * 9), 10).value for _ in range(400)]
    assert np.mean(found) == pytest.approx(10 * (0.19**2 + 9 * 0.09**2) - 1, abs=4 * np.std(found) / 20)


def test_strips_begin_at_the_sample_of_the_first_noise():
    one = coupling("transport")
    strips = one.strips()
    assert strips.shape == (2, 12, 3)
    points = one.start()(one.rows(2))
    assert torch.equal(strips[:, 0], one.samples(points, one.rows(2))[0].to(strips.dtype))
    assert len(coupling("copy").strips()[0].unique(dim=0)) > 6  # another image for nearly every frame


def test_distance_is_that_of_rows():
    a, b = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    assert distance(a, b).tolist() == [2.0, 2.0]


def test_an_experiment_without_the_block_says_where_there_is_one():
    with pytest.raises(ConfigError, match=r"no such block; config/singular\.yaml has one"):
        Jobs(load([ROOT / "config" / "gate.yaml"]), Layout(Path())).couple()
