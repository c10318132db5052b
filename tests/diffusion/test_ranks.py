"""Training by two processes: the weights of one, whatever is drawn in a step; resumed by another number; refusals.

Both processes are started once and run all cases. Tolerances are ten times the largest difference that was seen, which
is rounding, amplified by Adam; on two threads instead of one, one process differs from itself by ten times as much.
Weights are compared through what the network answers: a bias that a normalisation takes away again has a gradient of
rounding alone, which Adam makes a step of the full rate.
"""

import json

import pytest
import torch
from torch import nn

from dpmot.couplings import Minibatch, SemiDiscrete
from dpmot.diffusion.acceleration import Acceleration
from dpmot.diffusion.network import NetworkDenoiser
from dpmot.diffusion.networks import ddpm, edm, meanflow
from dpmot.diffusion.ranks import Ranks, Shared
from dpmot.diffusion.schedule import Schedule
from dpmot.diffusion.training import Drop, Paired, batch_of, fit
from dpmot.diffusion.unet import UNet
from dpmot.runtime import together
from dpmot.runtime.together import Place

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
LABELS = torch.arange(40) % 3
SCHEDULE = Schedule(steps=8, batch=9, warmup=4, checkpoint_seconds=-1)  # 9: parts of 4 and 5
TOLERANCE = {"losses": 2e-5, "answers": 1e-4}  # of the largest value
ROUNDED = {"losses": 2e-3, "answers": 1e-2}  # in bfloat16, whose rounding is 4e-3
HEIGHTS = torch.linspace(-0.5, 0.5, 40, dtype=torch.float64)
CASES = {
    "plain": {},
    "dropout": {"dropout": 0.2},
    "last": {"dropout": 0.2, "accelerated": Acceleration(channels_last=True)},
    "bfloat16": {"accelerated": Acceleration(precision="bfloat16")},
    "labels": {"labels": LABELS, "dropout": 0.2, "kind": ddpm.Parametrisation()},
    "meanflow": {"kind": meanflow.Parametrisation(), "labels": LABELS, "dropout": 0.2},
    "minibatch": {"images": Paired(IMAGES, Minibatch(IMAGES, noises=12))},
    "semidiscrete": {"images": Paired(IMAGES, SemiDiscrete.of(IMAGES, HEIGHTS, tau=2.0, mirrored=True))},
}
STOP = 3


class Interrupted(Exception):
    pass


class Kept:
    """A checkpoint in memory."""

    def __init__(self, state=None):
        self.state = state

    def load(self):
        return self.state

    def save(self, tensors, facts):
        self.state = {name: tensor.clone() for name, tensor in tensors.items()}, json.loads(json.dumps(facts))


def training(place, *, kind=None, labels=None, dropout=0.0, images=IMAGES, accelerated=None, stop=None, kept=None):
    """Losses, the answers of the trained network, and what :class:`Kept` holds, of one process or of one of several."""
    kind = kind or edm.Parametrisation()
    torch.manual_seed(0)
    classes = {} if labels is None else {"classes": 3, "no_class": True}
    model = UNet(
        1,
        channels=8,
        multipliers=(1,),
        embedding=16,
        dropout=dropout,
        conditions=getattr(kind, "conditions", 1),
        **classes,
    )
    nn.init.normal_(model.outlet[-1].weight, std=0.05)  # zero at first, so that nothing behind it would learn
    trained = (accelerated or Acceleration())(model)
    ranks = Ranks(place, SCHEDULE.batch) if place else None
    denoiser = NetworkDenoiser(kind, Shared(trained, ranks, "x") if ranks else trained)

    def loss_at(step):
        if step == stop:
            raise Interrupted
        batch = batch_of(images, 0, "training", step, size=SCHEDULE.batch)
        return denoiser.losses(batch, labels, drop=None if labels is None else Drop(0.3, 3))

    kept = Kept() if kept is None else kept
    own = kept if ranks is None or ranks.first else None
    try:
        result = fit(model, loss_at, SCHEDULE, seed=0, description="test", checkpoint=own, together=ranks)
    except Interrupted:
        return kept.state
    x = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        told = None if labels is None else LABELS[:16]
        answers = NetworkDenoiser(kind, model)(x, torch.linspace(0.1, 3, 16), told)
    return {"losses": torch.tensor(result.losses), "answers": answers, "sizes": ranks.sizes if ranks else [1]}


def checked(place, *, kind=None, labels=None, dropout=0.0, accelerated=None):
    """Whether a network that may be shared is found to be so, and is in train mode again."""
    kind = kind or edm.Parametrisation()
    classes = {} if labels is None else {"classes": 3, "no_class": True}
    conditions = getattr(kind, "conditions", 1)
    model = UNet(1, channels=8, multipliers=(1,), embedding=16, dropout=dropout, conditions=conditions, **classes)
    nn.init.normal_(model.outlet[-1].weight, std=0.05)
    ranks = Ranks(place, SCHEDULE.batch)
    network = Shared((accelerated or Acceleration())(model), ranks, "networks.x")
    batch = batch_of(IMAGES, 0, "training", 0, size=SCHEDULE.batch)
    ranks.check([batch.x0, batch.noise, batch.u], "networks.x")
    drop, denoiser = None if labels is None else Drop(0.3, 3), NetworkDenoiser(kind, network)
    network.train()
    network.check(lambda: denoiser.losses(batch, labels, drop=drop).values)
    return all(layer.training for layer in model.modules())


def by_one_of_two(folder, place):
    """What each of two processes does: all cases, one interrupted, and one that goes on from a run of one process."""
    torch.set_num_threads(1)
    with together.joined(place, torch.device("cpu")):
        found = {name: training(place, **case) for name, case in CASES.items()}
        found["again"] = training(place, **CASES["dropout"])
        found["state"] = training(place, **CASES["dropout"], stop=STOP)
        alone = torch.load(folder / "alone.pt") if place.first else None
        found["resumed"] = training(place, **CASES["dropout"], kept=Kept(alone))
        found["checked"] = [checked(place, **CASES[name]) for name in ("labels", "meanflow", "bfloat16")]
        with pytest.raises(ValueError, match=r"^networks.x: the processes have drawn different batches; give all the"):
            Ranks(place, 9).check([IMAGES + place.rank], "networks.x")
    if place.first:
        torch.save(found, folder / "found.pt")


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    threads, folder = torch.get_num_threads(), tmp_path_factory.mktemp("two")
    torch.set_num_threads(1)  # as in the tests, whose fixture comes after this one
    torch.save(training(None, **CASES["dropout"], stop=STOP), folder / "alone.pt")
    torch.set_num_threads(threads)
    together.launch(by_one_of_two, (folder,), 2)
    return torch.load(folder / "found.pt")


def apart(one, other):
    return float((one - other).abs().max() / other.abs().max())


def assert_equal(found, expected, tolerance=None):
    for key, most in (tolerance or TOLERANCE).items():
        assert apart(found[key], expected[key]) < most, key


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_processes_train_the_network_of_one(by_two, name):
    assert_equal(by_two[name], training(None, **CASES[name]), ROUNDED if name == "bfloat16" else TOLERANCE)
    assert by_two[name]["sizes"] == [2]


@pytest.mark.slow
def test_networks_that_may_be_shared_pass_the_check(by_two):
    assert by_two["checked"] == [True, True, True]


@pytest.mark.slow
def test_two_processes_give_the_same_bits_twice(by_two):
    assert torch.equal(by_two["again"]["answers"], by_two["dropout"]["answers"])


@pytest.mark.slow
def test_a_run_that_two_began_is_ended_by_one_and_the_other_way_round(by_two):
    straight = training(None, **CASES["dropout"])
    assert by_two["state"][1]["step"] == STOP and by_two["state"][1]["sizes"] == [2]
    kept = Kept(by_two["state"])
    assert_equal(training(None, **CASES["dropout"], kept=kept), straight)
    assert kept.state[1]["sizes"] == [2, 1]
    assert_equal(by_two["resumed"], straight)
    assert by_two["resumed"]["sizes"] == [1, 2]


# --- one process by itself -----------------------------------------------------------------------------------


def shared(model, rank=1, batch=9):
    return Shared(model, Ranks(Place(rank, 2, rank, ""), batch), "networks.x")


def test_parts_make_up_the_batch_and_their_means_its_mean():
    values = torch.rand(9, dtype=torch.float64)
    for size in range(1, 10):
        ranks = [Ranks(Place(rank, size, rank, ""), 9) for rank in range(size)]
        rows = [k for one in ranks for k in range(9)[one.rows]]
        assert rows == list(range(9)) and all(one.rows.stop > one.rows.start for one in ranks)
        assert float(sum(one.part(values) for one in ranks)) == pytest.approx(float(values.mean()), rel=1e-12)


class Noisy(nn.Module):
    """A network with a layer of one's choice."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, condition):
        return self.layer(x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("inplace", [False, True])
def test_dropout_in_a_part_is_that_of_the_whole_batch_and_so_are_later_numbers(layout, inplace):
    x, model = torch.rand(9, 3, 4, 4).to(memory_format=layout), Noisy(nn.Dropout(0.4, inplace=inplace))
    torch.manual_seed(3)
    whole, after = model(x.clone(), x), torch.rand(4)
    for rank, rows in ((0, slice(0, 4)), (1, slice(4, 9))):
        torch.manual_seed(3)
        part = shared(model, rank)(x.clone(), x)
        assert torch.equal(part[rows], whole[rows]) and torch.equal(torch.rand(4), after)
        assert not part[: rows.start].any() and not part[rows.stop :].any()


def test_other_rows_than_the_batch_are_evaluated_whole():
    assert torch.equal(shared(Noisy(nn.Identity()))(torch.ones(5, 1), torch.ones(5)), torch.ones(5, 1))


class Mixed(nn.Module):
    def forward(self, x):
        return x - x.mean(0)


class Drawn(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (nn.BatchNorm2d(3), "networks.x: batch normalisation would see a part of each batch; give processes=1"),
        (Drawn(), "networks.x: the network draws random numbers otherwise than by nn.Dropout, and processes cannot"),
        (nn.Dropout2d(0.5), "networks.x: the network draws random numbers otherwise than by nn.Dropout"),
        (
            nn.Sequential(nn.Flatten(0, 1), nn.Dropout(0.5)),
            "networks.x: dropout of 15 rows, which are not those of the",
        ),
        (Mixed(), "networks.x: the network's answer to an image depends on the images beside it; give processes=1"),
    ],
)
def test_a_network_that_parts_would_change_is_refused(model, told):
    with pytest.raises(ValueError, match=f"^{told}"):
        network = shared(Noisy(model))
        network.check(lambda: network(torch.rand(9, 3, 4, 4), torch.rand(9)).flatten(1).sum(1))


def test_a_loss_that_is_none_of_each_image_by_itself_is_refused():
    network, x = shared(Noisy(nn.Identity())), torch.rand(9, 3)
    network.check(lambda: network(x, x).sum(1))
    with pytest.raises(
        ValueError, match=r"^networks.x: the loss has shape \(\), and processes share one of shape \(9,\)"
    ):
        network.check(lambda: network(x, x).mean())
    with pytest.raises(ValueError, match=r"^networks.x: the loss of an image depends on the images beside it; give"):
        network.check(lambda: (network(x, x) - network(x, x).mean()).sum(1))
