"""Drawing the cells of a method: labels go along, and what goes wrong names file, step and sigma."""

import numpy as np
import pytest
import torch

from dpmot import seeds
from dpmot.diffusion.network import Network
from dpmot.diffusion.sigmas import edm_chain
from dpmot.experiment import grid
from dpmot.experiment.stages._session import Part
from dpmot.experiment.stages.sample import Method, OverBudget

pytestmark = pytest.mark.usefixtures("one_thread")
CHAIN = edm_chain()
PART = Part(torch.randint(0, 256, (20, 1, 4, 4), dtype=torch.uint8), torch.arange(20) % 3)


class Denoiser:
    """Pulls to 0; hands out NaN from ``broken`` on, and remembers the labels it saw."""

    sigma_min, sigma_max = CHAIN.sigma_min, CHAIN.sigma_max

    def __init__(self, *, broken=0.0):
        self.broken, self.labels = broken, []

    def __call__(self, x, sigma, labels=None):
        self.labels.append(labels)
        return 0 * x + (float("nan") if sigma[0] <= self.broken else 0.0)


def method(denoiser, *, sampler="ddim", start="prior", classes=0, **changes):
    card = {"shape": [1, 4, 4], "unet": {"classes": classes} if classes else {}}
    job = {
        **{"name": "sample_x", "sampler": sampler, "sampler_options": {}, "extra_denoise": False, "network": "edm"},
        **{"start": start, "start_options": {}, "split": "A", "source": "normal", "num_samples": 30, "atom_seed": 0},
        **changes,
    }
    return Method(job, Network(card, CHAIN, {None: denoiser}), PART, {}, {})


def cell(*, sampler="ddim", budget=5, **options):
    config = {
        "networks": {"edm": {"kind": "edm"}},
        "methods": {"x": {"network": "edm", "sampler": sampler, **options}},
        "nfe_budgets": [budget],
        "sample_seeds": [0],
    }
    return next(grid.cells(config, "x"))


@pytest.mark.parametrize("sampler", ["ddim", "edm", "unipc", "dpm_solver"])
def test_nan_in_the_networks_output_stops_with_file_step_sigma_and_network(sampler):
    one = cell(sampler=sampler)
    sigmas = grid.sigmas(CHAIN, one)
    said = rf"baselines/{sampler}.py, step \d of {one['steps']}, network edm: The network returned NaN or infinity at"
    with pytest.raises(ArithmeticError, match=said) as caught:
        method(Denoiser(broken=sigmas[1] * 1.001), sampler=sampler).draw(one)
    assert "networks/edm.safetensors" in str(caught.value)
    step = int(str(caught.value).split("step ")[1].split(" of")[0])
    assert step in (0, 1)  # at sigma_1, which Heun's first step already asks for


def test_a_class_goes_with_every_sample_and_is_kept():
    denoiser = Denoiser()
    drawn, _ = method(denoiser, classes=3).draw(cell())
    rows = seeds.sample_seeds(0, 30)
    assert torch.equal(drawn["labels"], seeds.integers(rows, 3, "label"))
    assert all(torch.equal(labels[:30], drawn["labels"]) for labels in denoiser.labels)
    assert "labels" not in method(Denoiser()).draw(cell())[0]


def test_a_start_with_a_source_has_its_sources_class():
    drawn, _ = method(Denoiser(), classes=3, start="copy").draw(cell(start="copy", level=1.0))
    assert torch.equal(drawn["labels"], PART.labels[drawn["source"]])


def test_a_sampler_that_overspends_is_named(monkeypatch):
    from baselines import ddim

    def greedy(denoiser, x, sigmas, **options):
        for sigma in sigmas[:-1]:
            denoiser(x, sigma)
        return denoiser(x, sigmas[0])

    monkeypatch.setattr(ddim, "sample", greedy)
    with pytest.raises(
        OverBudget, match=r"6 evaluations were spent, 5 are allowed at NFE 5; correct num_steps in basel"
    ):
        method(Denoiser()).draw(cell())


def test_a_uniform_prior_is_drawn_for_a_sampler_that_asks_for_it():
    from dpmot.experiment import jobs

    found = jobs._start_options({"network": "n", "sampler": "ncsnv2"}, "prior", "normal")
    assert (
        found == {"law": "uniform"}
        and jobs._start_options({"network": "n", "sampler": "ddim"}, "prior", "normal") == {}
    )
    one = cell(sampler="ncsnv2", budget=11)
    drawn, nfe = method(Denoiser(), sampler="ncsnv2", start_options=found).draw(one)
    assert nfe == 11 and drawn["start"].min() < -0.9 and drawn["start"].abs().max() <= 1


def test_a_grid_that_does_not_descend_names_the_sampler(monkeypatch):
    monkeypatch.setattr(grid, "sigmas", lambda *_: np.array([1.0, 2.0, 0.0]))
    with pytest.raises(ValueError, match=r"baselines/ddim.py: At step 0 of 2 sigma goes from 1 to 2"):
        method(Denoiser()).draw(cell())
