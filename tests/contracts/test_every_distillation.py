"""The contract of a distillation, checked on every file of baselines/distillation/ at the image shape it states."""

import inspect
from dataclasses import replace

import pytest
import torch

from dpmot import plugins
from dpmot.diffusion import network
from dpmot.diffusion.schedule import Schedule

pytestmark = pytest.mark.usefixtures("one_thread")
METHODS = plugins.names("distillation")
UNET = {"channels": 8, "multipliers": [1], "attention": False, "dropout": 0.2}
SCHEDULE = Schedule(steps=5, batch=8, warmup=2)


@pytest.fixture(params=METHODS)
def method(request):
    return plugins.find("distillation", request.param)


def shape_of(method):
    return getattr(method, "SHAPE", (1, 4, 4))


def images_of(method):
    return torch.rand(30, *shape_of(method), generator=torch.Generator().manual_seed(0)) * 2 - 1


def card_of(method, **unet):
    return {"kind": "edm", "options": {}, "shape": list(shape_of(method)), "unet": {**UNET, **unet}}


def teacher(method, **unet):
    torch.manual_seed(0)
    model = network.build(card_of(method, **unet))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network.NetworkDenoiser(network.parametrisation(card_of(method)), model)


def distil(method, *, seed=0):
    return train(method, teacher(method), images_of(method), seed=seed)


def train(method, network, images, schedule=SCHEDULE, *, seed=0, labels=None):
    sizes = {"step_counts": (4, 2), "pairs": 40}  # of these the method has what it takes
    options = {name: value for name, value in sizes.items() if name in inspect.signature(method.train).parameters}
    chain = network.parametrisation.chain
    return method.train(network, chain, images, schedule, seed=seed, labels=labels, **options)


def counted(method):
    """Whether it makes one network a step count; else one for all, under the key None."""
    return "step_counts" in inspect.signature(method.train).parameters


def test_a_distillation_has_the_common_signature(method):
    parameters = inspect.signature(method.train).parameters
    assert list(parameters)[:4] == ["teacher", "chain", "images", "schedule"]
    assert {"seed", "labels", "checkpoint"} <= set(list(parameters)[4:])
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in list(parameters.values())[4:])
    assert inspect.getdoc(method) and "Returns:" in inspect.getdoc(method.train)


def test_every_step_count_has_weights_that_fit_the_teachers_network_and_differ_from_it(method):
    students, weights = distil(method), teacher(method).model.state_dict()
    assert set(students) == ({2, 4} if counted(method) else {None})
    for student in students.values():
        assert student.keys() == weights.keys()
        assert all(student[name].shape == weights[name].shape and student[name].isfinite().all() for name in weights)
        assert any(not torch.equal(student[name], weights[name]) for name in weights)


def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before_and_another_seed_others(method):
    first = distil(method)
    torch.rand(7)
    again, other = distil(method), distil(method, seed=1)
    for key in first:
        assert all(torch.equal(first[key][name], again[key][name]) for name in first[key])
        assert any(not torch.equal(first[key][name], other[key][name]) for name in first[key])


def test_the_teacher_and_the_images_are_left_as_they_were(method):
    used, images = teacher(method), images_of(method)
    train(method, used, images)
    assert torch.equal(images, images_of(method))
    before = teacher(method).model.state_dict()
    assert all(torch.equal(before[name], after) for name, after in used.model.state_dict().items())


def test_students_are_asked_only_at_the_levels_that_the_network_file_gives_them(method, tmp_path, monkeypatch):
    """What trained them and what samples them must be one grid."""
    asked, alive, call = {}, [], network.NetworkDenoiser.__call__

    def recorded(self, x, sigma, labels=None):
        if torch.is_grad_enabled():  # the student; a teacher's target takes no gradient
            asked.setdefault(id(self), set()).update(sigma.tolist())
            alive.append(self)  # or another student may get its id
        return call(self, x, sigma, labels)

    monkeypatch.setattr(network.NetworkDenoiser, "__call__", recorded)
    students = train(method, teacher(method), images_of(method), Schedule(40, 16))
    monkeypatch.undo()
    path = tmp_path / "student.safetensors"
    if not counted(method):
        network.save(path, card_of(method), students)
        chain, (levels,) = network.load(path).chain, asked.values()
        assert chain.step_counts is None and chain.sigma_min < min(levels)  # the boundary is given, not learnt
        assert max(levels) == pytest.approx(chain.sigma_max)
        return
    network.save(path, {**card_of(method), "step_counts": sorted(students)}, students)
    chain = network.load(path).chain
    assert chain.step_counts == replace(chain).step_counts == (2, 4)
    grids = [set(torch.from_numpy(chain.grid(n, chain.sigma_max)[:-1].copy()).float().tolist()) for n in (4, 2)]
    assert list(asked.values()) == grids


def test_a_teacher_with_classes_passes_its_labels_on(method, monkeypatch):
    conditional, images, given = teacher(method, classes=3), images_of(method), []
    forward = type(conditional.model).forward

    def recorded(self, x, condition, labels=None):
        given.append(labels)
        return forward(self, x, condition, labels)

    monkeypatch.setattr(type(conditional.model), "forward", recorded)
    students = train(method, conditional, images, labels=torch.arange(len(images)) % 3)
    assert given and all(labels is not None and labels.max() < 3 for labels in given)
    assert all("label.weight" in student for student in students.values())
