"""The contract of a distillation, checked on every file of baselines/distillation/."""

import inspect
from dataclasses import replace

import pytest
import torch

from dpmot import plugins
from dpmot.diffusion import network
from dpmot.diffusion.training import Schedule

pytestmark = pytest.mark.usefixtures("one_thread")
METHODS = plugins.names("distillation")
CARD = {
    "kind": "edm",
    "options": {},
    "shape": [1, 4, 4],
    "unet": {"channels": 8, "multipliers": [1], "attention": False},
}
IMAGES = torch.rand(30, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
SCHEDULE = Schedule(steps=5, batch=8, warmup=2)


@pytest.fixture(params=METHODS)
def method(request):
    return plugins.find("distillation", request.param)


def teacher():
    torch.manual_seed(0)
    model = network.build(CARD)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network.NetworkDenoiser(network.parametrisation(CARD), model)


def distil(method, *, seed=0):
    one = teacher()
    return method.train(one, one.parametrisation.chain, IMAGES, SCHEDULE, seed=seed, step_counts=(4, 2))


def test_a_distillation_has_the_common_signature(method):
    parameters = inspect.signature(method.train).parameters
    assert list(parameters)[:4] == ["teacher", "chain", "images", "schedule"]
    assert {"seed", "step_counts", "checkpoint"} <= set(list(parameters)[4:])
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in list(parameters.values())[4:])
    assert inspect.getdoc(method) and "Returns:" in inspect.getdoc(method.train)


def test_every_step_count_has_weights_that_fit_the_teachers_network_and_differ_from_it(method):
    students, weights = distil(method), teacher().model.state_dict()
    assert sorted(students) == [2, 4]
    for student in students.values():
        assert student.keys() == weights.keys()
        assert all(student[name].shape == weights[name].shape and student[name].isfinite().all() for name in weights)
        assert any(not torch.equal(student[name], weights[name]) for name in weights)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(method):
    first, again, other = distil(method), distil(method), distil(method, seed=1)
    assert all(torch.equal(first[2][name], again[2][name]) for name in first[2])
    assert any(not torch.equal(first[2][name], other[2][name]) for name in first[2])


def test_the_teacher_and_the_images_are_left_as_they_were(method):
    one, images = teacher(), IMAGES.clone()
    method.train(one, one.parametrisation.chain, images, SCHEDULE, seed=0, step_counts=(2,))
    assert torch.equal(images, IMAGES)
    before = teacher().model.state_dict()
    assert all(torch.equal(before[name], after) for name, after in one.model.state_dict().items())


def test_students_are_asked_only_at_the_levels_that_the_network_file_gives_them(method, tmp_path, monkeypatch):
    """What trained them and what samples them must be one grid."""
    asked, call = {}, network.NetworkDenoiser.__call__

    def recorded(self, x, sigma):
        if torch.is_grad_enabled():  # the student; a teacher's target takes no gradient
            asked.setdefault(id(self), set()).update(sigma.tolist())
        return call(self, x, sigma)

    monkeypatch.setattr(network.NetworkDenoiser, "__call__", recorded)
    one = teacher()
    students = method.train(one, one.parametrisation.chain, IMAGES, Schedule(40, 16), seed=0, step_counts=(4, 2))
    monkeypatch.undo()
    path = tmp_path / "student.safetensors"
    network.save(path, {**CARD, "step_counts": sorted(students)}, students)
    chain = network.load(path).chain
    assert chain.step_counts == replace(chain).step_counts == (2, 4)
    grids = [set(torch.from_numpy(chain.grid(n, chain.sigma_max)[:-1].copy()).float().tolist()) for n in (4, 2)]
    assert list(asked.values()) == grids
