"""Runs of a sampler that are paid for: counts, and samples that share a start."""

import pytest
import torch

from dpmot.diffusion import metering
from dpmot.diffusion.audit import Audit, Uncounted
from dpmot.diffusion.denoiser import MixtureDenoiser
from dpmot.diffusion.sigmas import karras

pytestmark = pytest.mark.usefixtures("one_thread")
DENOISER = MixtureDenoiser(torch.randn(4, 3, dtype=torch.float64), 0.3)
SIGMAS = torch.from_numpy(karras(5, 20.0, 0.02))


def noise(rows):
    return lambda step: torch.stack([torch.full((3,), float(k + step), dtype=torch.float64) for k in rows])


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("sampler", ["ddpm", "edm"])
def test_any_number_of_samples_can_be_drawn(sampler, number):
    x = torch.randn(number, 3, dtype=torch.float64)
    end, nfe = metering.run(sampler, DENOISER, x, SIGMAS, noise=noise)
    assert end.shape == x.shape and nfe == {"ddpm": 5, "edm": 9}[sampler]


def test_one_more_evaluation_after_the_end_is_counted():
    x = torch.randn(5, 3, dtype=torch.float64)
    end, nfe = metering.run("ddim", DENOISER, x, SIGMAS, noise=noise)
    again, one_more = metering.run("ddim", DENOISER, x, SIGMAS, noise=noise, final=0.1)
    assert one_more == nfe + 1 and torch.equal(again, DENOISER(end, torch.tensor(0.1, dtype=torch.float64)))


@pytest.mark.parametrize(
    ("sampler", "options", "draws"),
    [
        *(("ddim", {}, False), ("ddim", {"eta": 1.0}, True), ("edm", {}, False), ("edm", {"churn": 9.0}, True)),
        *(("ddpm", {}, True), ("consistency", {}, True), ("restart", {}, True), ("unipc", {}, False)),
    ],
)
def test_whether_a_sampler_draws_noise_is_found_without_a_network(sampler, options, draws):
    x = torch.randn(5, 3, dtype=torch.float64)
    assert metering.draws_noise(sampler, x, SIGMAS, options) == draws
    if draws:
        with pytest.raises(metering.NoiseDrawn):
            metering.run(sampler, DENOISER, x, SIGMAS, noise=None, options=options)


def test_a_network_is_evaluated_by_whom_it_is_paid_alone():
    x, audit = torch.zeros(2, 3), Audit()
    with audit.running(), audit.paid():
        DENOISER(x, torch.tensor(1.0))
    assert audit.rows == {"MixtureDenoiser": 2} and audit.fault is None
    with audit.running(), pytest.raises(Uncounted, match="on 2 rows, beside D"):
        DENOISER(x, torch.tensor(1.0))
    audit = Audit()
    with audit.running(), pytest.raises(Uncounted, match="Linear was evaluated"):
        torch.nn.Linear(3, 3)(x)
    torch.nn.Linear(3, 3)(DENOISER(x, torch.tensor(1.0)))  # afterwards all is as before


def test_a_count_that_the_network_does_not_share_is_refused():
    meter = metering.Meter(DENOISER, torch.zeros(2, 3))
    meter.audit.rows["MixtureDenoiser"] = 4
    with pytest.raises(Uncounted, match=r"MixtureDenoiser counted 4 rows where D.* was asked for 0"):
        meter.settle()


def test_rounding_is_alike_and_one_large_row_hides_nothing_in_another():
    rows = torch.randn(4, 3, dtype=torch.float64)
    assert metering.alike(rows.float().double(), rows) and metering.alike(rows.float(), rows)
    assert not metering.alike(rows * (1 + 1e-4), rows) and not metering.alike(rows[:3], rows)
    rows[0] = 1e9
    moved = rows.clone()
    moved[1] += 1e-3
    assert not metering.alike(moved, rows)
    for value in (torch.tensor(2.0), torch.full((2, 3), torch.inf), torch.full((2,), torch.nan)):
        assert metering.alike(value, value.clone()) and not metering.alike(value, torch.zeros_like(value))
