"""Training: exact resumption, the moving average, the schedule, and a loss that diverges."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from dpmot import seeds
from dpmot.diffusion.acceleration import Acceleration
from dpmot.diffusion.network import NetworkDenoiser
from dpmot.diffusion.networks import ddpm, edm
from dpmot.diffusion.schedule import Schedule
from dpmot.diffusion.training import CURVE, Diverged, Losses, batch_of, fit
from dpmot.diffusion.unet import UNet
from dpmot.images import to_float

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
SCHEDULE = Schedule(steps=12, batch=8, warmup=4)
PLAIN = Acceleration()


class Memory:
    """A checkpoint that keeps copies in memory."""

    def __init__(self):
        self.state, self.steps = None, []

    def load(self):
        return self.state

    def save(self, tensors, facts):
        facts = {"step": facts["step"], "sums": [list(pair) for pair in facts["sums"]]}
        self.state = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}, facts  # as in a file
        self.steps.append(facts["step"])


class Interrupted(Exception):
    pass


def training(parametrisation, *, stop=None, every=20.0, snapshots=(), accelerated=PLAIN, **options):
    torch.manual_seed(0)
    model = UNet(1, channels=8, dropout=0.2)
    denoiser = NetworkDenoiser(parametrisation, accelerated(model))

    def loss_at(step):
        if step == stop:
            raise Interrupted
        return denoiser.losses(batch_of(IMAGES, 0, "training", step, size=SCHEDULE.batch))

    schedule = replace(SCHEDULE, checkpoint_seconds=every, snapshots=snapshots)
    return model, fit(model, loss_at, schedule, seed=0, description="test", **options)


@pytest.mark.parametrize("parametrisation", [ddpm.Parametrisation(), edm.Parametrisation()], ids=["ddpm", "edm"])
@pytest.mark.parametrize("accelerated", [PLAIN, Acceleration(channels_last=True)], ids=["plain", "last"])
@pytest.mark.parametrize("stop", [1, 7, 11])
def test_an_interrupted_run_continues_to_the_same_bits(parametrisation, stop, accelerated):
    model, straight = training(parametrisation, accelerated=accelerated)
    memory = Memory()
    with pytest.raises(Interrupted):
        training(parametrisation, stop=stop, checkpoint=memory, every=-1, accelerated=accelerated)
    assert memory.steps == list(range(1, stop + 1))
    again, resumed = training(parametrisation, checkpoint=memory, every=-1, accelerated=accelerated)
    assert memory.steps[stop:] == list(range(stop + 1, 13))
    assert resumed.losses == straight.losses
    assert all(torch.equal(resumed.weights[name], straight.weights[name]) for name in straight.weights)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_a_snapshot_is_the_average_after_its_steps_whatever_came_between():
    kept = {}
    schedule = {"snapshots": [5, 12], "every": -1}
    _, straight = training(edm.Parametrisation(), snapshot=lambda n, w: kept.setdefault(n, clone(w)), **schedule)
    assert list(kept) == [5, 12] and all(torch.equal(kept[12][name], w) for name, w in straight.weights.items())
    memory, again = Memory(), {}
    with pytest.raises(Interrupted):
        training(edm.Parametrisation(), stop=5, checkpoint=memory, every=-1)
    assert memory.steps[-1] == 5
    tensors, _ = memory.state
    assert all(torch.equal(kept[5][name], tensors[f"average.{name}"]) for name in kept[5])
    training(edm.Parametrisation(), checkpoint=memory, snapshot=lambda n, w: again.setdefault(n, clone(w)), **schedule)
    assert list(again) == [12] and all(torch.equal(kept[12][name], again[12][name]) for name in again[12])


def clone(weights):
    return {name: tensor.clone() for name, tensor in weights.items()}


def test_no_state_is_written_before_its_time():
    memory = Memory()
    training(edm.Parametrisation(), checkpoint=memory, every=3600)
    assert memory.steps == []


def quadratic(schedule, **options):
    """Minimise |p - 3|^2 / 2 over one weight; the weights before each step."""
    model, path = torch.nn.Linear(1, 1, bias=False), []
    torch.nn.init.zeros_(model.weight)

    def loss_at(step):
        path.append(model.weight.item())
        return Losses((model.weight - 3).square().flatten() / 2, torch.ones(1), {})

    result = fit(model, loss_at, schedule, seed=0, description="quadratic", **options)
    return path, model.weight.item(), result


def test_the_average_follows_its_recursion_and_the_first_step_is_the_rate():
    schedule = Schedule(steps=30, lr=0.1, ema=0.8, warmup=5)
    path, last, result = quadratic(schedule)
    assert path[1] == pytest.approx(schedule.rate(0), rel=1e-5)  # Adam's first step has the length of the rate
    average = 0.0
    for step, weight in enumerate([*path[1:], last]):
        decay = min(0.8, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * weight
    assert result.weights["weight"].item() == pytest.approx(average, rel=1e-5)  # float32 against float64


def test_the_loss_curve_is_the_mean_loss_of_each_part_of_the_run():
    path, _, result = quadratic(Schedule(steps=3 * CURVE, lr=0.1))
    losses = [(weight - 3) ** 2 / 2 for weight in path]
    np.testing.assert_allclose(result.losses, np.reshape(losses, (CURVE, 3)).mean(1), rtol=1e-6)


def test_a_curve_with_more_points_than_steps_has_one_point_a_step():
    assert len(quadratic(Schedule(steps=3))[2].losses) == 3


def test_the_rate_warms_up_linearly_and_then_falls_along_a_cosine():
    schedule = Schedule(steps=1000, lr=2.0, warmup=10)
    assert schedule.rate(0) == pytest.approx(0.2)
    assert schedule.rate(4) == pytest.approx(1.0, rel=1e-3)
    assert schedule.rate(500) == pytest.approx(1.0)
    assert schedule.rate(999) == pytest.approx(2 * 0.5 * (1 + math.cos(math.pi * 0.999)))


def test_the_average_forgets_its_start():
    schedule = Schedule(steps=1, ema=0.999)
    assert schedule.decay(0) == 0.1 and schedule.decay(10**6) == 0.999
    assert np.prod([schedule.decay(step) for step in range(100)]) < 1e-9  # weight of the initial values after 100 steps


def test_a_loss_that_diverges_stops_with_the_step_and_what_to_change():
    model = torch.nn.Linear(1, 1)

    def loss_at(step):
        scale = torch.tensor([1.0, math.inf if step == 7 else 1.0, 1.0])
        return Losses(model.weight.sum() * scale, torch.tensor([5.0, 0.25, 9.0]), {})

    told = r"flow: the loss is -?(nan|inf) at step 7, sigma 0\.25; lower `lr` \(now 0\.002\)"
    with pytest.raises(Diverged, match=told):
        fit(model, loss_at, Schedule(steps=20), seed=0, description="flow")


# --- the random batch --------------------------------------------------------------------------------------


def test_a_batch_depends_on_its_key_only():
    first, again, other = (batch_of(IMAGES, 0, "training", step, size=16) for step in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    x0, noise, u, _ = first
    assert x0.shape == noise.shape == (16, 1, 8, 8) and u.shape == (16,)


def test_a_batch_of_stored_images_is_that_of_their_floats():
    stored = torch.randint(256, (20, 1, 8, 8), dtype=torch.uint8)
    one, other = (batch_of(images, 0, "training", 3, size=16) for images in (stored, to_float(stored)))
    assert one.x0.dtype == torch.float32 and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_uniforms_are_stratified_one_to_each_part_of_the_interval():
    _, _, u, _ = batch_of(IMAGES, 0, "training", 0, size=64)
    assert sorted((u * 64).long().tolist()) == list(range(64))


def test_a_uniform_never_rounds_up_to_one_which_would_be_a_level_beyond_the_last(monkeypatch):
    class Extreme:
        """The largest float64 below one, from every uniform."""

        def __init__(self, *key):
            self.stream = np.random.default_rng(0)

        def random(self, size):
            return np.full(size, np.nextafter(1, 0))

        def __getattr__(self, name):
            return getattr(self.stream, name)

    monkeypatch.setattr(seeds, "generator", Extreme)
    for size in (1, 8, 128, 1000):
        x0, noise, u, _ = batch_of(IMAGES, 0, size=size)
        assert u.max() < 1
        loss = ddpm.Parametrisation().loss(lambda x, t: torch.zeros_like(x), x0, noise, u)
        assert loss.isfinite().all()
