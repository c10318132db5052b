"""Drawing the cells of a method: labels go along, and what goes wrong names file, step and sigma."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dpmot import plugins, seeds
from dpmot.diffusion import metering
from dpmot.diffusion.network import Network
from dpmot.diffusion.sigmas import edm_chain
from dpmot.diffusion.trajectory import Spread
from dpmot.experiment import grid
from dpmot.experiment.jobs import Sample
from dpmot.experiment.plan import Experiment, Method
from dpmot.experiment.stages import sample
from dpmot.experiment.stages._prepared import Part
from dpmot.experiment.stages.sample import LoadedMethod, OverBudget
from dpmot.runtime.session import Fault
from dpmot.starts import Points

pytestmark = pytest.mark.usefixtures("one_thread")
CHAIN = edm_chain()
PART = Part(torch.randint(0, 256, (20, 1, 4, 4), dtype=torch.uint8), torch.arange(20) % 3)


class Denoiser:
    """Pulls to 0; hands out NaN in evaluation ``broken`` (30 samples: one tile), remembers labels and sigmas."""

    sigma_min, sigma_max = CHAIN.sigma_min, CHAIN.sigma_max

    def __init__(self, *, broken=None):
        self.broken, self.labels, self.sigmas = broken, [], []

    def __call__(self, x, sigma, labels=None):
        self.labels.append(labels)
        self.sigmas.append(float(sigma[0]))
        return 0 * x + (float("nan") if len(self.sigmas) - 1 == self.broken else 0.0)


class Pulling(Denoiser):
    """D(x, sigma) = x / (1 + sigma)."""

    def __call__(self, x, sigma, labels=None):
        return x / (1 + sigma.reshape(-1, 1, 1, 1))


def method(denoiser, *, sampler="ddim", start="prior", classes=0, num_samples=30, **options):
    card = {"kind": "edm", "options": {}, "shape": [1, 4, 4], "unet": {"classes": classes} if classes else {}}
    planned = Method(network="edm", sampler=sampler, start=start, **options)
    task = Sample("x", planned, (), num_samples, atom_seed=0, num_atoms=None)
    return LoadedMethod(task, Network(card, CHAIN, {None: denoiser}), PART, {}, {})


def cell(*, sampler="ddim", budget=5, **options):
    experiment = {"experiment": "x", "dataset": "digits", "num_samples": 200, "sample_seeds": [0]}
    experiment |= {"networks": {"edm": {"kind": "edm"}}, "nfe_budgets": [budget]}
    experiment |= {"methods": {"x": {"network": "edm", "sampler": sampler, **options}}}
    return next(grid.cells(Experiment.model_validate(experiment).completed(), "x"))


@pytest.fixture
def replaced(monkeypatch):
    """A function that puts another ``sample`` in the place of every sampler's."""

    def by(sample):
        monkeypatch.setattr(metering, "fresh", lambda _: SimpleNamespace(sample=sample))

    return by


@pytest.mark.parametrize("evaluation", [0, 1, 2, 5, 6, 7, 10])
@pytest.mark.parametrize(
    ("sampler", "a_step", "options"),
    [
        ("ddim", 1, {}),
        ("unipc", 1, {}),
        ("edm", 2, {}),
        ("edm", 2, {"churn": 40.0}),
        ("dpm_solver", 3, {"order": 3}),
        ("ncsnv2", 5, {}),
    ],
)
def test_nan_in_the_networks_output_stops_with_file_step_sigma_and_network(sampler, a_step, options, evaluation):
    one = cell(sampler=sampler, budget=30, options=options)
    denoiser = Denoiser(broken=evaluation)
    step = f"step {evaluation // a_step} of {one.steps}"
    said = rf"baselines/{sampler}.py, {step}, network edm: The network returned NaN or infinity at sigma (\S+); look at"
    with pytest.raises(ArithmeticError, match=said) as caught:
        method(denoiser, sampler=sampler, options=options).draw(one)
    assert float(re.search(said, str(caught.value))[1]) == pytest.approx(denoiser.sigmas[-1], rel=1e-3)
    assert "networks/edm.safetensors" in str(caught.value)


def test_the_batch_of_a_network_that_returns_nan_goes_with_the_error():
    with pytest.raises(Fault) as caught:
        method(Denoiser(broken=2)).draw(cell(budget=5))
    batch = caught.value.batch
    assert batch["row"].tolist() == list(range(30)) and batch["x"].shape == (30, 1, 4, 4)
    assert batch["seed"].tolist() == seeds.sample_seeds(0, 30) and torch.isnan(batch["output"]).all()


def test_rows_of_a_parallel_method_that_are_nan_name_the_samples_seed(replaced, monkeypatch):
    one, planned, constant = method(Denoiser(broken=0)), cell(), plugins.constant
    monkeypatch.setattr(plugins, "constant", lambda *asked: asked[-1] == "PARALLEL" or constant(*asked))
    replaced(lambda denoiser, x, sigmas, **options: denoiser(x.repeat(3, 1, 1, 1), sigmas[0]))
    with pytest.raises(Fault) as caught:
        one.draw(planned)
    assert caught.value.batch["seed"].tolist() == 3 * seeds.sample_seeds(0, 30)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError(), RuntimeError("can't allocate memory")])
def test_where_memory_is_short_half_the_samples_go_at_a_time_with_the_same_bits(replaced, error, capsys):
    original, asked = plugins.find("baselines", "ddpm").sample, []

    def hungry(denoiser, x, sigmas, **options):
        asked.extend([len(x)] * (len(x) > metering.AGAIN))
        if len(x) > 200:
            raise error
        return original(denoiser, x, sigmas, **options)

    one = method(Denoiser(), sampler="ddpm", start="copy", num_samples=700)
    whole, counted = one.draw(cell(sampler="ddpm", start="copy"))
    replaced(hungry)
    parts, again = one.draw(cell(sampler="ddpm", start="copy"))
    assert asked == [700, 384, 256, 128, 128, 128, 316, 256, 128, 128, 60] and counted == again
    assert set(whole) == set(parts) and all(torch.equal(whole[name], parts[name]) for name in whole)
    assert "out of memory with 700 samples at a time: going on with 384" in capsys.readouterr().out


@pytest.mark.parametrize("start", ["copy", "prior"])
def test_large_images_are_drawn_in_blocks_with_the_same_bits(monkeypatch, start):
    one = method(Denoiser(), sampler="ddpm", start=start, num_samples=700)
    whole, counted = one.draw(cell(sampler="ddpm", start=start))
    monkeypatch.setattr(sample, "AT_ONCE", 300 * 8 * 16)  # 300 images of 4x4: blocks of 256
    original, asked = one._drawn, []
    monkeypatch.setattr(LoadedMethod, "_drawn", lambda _, cell, rows: asked.append(len(rows)) or original(cell, rows))
    parts, again = one.draw(cell(sampler="ddpm", start=start))
    assert asked == [256, 256, 188] and counted == again and set(whole) == set(parts)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_errors_that_are_not_of_memory_and_single_tiles_are_not_halved(replaced):
    asked = []

    def failing(denoiser, x, sigmas, **options):
        asked.append(len(x))
        raise (MemoryError if len(x) <= 128 else RuntimeError("shapes do not fit"))

    replaced(failing)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        method(Denoiser(), num_samples=300).draw(cell())
    with pytest.raises(MemoryError, match="not even 100 samples at a time fit into memory"):
        method(Denoiser(), num_samples=100).draw(cell())
    assert asked == [300, 100]


def test_a_class_goes_with_every_sample_and_is_kept():
    denoiser = Denoiser()
    drawn, _ = method(denoiser, classes=3).draw(cell())
    rows = seeds.sample_seeds(0, 30)
    assert torch.equal(drawn["labels"], PART.labels.sort().values[seeds.integers(rows, 20, "label")])
    assert all(torch.equal(labels[:30], drawn["labels"]) for labels in denoiser.labels)
    assert "labels" not in method(Denoiser()).draw(cell())[0]


def test_a_start_with_a_source_has_its_sources_class():
    drawn, _ = method(Denoiser(), classes=3, start="copy").draw(cell(start="copy", level=1.0))
    assert torch.equal(drawn["labels"], PART.labels[drawn["source"]])


def test_a_start_that_names_no_class_is_told_to(monkeypatch):
    start = plugins.find("starts", "prior").Start
    monkeypatch.setattr(start, "__call__", lambda self, rows: Points(torch.zeros(len(rows), 1, 4, 4), None))
    with pytest.raises(ValueError, match="start prior: network edm has 3 classes; give Points their labels"):
        method(Denoiser(), classes=3).draw(cell())


def test_a_sampler_that_overspends_is_named(replaced):
    def greedy(denoiser, x, sigmas, **options):
        for sigma in sigmas[:-1]:
            denoiser(x, sigma)
        return denoiser(x, sigmas[0])

    replaced(greedy)
    with pytest.raises(
        OverBudget, match=r"6 evaluations were spent, 5 are allowed at NFE 5; correct num_steps in basel"
    ):
        method(Denoiser()).draw(cell())


def test_a_uniform_prior_is_drawn_for_a_sampler_that_asks_for_it():
    uniform, plain = (Method(network="n", sampler=sampler).start_arguments for sampler in ("ncsnv2", "ddim"))
    assert uniform == {"law": "uniform"} and plain == {}
    one = cell(sampler="ncsnv2", budget=11)
    drawn, nfe = method(Denoiser(), sampler="ncsnv2").draw(one)
    assert nfe == 11 and drawn["start"].min() < -0.9 and drawn["start"].abs().max() <= 1


def test_a_grid_that_does_not_descend_names_the_sampler(monkeypatch):
    monkeypatch.setattr(grid, "sigmas", lambda *_: np.array([1.0, 2.0, 0.0]))
    with pytest.raises(ValueError, match=r"baselines/ddim.py: At step 0 of 2 sigma goes from 1 to 2"):
        method(Denoiser()).draw(cell())


def evaluated(monkeypatch):
    """Numbers of samples that samplers are run on, in the order of their runs."""
    asked, run = [], metering.run
    monkeypatch.setattr(
        metering, "run", lambda name, d, x, *rest, **more: asked.append(len(x)) or run(name, d, x, *rest, **more)
    )
    return asked


@pytest.mark.parametrize("sampler", ["ddim", "edm", "unipc", "deis", "ipndm", "dpm_solver", "dpm_solver_pp"])
def test_starts_that_several_samples_share_are_evaluated_once_for_all_seeds_with_the_same_bits(sampler, monkeypatch):
    asked, one = evaluated(monkeypatch), method(Pulling(), sampler=sampler, start="copy", num_samples=200)
    for seed in (0, 1):
        planned = replace(cell(sampler=sampler, start="copy"), sample_seed=seed)
        rows = seeds.sample_seeds(seed, 200)
        points = one.start(planned.sigma_atoms)(rows)
        found, before = one.finish(points, planned, rows), one._sampled(points.x, {}, planned, rows)
        assert torch.equal(found.x, before.x) and found.nfe == before.nfe
        assert torch.equal(found.variance, before.variance) and (found.variance > 0).all()
    assert asked == [20, 200, 200]  # 20 images: none is left for the second seed


@pytest.mark.parametrize(("sampler", "options"), [("ddpm", {}), ("ddim", {"eta": 0.5}), ("edm", {"churn": 9.0})])
def test_samples_with_noise_of_their_own_share_nothing(sampler, options, monkeypatch):
    asked, one = evaluated(monkeypatch), method(Pulling(), sampler=sampler, start="copy", options=options)
    planned, rows = cell(sampler=sampler, start="copy", options=options, level=5.0), seeds.sample_seeds(0, 30)
    end = one.finish(one.start(5.0)(rows), planned, rows)
    assert asked == [30] and len(end.x.flatten(1).unique(dim=0)) == 30


def test_a_sampler_that_draws_noise_for_some_networks_alone_is_run_again_with_noise(replaced, monkeypatch):
    def sometimes(denoiser, x, sigmas, *, noise, **options):
        denoised = denoiser(x, sigmas[0])
        return denoised + noise(0) if denoised.abs().sum() > 0 else denoised

    replaced(sometimes)
    asked, one = evaluated(monkeypatch), method(Pulling(), start="copy")
    drawn, _ = one.draw(cell(start="copy"))
    one.draw(cell(start="copy"))
    assert len(drawn["images"].flatten(1).unique(dim=0)) == 30 and asked[1:] == [30, 30] and asked[0] < 30


def test_samples_of_one_start_and_of_two_classes_are_two(monkeypatch):
    asked, one = evaluated(monkeypatch), method(Denoiser(), classes=3, start="copy", num_samples=4)
    points = Points(torch.zeros(4, 1, 4, 4), torch.zeros(4, dtype=torch.int64), labels=torch.tensor([0, 1, 1, 0]))
    one.finish(points, cell(start="copy"), seeds.sample_seeds(0, 4), labels=points.labels)
    assert asked == [2]


@pytest.mark.parametrize("start", ["prior", "copy"])
def test_the_variance_of_d_stands_beside_samples_that_it_does_not_change(start, monkeypatch):
    planned = cell(start=start)
    drawn, nfe = method(Pulling(), start=start).draw(planned)
    monkeypatch.setattr(Spread, "add", lambda *_, **__: None)
    without, counted = method(Pulling(), start=start).draw(planned)
    moved = drawn.pop("trajectory_variance"), without.pop("trajectory_variance")
    assert moved[0].shape == (30,) and moved[0].dtype == torch.float32 and (moved[0] > 0).all()
    assert moved[1].isnan().all() and nfe == counted == 5
    assert drawn.keys() == without.keys() and all(torch.equal(drawn[name], without[name]) for name in drawn)


def test_points_that_no_sampler_moves_have_no_variance_of_d():
    drawn, nfe = method(Pulling(), sampler="none", start="copy").draw(replace(cell(), sigma_atoms=1.0))
    assert nfe == 0 and "trajectory_variance" not in drawn
