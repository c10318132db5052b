"""The class-balanced prior: slots of classes filled by draws in their order, every draw paid for."""

import json

import pandas as pd
import pytest
import torch
from scipy.stats import chisquare

from dpmot import plugins, seeds
from dpmot.experiment.cells import Cell
from dpmot.experiment.config import ConfigError, describe, load
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.stages import classify, measure, prepare, sample, train
from dpmot.experiment.stages._balanced import MOST, kept, one_cost
from dpmot.experiment.stages._ends import Ends
from dpmot.runtime import seals

pytestmark = pytest.mark.usefixtures("one_thread")
ROWS = seeds.sample_seeds(0, 400)


def draw_of(number, r):
    """Draws whose class is 0, 1 or 2 with shares .7, .2 and .1; x tells seed and redraw."""
    u = seeds.uniform(ROWS[:number], (1,), "u", r).flatten()
    return Ends(torch.stack([u, torch.arange(number) + 0.0, torch.full((number,), float(r))], 1), 5, u.float())


def class_of(x):
    return (x[:, 0] > 0.7).long() + (x[:, 0] > 0.9).long()


def test_slots_get_their_class_by_the_first_draws_of_it_in_order_and_every_draw_is_counted():
    wanted = torch.arange(400) % 3
    found = kept(draw_of, class_of, wanted)
    x = found.ends.x
    assert torch.equal(class_of(x), wanted) and torch.equal(found.ends.variance, x[:, 0].float())
    for c in range(3):
        own = x[wanted == c]
        order = own[:, 2] * 400 + own[:, 1]
        assert torch.equal(order, order.sort().values) and len(order.unique()) == len(order)
    assert torch.equal(x[:, 1].long(), found.row) and torch.equal(x[:, 2].long(), found.redraws)
    # the rarest class wants 133 of 10 %: about 1,330 draws, sd 110; whole rounds are counted
    assert 1000 < found.draws < 1800 and found.cost == -(-5 * found.draws // 400)


def test_a_sample_given_its_class_has_the_law_of_the_draws():
    wanted = torch.zeros(400, dtype=torch.int64)
    u = kept(draw_of, class_of, wanted).ends.x[:, 0]
    assert chisquare(torch.histc(u, 7, 0, 0.7)).pvalue > 1e-3


def test_shares_that_the_draws_have_anyway_cost_little():
    wanted = class_of(seeds.uniform(ROWS, (1,), "other"))
    assert kept(draw_of, class_of, wanted).draws < 2 * 400


def test_a_class_that_is_never_drawn_stops_with_its_number():
    wanted = torch.tensor([0, 0, 3])
    with pytest.raises(ValueError, match=r"0 of \d+ draws are of class 3 to the classifier, and 1 more are wanted"):
        kept(draw_of, class_of, wanted)
    assert MOST >= 50


def test_cells_of_one_budget_have_one_cost():
    cells = [Cell("a", 5, 0, nfe_counted=7), Cell("b", 5, 1, nfe_counted=8), Cell("c", 10, 0, reason="none")]
    assert [cell.nfe_counted for cell in one_cost(cells)] == [8, 8, None]


BOTH = {"balanced": {"network": "edm", "sampler": "ddim", "start_options": {"balanced": True}}}


def configured(**changes):
    method = BOTH["balanced"]
    base = {
        **{"experiment": "x", "dataset": "digits", "nfe_budgets": [2], "num_samples": 40, "sample_seeds": [0]},
        "networks": {"edm": {"kind": "edm", "options": {"sigma_data": 0.75}, "training": {"steps": 60, "lr": 0.01}}},
        **{"methods": {"balanced": {**method, **changes.pop("method", {})}}, "classifier": {"epochs": 4}},
    }
    return load([], [f"{key}={json.dumps(value)}" for key, value in {**base, **changes}.items()])


@pytest.mark.slow
def test_samples_of_the_workflow_are_of_the_class_that_they_were_drawn_for(tmp_path):
    layout = Layout(tmp_path)
    jobs = Jobs(configured(metrics=["label_accuracy", "fidelity"]), layout)
    assert layout.classifier in jobs.sample("balanced").inputs and jobs.needs_classifier
    assert "kept by class: a sample costs all draws over those kept" in next(iter(describe(jobs.experiment)))
    prepare.run(jobs.prepare(), layout)
    train.run(jobs.train("edm"), layout)
    classify.run(jobs.classify(), layout)
    sample.run(jobs.sample("balanced"), layout)
    tensors, texts = seals.load(layout.samples("balanced"))
    (cell,) = json.loads(texts["cells"])
    images, labels = (tensors[f"{cell['key']}/{name}"] for name in ("images", "labels"))
    seen = plugins.find("features", "classifier").extract(images, weights=layout.classifier)
    assert seen.probabilities.argmax(1).tolist() == labels.tolist() and len(images) == 40
    data = seals.load(layout.data)[0]["A/labels"]
    assert torch.equal(labels, data.sort().values[seeds.integers(seeds.sample_seeds(0, 40), len(data), "label")])
    assert cell["nfe_counted"] > 2 and cell["nfe"] == 2
    measure.run(jobs.measure(), layout)  # the classifier chose the samples, so it cannot judge them
    found = pd.read_csv(layout.root / "metrics.csv")
    assert not found.metric.str.startswith("label_accuracy").any() and (found.method == "balanced").any()
    nothing = Jobs(configured(metrics=["frechet"], features=["pixels"]), layout)
    with pytest.raises(ValueError, match="nothing is measured by frechet in features pixels"):
        measure.run(nothing.measure(), layout)


WRONG = {
    "a word": ({"method": {"start_options": {"balanced": "yes"}}}, "balanced: 'yes' is neither true nor false"),
    "points": ({"dataset": "gaussians", "networks": {"edm": {"kind": "mixture"}}}, "needs images and their classifier"),
    "a network with classes": (
        {"networks": {"edm": {"kind": "edm", "unet": {"classes": 10}, "training": {"steps": 1}}}},
        "network edm is told its classes",
    ),
    "an identity test": (
        {
            "methods": {**BOTH, "one": {"network": "edm", "sampler": "ddim"}},
            "identity": {"pairs": [["one", "balanced"]]},
        },
        "identity.pairs: balanced pays for what it throws away",
    ),
    "a coupling": ({"coupling": {"methods": ["balanced"], "nfe": 2}}, "balanced throws samples away"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_balanced_is_refused_when_it_is_planned(case):
    changes, told = WRONG[case]
    with pytest.raises(ConfigError, match=told):
        configured(**changes)


def test_a_smoke_run_whose_network_hardly_knows_the_classes_keeps_every_draw():
    assert not any(method.balanced for method in configured(scale="smoke").drawn.values())


def test_a_sampler_that_draws_noise_is_refused():
    class Noisy:
        class task:
            class method:
                sampler = "ddpm"

        def draws_noise(self, cell):
            return True

    from dpmot.experiment.stages._balanced import drawn

    with pytest.raises(ValueError, match="sampler ddpm draws noise on the way, which no redraw changes"):
        drawn(Noisy(), Cell("a", 5, 0), ROWS, shown=16)
