"""Starts that are fitted: one file for every distinct fit, whatever levels, samplers and networks follow."""

import json

import pytest
import torch

from dpmot import seeds
from dpmot.diffusion.network import Network
from dpmot.diffusion.sigmas import edm_chain
from dpmot.experiment.checks import ConfigError
from dpmot.experiment.config import load
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.stages import fit, prepare
from dpmot.experiment.stages._prepared import read_data
from dpmot.experiment.stages.sample import LoadedMethod
from dpmot.mixtures.gaussians import Gaussians
from dpmot.runtime import seals
from dpmot.runtime.files import read_json
from dpmot.starts import prior_noise

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = ["mixture_components_10", "mixture_by_labels_components_1", "mixture_components_10_part_half"]


def options(**start_options):
    method = "{network: edm, sampler: ddim, start: mixture, level: [1, 2], start_options: %s}"
    return method % json.dumps(start_options)


def experiment(tmp_path, **methods):
    """An experiment on digits with these methods."""
    text = "experiment: x\ndataset: digits\nnfe_budgets: [5]\nnum_samples: 50\nsample_seeds: [0]\n"
    text += "networks: {edm: {kind: edm, training: {steps: 2}}}\nmethods:\n"
    text += "".join(f"  {name}: {method}\n" for name, method in methods.items())
    file = tmp_path / "x.yaml"
    file.write_text(text, encoding="utf-8")
    return load([str(file)])


@pytest.fixture
def planned(tmp_path):
    """Jobs of several methods, of which two have one fit."""
    methods = {
        "ten": options(components=10),
        "again": options(components=10, part="all"),
        "by_class": options(by="labels", components=1),
        "half": options(components=10, part="half"),
        "prior": "{network: edm, sampler: ddim}",
    }
    return Jobs(experiment(tmp_path, **methods), Layout(tmp_path / "results"))


def test_methods_that_differ_only_in_level_or_network_share_a_fit(planned):
    assert list(planned.fits) == NAMES
    jobs = planned.compute()
    assert [job.name for job in jobs if job.stage == "fit"] == [f"fit_{name}" for name in NAMES]
    reads = {job.name: {file.parent.name for file in job.inputs} for job in jobs if job.stage == "sample"}
    assert all(("fits" in reads[f"sample_{name}"]) == (name != "prior") for name in planned.experiment.methods)
    one, other = (planned.sample(name).inputs for name in ("ten", "again"))
    assert one == other


def test_names_of_fits_are_plain_and_distinct(tmp_path):
    odd = [{"shrinkage": 0.5}, {"shrinkage": 0.05}, {"shrinkage": 1}, {"components": 10, "rank": 3}, {}]
    names = list(
        Jobs(experiment(tmp_path, **{f"m{i}": options(**one) for i, one in enumerate(odd)}), Layout(tmp_path)).fits
    )
    assert len(set(names)) == 5 and all(name.replace("_", "").isalnum() and name == name.lower() for name in names)


def test_a_fit_is_the_same_file_every_time_and_says_what_it_is(planned, capsys):
    layout, job = planned.layout, planned.fit(NAMES[0])
    prepare.run(planned.prepare(), layout)
    fit.run(job, layout)
    first = layout.fit(NAMES[0]).read_bytes()
    facts = read_json(layout.facts_of_fit(NAMES[0]))
    assert facts["images"] == 599 and facts["bytes_of_images"] == 599 * 64 and facts["components"] == 10
    assert facts["bytes"] == len(first) <= facts["bytes_of_images"] and facts["seconds"] >= 0
    # under little noise the fitted images are likelier than others, by more than rounding
    assert facts["log_likelihood_fitted"][0] > facts["log_likelihood_held_out"][0] + 0.01
    assert "bytes for 38,336 of 599 images" in capsys.readouterr().out
    layout.fit(NAMES[0]).unlink()
    fit.run(job, layout)
    assert layout.fit(NAMES[0]).read_bytes() == first
    assert "seconds" not in json.loads(seals.load(layout.fit(NAMES[0]))[1]["facts"])


def test_the_start_of_a_method_is_given_its_fit(planned):
    layout = planned.layout
    prepare.run(planned.prepare(), layout)
    fit.run(planned.fit(NAMES[1]), layout)
    tensors, _ = seals.load(layout.fit(NAMES[1]))
    task = planned.sample("by_class").task
    assert task.fit == NAMES[1] and "fit" not in planned.sample("by_class").identity["task"]
    network = Network({"kind": "edm", "options": {}, "shape": [1, 8, 8], "unet": {}}, edm_chain(), {None: None})
    method = LoadedMethod(task, network, read_data(layout.data)[0]["A"], {}, {}, fitted=tensors)
    rows = seeds.sample_seeds(0, 20)
    points, gaussians = method.start(2.0)(rows), Gaussians.of(tensors)
    z = prior_noise(rows, (1, 8, 8)).flatten(1)
    assert torch.equal(points.x.flatten(1), gaussians.points(z, gaussians.choose(rows), 2.0))


def test_halves_are_disjoint_and_all_of_the_images():
    images = torch.arange(101)[:, None]
    one, labels, other = fit.halves(images, torch.arange(101) % 7, 0)
    assert len(one) == 50 and torch.equal(torch.cat([one, other]).sort(0).values, images)
    assert torch.equal(labels, one[:, 0] % 7)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"components": 0}, "methods.x.components: 0; give a whole number of at least 1"),
        ({"part": "third"}, "methods.x.part: 'third' is not one of these; allowed: all, half"),
        ({"clusters": 3}, 'methods.x.start_options: unknown option "clusters"; allowed: components, by, rank'),
        ({"by": "label"}, "methods.x.by: 'label' is not one of them; allowed: kmeans, labels"),
    ],
)
def test_what_no_fit_takes_is_refused_before_anything_runs(tmp_path, given, told):
    with pytest.raises(ConfigError, match=told.replace("(", r"\(")):
        experiment(tmp_path, x=options(**given))


def test_part_is_only_of_starts_that_are_fitted(tmp_path):
    with pytest.raises(ConfigError, match='start_options: unknown option "part"; allowed: none'):
        experiment(tmp_path, x="{network: edm, sampler: ddim, start: gaussian, level: 1, start_options: {part: half}}")


def test_a_fit_that_these_images_cannot_have_is_refused_by_its_name(tmp_path):
    jobs = Jobs(experiment(tmp_path, x=options(components=600)), Layout(tmp_path / "results"))
    prepare.run(jobs.prepare(), jobs.layout)
    with pytest.raises(ValueError, match="mixture_components_600: components: 600 are more than the 599 images"):
        fit.run(jobs.fit("mixture_components_600"), jobs.layout)


def test_a_fit_that_is_not_planned_is_refused_with_those_that_are(planned):
    with pytest.raises(ConfigError, match=r'No fit "mixture_10" in this experiment.*found mixture_components_10, '):
        planned.fit("mixture_10")
