"""Samples of any denoiser: the same for one seed, counted, checked, and what does not fit together refused."""

import re
import threading
import warnings

import numpy as np
import pytest
import torch

import dpmot
from dpmot import plugins, sampling, seeds
from dpmot.diffusion import metering, network
from dpmot.diffusion.budget import Budgeted
from dpmot.diffusion.denoiser import NonFiniteOutput, TiledDenoiser
from dpmot.diffusion.guidance import Guided
from dpmot.diffusion.sigmas import BadGrid, UnattainableBudget, karras
from dpmot.starts import prior_noise
from dpmot.warned import NoDenoiser

pytestmark = pytest.mark.usefixtures("one_thread")
LEVELS = (0.002, 80.0)


class Learned(torch.nn.Module):
    """A network of parameters, in float64, with dropout: a caller's own."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.9, dtype=torch.float64))
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, x, sigma):
        assert x.dtype == sigma.dtype == torch.float64 and not torch.is_grad_enabled()
        return self.dropout(self.scale * x / (1 + sigma.reshape(-1, 1, 1, 1) ** 2))


def file_of(folder, classes=0, no_class=False):
    """A network of this project with random weights, on disk."""
    unet = {"channels": 8, "classes": classes, "no_class": no_class}
    card = {"kind": "edm", "options": {}, "shape": [1, 8, 8], "unet": unet, "no_class": no_class}
    stream = torch.Generator().manual_seed(0)
    tensors = {k: 0.1 * torch.randn(v.shape, generator=stream) for k, v in network.build(card).state_dict().items()}
    network.save(folder / "n.safetensors", card, {None: tensors})
    return folder / "n.safetensors"


def test_guidance_costs_two_evaluations_of_a_step_and_both_count(tmp_path):
    loaded = network.load(file_of(tmp_path, classes=3, no_class=True))
    options = {"labels": torch.tensor([0, 1, 2, 2]), "sampler": "ddim"}
    drawn = {w: dpmot.sample(loaded, "prior", nfe=7, guidance=w, **options) for w in (None, 1, 0, 2.5)}
    assert {w: (one.nfe, len(one.sigmas) - 1) for w, one in drawn.items()} == {
        **dict.fromkeys((None, 1, 0), (7, 7)),
        2.5: (6, 3),
    }
    assert torch.equal(drawn[1].x0, drawn[None].x0) and not torch.equal(drawn[0].x0, drawn[None].x0)
    at_once = dpmot.sample(Guided(loaded.denoiser(3), 2.5, 3), "prior", nfe=7, shape=(1, 8, 8), **options)
    assert at_once.nfe == 6 and torch.allclose(at_once.x0, drawn[2.5].x0, atol=1e-4)
    with pytest.raises(UnattainableBudget, match="a guided evaluation costs 2 of the network; give NFE 2 or more"):
        dpmot.sample(loaded, "prior", nfe=1, guidance=2, **options)


def test_guidance_of_what_knows_no_class_is_refused(digits, tmp_path):
    with pytest.raises(ValueError, match="guidance 2 needs a network with classes that has a label of no class"):
        dpmot.sample(file_of(tmp_path, classes=3), "prior", guidance=2, labels=1)
    with pytest.raises(ValueError, match="guidance is -1"):
        dpmot.sample(file_of(tmp_path, classes=3, no_class=True), "prior", guidance=-1, labels=1)
    with pytest.raises(ValueError, match="only networks of this project are guided here"):
        dpmot.sample(digits.denoiser, digits.way, guidance=2)


def test_one_seed_is_one_sample_beside_any_others(digits, monkeypatch):
    options = {"sampler": "ddim", "nfe": 4, "options": {"eta": 1.0}}
    together = dpmot.sample(digits.denoiser, digits.way, num_samples=300, **options)
    few = dpmot.sample(digits.denoiser, digits.way, num_samples=3, **options)
    some = dpmot.sample(digits.denoiser, digits.way, seeds=[together.seeds[k] for k in (299, 7)], **options)
    monkeypatch.setattr(sampling, "AT_ONCE", 128 * 64 * 8)
    blocks = dpmot.sample(digits.denoiser, digits.way, num_samples=300, **options)
    assert torch.equal(few.x0, together.x0[:3]) and torch.equal(some.x0, together.x0[[299, 7]])
    assert torch.equal(blocks.x0, together.x0) and torch.equal(blocks.source, together.source)
    assert not torch.equal(dpmot.sample(digits.denoiser, digits.way, seeds=1, num_samples=3, **options).x0, few.x0)


def test_other_tiles_differ_by_rounding_only(digits):
    drawn = [dpmot.sample(digits.denoiser, digits.way, nfe=4, tile=tile).x0 for tile in (None, 5)]
    assert torch.allclose(*drawn, atol=1e-5)  # 4 float32 evaluations


def test_memory_is_bounded_by_blocks(digits, monkeypatch):
    seen = []
    run = metering.run
    monkeypatch.setattr(metering, "run", lambda *given, **more: seen.append(len(given[2])) or run(*given, **more))
    monkeypatch.setattr(sampling, "AT_ONCE", 1)
    dpmot.sample(digits.denoiser, digits.way, nfe=1, num_samples=300)
    assert seen == [128, 128, 44]


# What is learned, as it is for 15 steps that learning leaves as they were: DDIM's, and D itself.
LEARNED = {
    "pas": {"coordinates": [0.0] * 60},
    "gs": {"coefficients": [c for n in range(15) for c in (0.0,) * (n + 1) + (1.0,)]},
}


def test_a_sampler_whose_options_are_learned_is_refused_without_them(digits):
    assert {name for name in plugins.names("baselines") if plugins.constant("baselines", name, "LEARNS")} == {*LEARNED}
    for sampler, options in (("pas", {}), ("pas", {"coordinates": []}), ("gs", {"order": 3})):
        with pytest.raises(ValueError, match=rf"^Sampler {sampler} has .* learned .* `dpmot learn METHOD`"):
            dpmot.sample(digits.denoiser, digits.way, sampler, 5, options=options)


OF_SPANS = {"meanflow"}  # needs a network that knows spans


@pytest.mark.parametrize("sampler", [name for name in plugins.names("baselines") if name not in OF_SPANS])
def test_every_sampler_goes_on_from_an_expressway_and_spends_what_it_says(digits, sampler):
    calls, options = [], LEARNED.get(sampler, {})

    def counted(x, sigma):
        calls.append(len(x))
        return digits.denoiser(x, sigma)

    drawn = dpmot.sample(counted, digits.way, sampler, 15, num_samples=20, options=options)
    assert calls.pop(0) == sampling.TRIED and set(calls) == {128}  # one tile, filled up
    assert drawn.nfe == len(calls) <= 15
    assert drawn.x0.shape == (20, 1, 8, 8) and drawn.images.dtype == torch.uint8
    assert drawn.sigma_start == 1 and drawn.sigmas[-1] == 0
    # the denoiser knows 200 images by heart: samples lie near them (the least distance of two is 1.3)
    assert torch.cdist(drawn.x0.flatten(1), digits.images.flatten(1)).min(1).values.median() < 1


def test_a_network_draws_what_the_benchmark_draws(digits, tmp_path):
    path = file_of(tmp_path)
    loaded = network.load(path)
    drawn = dpmot.sample(path, digits.way, "edm", 9, num_samples=6)
    rows = seeds.sample_seeds(0, 6)
    x = digits.way.points(prior_noise(rows, (1, 8, 8))).x.double()
    sigmas = torch.from_numpy(karras(5, 1.0, 0.002))
    theirs, nfe = metering.run("edm", TiledDenoiser(loaded.denoiser(5)), x, sigmas, noise=None)
    assert torch.equal(drawn.x0, theirs.float()) and drawn.nfe == nfe == 9
    assert torch.equal(dpmot.sample(loaded, digits.way, "edm", 9, num_samples=6).x0, drawn.x0)
    assert Budgeted.of("edm", {}).num_steps(9) == 5


def test_the_prior_begins_at_sigma_max_with_the_same_noise(digits, tmp_path):
    rows = seeds.sample_seeds(0, 4)
    asked = []

    def first(x, sigma):
        asked.append((x[:4].clone(), float(sigma[0])))
        return digits.denoiser(x, sigma)

    drawn = dpmot.sample(first, "prior", nfe=3, shape=(1, 8, 8), levels=LEVELS, num_samples=4)
    assert torch.equal(asked[0][0], 80 * prior_noise(rows, (1, 8, 8))) and asked[0][1] == 80 == drawn.sigma_start
    assert drawn.source is None
    assert dpmot.sample(file_of(tmp_path), "prior", nfe=2).sigma_start == 80  # a network says its levels and shape


def test_points_and_noise_of_the_caller_are_taken_and_set_dtype(digits, noise):
    named = dpmot.sample(digits.denoiser, digits.way, nfe=3, noise=noise)
    points = dpmot.sample(digits.denoiser, digits.way.start(noise), nfe=3, sigma=1.0)
    assert torch.equal(points.x0, named.x0) and torch.equal(named.source, digits.way.source(noise))
    assert points.source is None
    double = dpmot.sample(digits.denoiser, digits.way.start(noise).double(), nfe=3, sigma=1.0)
    assert double.x0.dtype == torch.float64 and torch.equal(double.x0.float(), named.x0)


def test_own_levels_are_walked(digits):
    asked = []

    def watched(x, sigma):
        asked.append(float(sigma[0]))
        return digits.denoiser(x, sigma)

    drawn = dpmot.sample(watched, digits.way, sigmas=[1.0, 0.5, 0.25, 0], num_samples=2)
    assert asked[1:] == [1.0, 0.5, 0.25] and drawn.sigmas.tolist() == [1.0, 0.5, 0.25, 0] and drawn.nfe == 3


def test_a_module_is_evaluated_in_its_dtype_without_dropout_and_left_as_it_was(digits):
    model = Learned()
    drawn = [dpmot.sample(model, digits.way, nfe=2, num_samples=4).x0 for _ in range(2)]
    assert torch.equal(*drawn) and model.training and model.dropout.training
    model.dropout.eval()
    dpmot.sample(lambda x, sigma: model(x, sigma), digits.way, nfe=2, num_samples=4)
    assert model.training and not model.dropout.training and model.scale.grad is None


def test_labels_of_the_images_reach_a_denoiser_that_takes_them(digits, tmp_path):
    told = []

    def conditional(x, sigma, labels):
        told.append(labels[:5])
        return digits.denoiser(x, sigma)

    drawn = dpmot.sample(conditional, digits.way, nfe=1, num_samples=5)
    assert torch.equal(told[-1], digits.labels[drawn.source]) and torch.equal(drawn.labels, told[-1])
    for given in (3, [3] * 5, np.full(5, 3), torch.full((5,), 3)):
        assert dpmot.sample(conditional, digits.way, nfe=1, num_samples=5, labels=given).labels.tolist() == [3] * 5
        assert told[-1].tolist() == [3] * 5
    plain = dpmot.sample(digits.denoiser, digits.way, nfe=1, num_samples=5)
    assert torch.equal(plain.labels, drawn.labels)  # of the images, which this denoiser is not told
    path = file_of(tmp_path, classes=10)
    assert torch.equal(dpmot.sample(path, digits.way, nfe=1, num_samples=5).labels, drawn.labels)
    with pytest.raises(ValueError, match="The denoiser takes 10 classes: give labels="):
        dpmot.sample(path, "prior", nfe=1)
    with pytest.raises(ValueError, match=re.escape("Labels lie in 10..10; classes are 0..9")):
        dpmot.sample(path, digits.way, nfe=1, labels=10)


def test_a_sigma_that_would_fit_the_last_axis_by_chance_is_never_given():
    """128 rows of images of width 128: x / sigma would divide columns, and nobody would notice."""
    with pytest.raises(RuntimeError, match="must match the size") as told:
        x = torch.randn(128, 1, 2, 128)
        dpmot.sample(lambda x, sigma: x / (1 + sigma**2), x, nfe=1, sigma=1.0)
    assert "sigma.reshape" in told.value.__notes__[0]


WRONG = {  # denoiser -> what is said
    "a tuple": (lambda x, sigma: (x,), r"gave a tuple; it must give one tensor"),
    "flat": (lambda x, sigma: x.flatten(1), r"gave torch.float32 .*; it must give floats of x's shape"),
    "integers": (lambda x, sigma: x.long(), "gave torch.int64"),
    "none": (3, "The denoiser is a int; give a function or module"),
    "a lost file": ("nowhere.safetensors", "No network at nowhere.safetensors"),
}


PREDICTIONS = {  # of something else, at small sigma
    "the noise": lambda x, x0, sigma: (x - x0) / sigma,
    "v": lambda x, x0, sigma: ((x - x0) / sigma - sigma * x0) / (1 + sigma**2) ** 0.5,
    "a velocity": lambda x, x0, sigma: (x - x0) / sigma - x0,
    "a score": lambda x, x0, sigma: (x0 - x) / sigma**2,
}


@pytest.mark.parametrize("what", PREDICTIONS)
def test_a_network_that_predicts_something_else_is_warned_about(digits, what):
    def other(x, sigma):
        return PREDICTIONS[what](x, digits.denoiser(x, sigma), sigma.reshape(-1, 1, 1, 1))

    with pytest.warns(NoDenoiser, match=r"At sigma 0.002 the denoiser changes real images by .*dpmot.denoiser") as told:
        dpmot.sample(other, digits.way, nfe=1)
    assert told[0].filename == __file__


def test_denoisers_are_tried_without_a_word(digits):
    """Among them a poor one: half of its answer is the mean of all images."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dpmot.sample(digits.denoiser, digits.way, nfe=1)
        dpmot.sample(lambda x, sigma: x, digits.way, nfe=1)
        dpmot.sample(lambda x, sigma: 0.6 * x + 0.4 * digits.images.mean(0), digits.way, nfe=1)
        dpmot.sample(lambda x, sigma: x * 0, digits.way, nfe=1, levels=(0.1, 80))  # no level fine enough to tell


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_denoiser_is_refused(digits, what):
    with pytest.raises(ValueError, match=WRONG[what][1]):
        dpmot.sample(WRONG[what][0], digits.way)


def test_nan_stops_with_its_level(digits):
    with pytest.raises(NonFiniteOutput, match="NaN or infinity at sigma 1"):
        dpmot.sample(lambda x, sigma: x * torch.nan, digits.way)


REFUSED = {  # arguments -> error, what is said
    "unknown sampler": ({"sampler": "dimm"}, 'did you mean "ddim"'),
    "unknown option": ({"options": {"et": 1}}, "Sampler ddim has no option et; it has eta"),
    "bad option": ({"options": {"eta": 2}}, "eta must lie in"),
    "no evaluation": ({"nfe": 0}, "nfe = 0; give a whole number"),
    "half an evaluation": ({"nfe": 2.5}, "nfe = 2.5; give a whole number"),
    "counts": ({"num_samples": 3, "seeds": [1, 2]}, "3 samples, 2 seeds: how many samples"),
    "no sample": ({"num_samples": 0}, "num_samples = 0"),
    "no seed": ({"seeds": []}, "0 samples were asked for"),
    "a negative seed": ({"seeds": -1}, "seeds = -1; give a whole number of at least 0"),
    "levels below": ({"levels": (2, 80)}, r"sigma_M = 1 lies outside the network's levels \[2, 80\]"),
    "levels turned": ({"levels": (80, 0.002)}, "levels are 80.0 to 0.002"),
    "levels of one": ({"levels": 3}, r"levels = 3; give \(sigma_min, sigma_max\)"),
    "sigma of a way": ({"sigma": 1.0}, "sigma = 1.0 is for a tensor of points"),
    "shape of others": ({"shape": (3, 8, 8)}, r"shape = \(3, 8, 8\), but the start's images are \(1, 8, 8\)"),
    "no start": ({"start": "piror"}, "start = 'piror'; give an Expressway"),
    "prior without levels": ({"start": "prior"}, r"say levels=\(sigma_min, sigma_max\)"),
    "prior without shape": ({"start": "prior", "levels": LEVELS}, r"shape=\(C, H, W\)"),
    "points without level": ({"start": torch.zeros(2, 1, 8, 8)}, "Points need their noise level"),
    "levels and nfe": ({"nfe": 3, "sigmas": [1, 0]}, "leave out nfe and grid, or sigmas"),
    "levels from elsewhere": ({"sigmas": [2, 1, 0]}, "sigmas go from 2 to 0; give them from 1 to 0"),
    "levels without end": ({"sigmas": [1, 0.5]}, "give them from 1 to 0"),
    "unknown grid": ({"grid": "x"}, 'Unknown grid family "x"'),
    "labels of none": ({"labels": [0.5] * 16}, "Labels are torch.float"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_together_is_refused_in_one_line(digits, what):
    given, match = REFUSED[what]
    with pytest.raises(ValueError, match=match) as told:
        dpmot.sample(digits.denoiser, **{"start": digits.way, **given})
    assert "\n" not in str(told.value)


def test_errors_of_grids_keep_their_types(digits):
    with pytest.raises(BadGrid):
        dpmot.sample(digits.denoiser, digits.way, sigmas=[1, 0.5, 0.6, 0])
    with pytest.raises(UnattainableBudget):
        dpmot.sample(digits.denoiser, digits.way, "ncsnv2", 2)


def test_other_threads_may_evaluate_networks_of_theirs_meanwhile(digits):
    """The audit of stages refuses every network of the process that no sampler paid for; a caller's threads go on."""
    done, faults, model = threading.Event(), [], torch.nn.Linear(4, 4)

    def elsewhere():
        try:
            while not done.is_set():
                model(torch.zeros(2, 4))
        except Exception as error:
            faults.append(error)

    other = threading.Thread(target=elsewhere)
    other.start()
    try:
        drawn = dpmot.sample(digits.denoiser, digits.way, nfe=20, num_samples=64)
    finally:
        done.set()
        other.join()
    assert not faults and drawn.nfe == 20


def test_threads_draw_the_same_samples_with_one_network_in_training(digits):
    model, drawn = Learned(), {}

    def draw(name):
        drawn[name] = dpmot.sample(model, digits.way, ["ddim", "edm", "unipc"][name % 3], 9, num_samples=150).x0

    threads = [threading.Thread(target=draw, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(drawn) == 6 and model.training and model.dropout.training
    assert all(torch.equal(drawn[name], drawn[name + 3]) for name in range(3))
