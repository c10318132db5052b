"""The contract of a sampler, checked on every file of baselines/."""

import inspect
import json
from functools import cache
from typing import get_args

import pytest
import torch

from baselines import edm as edm_sampler
from dpmot import plugins, seeds
from dpmot.diffusion import metering, permitted
from dpmot.diffusion.budget import Budgeted
from dpmot.diffusion.denoiser import IdealDenoiser, MixtureDenoiser, TiledDenoiser
from dpmot.diffusion.network import NetworkDenoiser
from dpmot.diffusion.networks import edm, meanflow
from dpmot.diffusion.sigmas import FAMILIES, BadGrid, UnattainableBudget, karras
from dpmot.diffusion.unet import UNet
from dpmot.experiment.config import ConfigError, load
from dpmot.experiment.plan import Method

pytestmark = pytest.mark.usefixtures("one_thread")
SAMPLERS = plugins.names("baselines")
# Options that change what a sampler does; those that a new file brings are tried at their defaults.
OPTIONS = {
    "ddim": [{"eta": 1.0}],
    "ddpm": [{"variance": "large"}],
    "deis": [{"order": 1}, {"order": 3, "variable": "log_sigma"}, {"variable": "sigma"}],
    "dpm_solver": [{"order": 1}, {"order": 3}],
    "dpm_solver_pp": [{"order": 1}, {"order": 3}, {"sde": True}],
    "edm": [{"correct": False}, {"churn": 20.0}],
    "er_sde": [{"order": 1}, {"order": 2, "scale": "ode"}, {"scale": "sde"}, {"scale": "er_sde_4"}],
    "gs": [{"order": 1}, {"order": 3}],
    "ipndm": [{"order": 1}, {"order": 2}, {"order": 3}],
    "ncsnv2": [{"denoise": False}, {"steps_per_level": 3}, {"step": 0.1}],
    "pfdiff": [{"skip": 2}, {"skip": 2, "ahead": 2}, {"skip": 3, "ahead": 2}],
    "restart": [{"restarts": 3}, {"inner": 4, "high": 1.0}, {"low": 5.0, "high": 1.0}],
    "sa_solver": [{"predictor": 2, "corrector": 2}, {"corrector": 0}, {"predictor": 1, "corrector": 1}, {"tau": 0.0}],
    "unipc": [{"order": 1}, {"order": 2, "variant": "bh1"}, {"correct": False}],
}
WITH_OPTIONS = [(name, options) for name in SAMPLERS for options in ({}, *OPTIONS.get(name, []))]
torch.manual_seed(0)
DENOISER = MixtureDenoiser(torch.randn(4, 3, dtype=torch.float64), 0.3)
SIGMAS = torch.from_numpy(karras(10, 20.0, 0.02))
X = 20 * torch.randn(30, 3, dtype=torch.float64)
ROWS = seeds.sample_seeds(0, 200)


@pytest.fixture(params=SAMPLERS)
def sampler(request):
    return plugins.find("baselines", request.param)


def asked_by(sampler, denoiser):
    """The denoiser as the sampler asks it: of spans it gives their first tangent."""
    if not getattr(sampler, "SPANS", False):
        return denoiser

    def of_span(x, sigma, to):
        return denoiser(x, sigma)

    of_span.sigma_min = getattr(denoiser, "sigma_min", 0.002)
    return of_span


def small_network(sampler=None):
    """A network with weights that hide no rounding, for images of 1 x 4 x 4."""
    torch.manual_seed(0)
    spans = getattr(sampler, "SPANS", False)
    model = UNet(1, channels=8, multipliers=(1,), attention=False, conditions=2 if spans else 1)
    model = model.eval().requires_grad_(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return NetworkDenoiser(meanflow.Parametrisation() if spans else edm.Parametrisation(), model)


def noise_of(rows, shape=(3,)):
    return lambda step: seeds.normal(rows, shape, "step", step).double()


def draw(sampler, *, denoiser=DENOISER, x=X, sigmas=SIGMAS, callback=None):
    rows = ROWS[: len(x)]
    asked = asked_by(sampler, denoiser)
    return sampler.sample(asked, x, sigmas, noise=noise_of(rows, x.shape[1:]), callback=callback)


def test_a_sampler_has_the_common_signature_and_every_option_is_a_keyword_with_a_default(sampler):
    parameters = inspect.signature(sampler.sample).parameters
    assert list(parameters)[:5] == ["denoiser", "x", "sigmas", "noise", "callback"]
    options = list(parameters.values())[3:]
    assert all(option.kind is inspect.Parameter.KEYWORD_ONLY for option in options)
    assert all(option.default is not inspect.Parameter.empty for option in options)
    first, *rest = inspect.signature(sampler.num_steps).parameters.values()
    assert first.name == "nfe" and all(option.kind is inspect.Parameter.KEYWORD_ONLY for option in rest)


def test_a_sampler_says_what_it_is_what_it_takes_and_which_grid_it_wants(sampler):
    assert sampler.GRID in (None, "vp", *FAMILIES)
    assert inspect.getdoc(sampler) and inspect.getdoc(sampler.num_steps)
    text = inspect.getdoc(sampler.sample)  # what all samplers share stands in baselines/__init__.py
    assert text and all(f"{name}:" in text for name in list(inspect.signature(sampler.sample).parameters)[5:])


def test_what_a_sampler_learns_is_an_option_and_it_says_what_that_takes(sampler):
    for option in getattr(sampler, "LEARNS", ()):
        assert option in inspect.signature(sampler.sample).parameters
        assert sampler.learning(10) > sampler.learning(5) > 5 and callable(sampler.learn)


@cache
def spent(name, steps, options):
    """Evaluations that so many steps take; options as JSON. Neighbouring budgets ask for the same step counts."""
    asked, sigmas = [], torch.from_numpy(karras(steps, 20.0, 0.02))

    def denoiser(x, sigma):
        asked.append(sigma)
        return 0 * x

    denoiser.sigma_min = 0.002
    sampler = plugins.find("baselines", name)
    sampler.sample(asked_by(sampler, denoiser), X[:1], sigmas, noise=lambda i: X[:1], **json.loads(options))
    return len(asked)


@pytest.mark.parametrize(("name", "options"), WITH_OPTIONS, ids=str)
def test_every_budget_from_1_to_100_is_kept_and_no_more_steps_would_fit(name, options):
    method = Method(network="n", sampler=name, options=options)
    budgeted, possible = Budgeted.of(method.sampler, method.options), 0
    for nfe in range(1, 101):
        try:
            n = budgeted.num_steps(nfe)
        except UnattainableBudget as error:
            assert f"NFE {nfe}" in str(error) and not possible  # what fits once fits in every larger budget
            continue
        possible += 1
        counted = spent(name, n, json.dumps(options))
        assert counted == budgeted.evaluations(n) <= nfe < spent(name, n + 1, json.dumps(options))
    assert possible >= 50


WRONG = {int: [0, -1, 1000, "abc", 1.5, True], float: [-1.0, "abc", True], bool: ["yes", 2], str: ["abc", 3]}


def wrong_options():
    for name in SAMPLERS:
        parameters = inspect.signature(plugins.find("baselines", name).sample).parameters
        for option in [*parameters][5:]:
            kind = (*get_args(parameters[option].annotation), parameters[option].annotation)[0]
            for value in WRONG[kind]:
                if (name, option, value) not in FREE:
                    yield name, option, value


# Any number of these is a budget's affair.
FREE = {("ncsnv2", "steps_per_level", 1000), ("restart", "restarts", 1000), ("restart", "inner", 1000)}
FREE |= {("sa_solver", "corrector", 0)}  # none


@pytest.mark.parametrize(("name", "option", "value"), list(wrong_options()))
def test_a_value_that_an_option_cannot_have_is_refused_when_the_run_is_planned(name, option, value):
    method = {"sampler": name, "network": "edm", "options": {option: value}}
    with pytest.raises(ConfigError, match=r"methods.x.options"):
        load(["config/smoke.yaml"], [f"methods={json.dumps({'x': method})}"])


@pytest.mark.parametrize("nfe", [0, -1])
def test_no_budget_is_refused_with_the_smallest_that_would_do(sampler, nfe):
    with pytest.raises(UnattainableBudget, match=rf"at least \d+ evaluation.*NFE {nfe}"):
        sampler.num_steps(nfe)


@pytest.mark.parametrize(
    ("sigmas", "said"),
    [
        ([5.0, 1.0, 2.0, 0.0], "At step 1 of 3 sigma goes from 1 to 2"),
        ([5.0, 5.0, 0.0], "At step 0 of 2 sigma goes from 5 to 5"),
        ([5.0, 0.0, 0.0], "At step 1 of 2 sigma is 0 before the end"),
        ([5.0, 1.0, -1.0], "At step 1 of 2 sigma goes from 1 to -1"),
        ([5.0, float("nan"), 0.0], "At step 0 of 2 sigma goes from 5 to nan"),
        ([5.0], "A grid needs a start and an end|a grid of at least 2 steps"),
    ],
)
def test_a_grid_that_cannot_be_followed_is_refused_before_any_evaluation(sampler, sigmas, said):
    asked = []

    def denoiser(x, sigma):
        asked.append(sigma)
        return DENOISER(x, sigma)

    denoiser.sigma_min = DENOISER.sigma_min
    with pytest.raises((BadGrid, ValueError), match=said):
        draw(sampler, denoiser=denoiser, sigmas=torch.tensor(sigmas, dtype=torch.float64))
    assert not asked


def test_the_denoiser_is_asked_between_the_start_and_the_finest_level_only(sampler):
    asked = []

    def denoiser(x, sigma):
        asked.append(float(sigma))
        return DENOISER(x, sigma)

    denoiser.sigma_min = DENOISER.sigma_min
    draw(sampler, denoiser=denoiser)
    assert asked[0] == SIGMAS[0] and min(asked) >= SIGMAS[-2] and max(asked) == SIGMAS[0]


def test_the_result_keeps_shape_and_type_and_the_start_is_left_alone(sampler):
    x, sigmas = X.clone(), SIGMAS.clone()
    out = draw(sampler, x=x, sigmas=sigmas)
    assert out.shape == X.shape and out.dtype == torch.float64 and out.isfinite().all()
    assert torch.equal(x, X) and torch.equal(sigmas, SIGMAS)


def test_the_same_start_and_noise_give_the_same_bits(sampler):
    assert torch.equal(draw(sampler), draw(sampler))


def test_the_callback_sees_every_step_and_changes_nothing(sampler):
    seen = []
    out = draw(sampler, callback=lambda i, x, denoised: seen.append((i, x.clone(), denoised.clone())))
    assert [i for i, _, _ in seen] == list(range(len(SIGMAS) - 1))
    assert torch.equal(seen[0][1], X) and torch.equal(seen[0][2], DENOISER(X, SIGMAS[0]))
    assert torch.equal(out, draw(sampler))


def test_data_of_one_point_are_met_exactly(sampler):
    point = torch.tensor([[0.3, -0.2, 0.9]], dtype=torch.float64)
    end = draw(sampler, denoiser=IdealDenoiser(point))
    torch.testing.assert_close(end, point.expand_as(end), rtol=0, atol=1e-12)  # float64 against a start of size 20


def test_moving_data_and_start_together_moves_the_samples(sampler):
    shift = torch.tensor([3.0, -1.0, 0.5], dtype=torch.float64)
    moved = draw(sampler, denoiser=MixtureDenoiser(DENOISER.means + shift, DENOISER.std), x=X + shift)
    torch.testing.assert_close(moved, draw(sampler) + shift, rtol=1e-9, atol=1e-9)


class Jumps:
    """What a consistency model knows: D(x, sigma) is where the mixture's own flow leads, by Heun's method."""

    sigma_min, sigma_max = DENOISER.sigma_min, DENOISER.sigma_max

    def __call__(self, x, sigma):
        return edm_sampler.sample(DENOISER, x, torch.from_numpy(karras(20, float(sigma), 0.01)))


def test_sixty_steps_leave_the_samples_as_far_from_the_modes_as_the_data_are(sampler):
    x = 20 * seeds.normal(ROWS, (3,), "prior").double()
    denoiser = Jumps() if getattr(sampler, "JUMPS", False) else DENOISER
    end = draw(sampler, denoiser=denoiser, x=x, sigmas=torch.from_numpy(karras(60, 20.0, 0.02)))
    squared = torch.cdist(end, DENOISER.means).min(1).values.square().mean().item()
    # 3 s^2 in the data; 200 samples: sd 6 %, overlapping modes and 60 steps another 20 %; an unfinished run gives > 2
    assert squared / (3 * DENOISER.std**2) == pytest.approx(1, abs=0.35)


def test_sample_k_is_the_same_bits_in_every_batch_and_order(sampler):
    denoiser = TiledDenoiser(small_network(sampler))
    x = 20 * seeds.normal(ROWS, (1, 4, 4), "prior").double()
    sigmas = torch.from_numpy(karras(4, 20.0, 0.02))

    def sample(index):
        noise = noise_of([ROWS[i] for i in index], (1, 4, 4))
        return sampler.sample(denoiser, x[index], sigmas, noise=noise)

    whole, order = sample(list(range(200))), torch.randperm(200).tolist()
    assert torch.equal(sample(order), whole[order])
    for size in (1, 64, 100):
        assert torch.equal(sample(list(range(size))), whole[:size])


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_file_of_a_sampler_is_arithmetic_on_what_it_is_given(name):
    permitted.check(name)


@pytest.mark.parametrize(("name", "options"), WITH_OPTIONS, ids=str)
def test_a_run_costs_what_was_predicted_and_changes_no_bit(name, options):
    """As an experiment runs it: evaluations are paid for, samples drawn alone are the same (diffusion/metering.py)."""
    rows, budgeted = ROWS[:10], Budgeted.of(name, options)
    steps = budgeted.num_steps(20)
    x, sigmas = 20 * seeds.normal(rows, (1, 4, 4), "prior").double(), torch.from_numpy(karras(steps, 20.0, 0.02))

    def noise(some):
        return noise_of([rows[k] for k in some], (1, 4, 4))

    denoiser = TiledDenoiser(small_network(plugins.find("baselines", name)))
    end, nfe = metering.run(name, denoiser, x, sigmas, noise=noise, options=options)
    assert nfe == budgeted.evaluations(steps)
    direct = plugins.find("baselines", name).sample(denoiser, x, sigmas, noise=noise(range(10)), **options)
    assert torch.equal(end, direct)


def test_what_was_drawn_before_leaves_no_trace(sampler):
    """Samples of more steps and of other data, from the same starts."""
    point = torch.tensor([[0.3, -0.2, 0.9]], dtype=torch.float64)
    few, x = torch.from_numpy(karras(4, 20.0, 0.02)), X + 1
    draw(sampler, denoiser=IdealDenoiser(point), x=x)
    after = draw(sampler, x=x, sigmas=few)
    assert torch.equal(after, metered(sampler, x, few))


def metered(sampler, x, sigmas):
    """The same by a copy of the plug-in that has drawn nothing."""
    name = sampler.__name__.rpartition(".")[2]
    return draw(metering.fresh(name), x=x, sigmas=sigmas)
