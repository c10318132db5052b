"""What an exact denoiser hands back from each level of the tables: closed forms, the job, and what it leaves out."""

import pytest
import torch

from dpmot import results
from dpmot.experiment import grid
from dpmot.experiment.checks import ConfigError, parsed
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.stages import ideal, prepare
from dpmot.runtime.files import write_json
from dpmot.theory.recovery import Stored

pytestmark = pytest.mark.usefixtures("one_thread")


def row(points, sigma):
    return ideal.row_of(Stored(torch.tensor(points)), sigma)


def test_atoms_far_apart_come_back_always():
    found = row([[-50.0], [50.0]], 1.0)  # 50 deviations from the border between their cells
    assert found["value"] == pytest.approx(1) and found["chance"] == 0.5 and 0.99 < found["low"] < 1


def test_equal_atoms_are_one_image_which_cannot_but_come_back():
    found = row([[2.0]] * 3, 5.0)
    assert found["value"] == found["chance"] == 1 and found["num_images"] == 3


def test_far_above_the_images_one_in_n_comes_back():
    found = row([[float(k), float(k * k % 7)] for k in range(20)], 1e4)
    assert found["value"] == pytest.approx(1 / 20, abs=0.002)  # p_T = 1/N + O(diameter / sigma)
    assert found["low"] < 1 / 20 < found["high"]


def test_two_atoms_come_back_as_often_as_the_border_is_not_crossed():
    """From -1 and 1 the flow keeps the sign of x: P(1 + sigma eps > 0) = 0.8413 at sigma 1."""
    found = row([[-1.0], [1.0]], 1.0)
    assert found["low"] < 0.8413 < found["high"]


def test_latents_are_fewer_where_each_costs_more():
    assert ideal.latents(599, 64) == 1000 and ideal.latents(50_000, 784) == 54 and ideal.latents(10**6, 3072) == 50


START = {"network": "edm", "sampler": "ddim", "start": "copy"}
METHODS = {
    "low": {**START, "level": [0.02, 1.0]},
    "starred": {**START, "level": "star"},
    "elsewhere": {**START, "targets": "as_code", "level": 3.0},
    "classes": {**START, "network": "told", "level": 4.0},
    "gauss": {**START, "start": "gaussian", "level": 5.0},
    "prior": {"network": "edm", "sampler": "ddim"},
}


def jobs(tmp_path, *names):
    edm = {"kind": "edm", "training": {"steps": 1}}
    given = {
        **{"experiment": "x", "dataset": "digits", "nfe_budgets": [5], "num_samples": 20, "sample_seeds": [0]},
        **{"num_atoms": 30, "networks": {"edm": edm, "told": {**edm, "unet": {"classes": 10}}}},
        **{
            "methods": {name: METHODS[name] for name in names},
            "selection": {"network": "edm", "sampler": "ddim", "nfe": 50, "sigmas": [0.5, 2.0]},
        },
    }
    return Jobs(parsed(given).completed(), Layout(tmp_path / "results"))


def test_levels_are_those_of_starts_at_stored_images_of_networks_that_are_told_no_class(tmp_path):
    assert grid.stored_levels(jobs(tmp_path, *METHODS).experiment) == ((0.02, 1.0), True)
    bare = jobs(tmp_path, "classes", "gauss", "prior")
    assert not bare.stores_images and "ideal" not in [job.name for job in bare.all()]
    with pytest.raises(ConfigError, match="ideal: no method"):
        bare.ideal()


@pytest.mark.parametrize("star", [2.0, None])
def test_the_job_writes_a_row_a_level_and_sigma_star_where_there_is_one(tmp_path, star):
    planned = jobs(tmp_path, "low", "starred")
    prepare.run(planned.prepare(), planned.layout)
    write_json(planned.layout.star, {"sigma": star})
    ideal.run(planned.ideal(), planned.layout)
    table = results.read(planned.layout.ideal, results.IDEAL)
    assert list(table["sigma"]) == [0.02, 1.0, *([2.0] if star else [])]
    assert set(table["num_images"]) == {30} and table["value"].is_monotonic_decreasing
    assert table["value"].iloc[0] == pytest.approx(1) and (table["low"] <= table["value"]).all()
