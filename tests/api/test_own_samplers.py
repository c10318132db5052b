"""A sampler that is a function: it draws what the same file draws, is counted like it, and is refused in one line."""

import itertools

import pytest
import torch

import dpmot
from baselines import ddim, edm
from dpmot.diffusion.audit import Uncounted

pytestmark = pytest.mark.usefixtures("one_thread")


def euler(denoiser, x, sigmas):
    """The shortest that a sampler can be."""
    for sigma, to in itertools.pairwise(sigmas):
        x = x + (to - sigma) / sigma * (x - denoiser(x, sigma))
    return x


def drawn(digits, sampler, nfe=4, **options):
    return dpmot.sample(digits.denoiser, digits.way, sampler, nfe, num_samples=6, **options)


def test_a_function_draws_what_its_file_draws(digits):
    for eta in (0.0, 1.0):
        own, file = (drawn(digits, one, options={"eta": eta}) for one in (ddim.sample, "ddim"))
        assert torch.equal(own.x0, file.x0) and own.nfe == file.nfe == 4
    own = drawn(digits, edm.sample, 9, num_steps=edm.num_steps, grid="karras")
    file = drawn(digits, "edm", 9, grid="karras")
    assert torch.equal(own.x0, file.x0) and own.nfe == file.nfe == 9


def test_the_shortest_function_will_do_and_its_evaluations_are_counted(digits):
    own = drawn(digits, euler)
    assert own.nfe == 4 and len(own.sigmas) == 5
    assert torch.allclose(
        own.x0, drawn(digits, "ddim").x0, atol=1e-5
    )  # rounding of float32: the same steps in other words
    prior = dpmot.sample(digits.denoiser, "prior", euler, 4, shape=(1, 8, 8), num_samples=6, levels=(0.002, 80.0))
    assert prior.sigma_start == 80
    levels = dpmot.sample(digits.denoiser, digits.way, euler, sigmas=[digits.way.sigma, 0.5, 0], num_samples=6)
    assert levels.nfe == 2


def test_more_than_was_asked_for_is_refused_unless_steps_are_said(digits):
    def twice(denoiser, x, sigmas, *, noise=None):
        return euler(lambda x, sigma: (denoiser(x, sigma) + denoiser(x, sigma)) / 2, x, sigmas)

    with pytest.raises(ValueError, match="spent 8 evaluations a sample, 4 were asked for: say num_steps"):
        drawn(digits, twice)
    assert drawn(digits, twice, num_steps=lambda nfe: nfe // 2).nfe == 4
    with pytest.raises(ValueError, match=r"num_steps\(nfe\)"):
        drawn(digits, twice, 1, num_steps=lambda nfe: nfe // 2)


def remembering():
    last = []

    def sample(denoiser, x, sigmas):
        last.append(float(denoiser(x, sigmas[0]).sum()))
        return x + len(last)

    return sample


def peeping(denoiser, x, sigmas):
    return denoiser(x, sigmas[0]) - denoiser(x, sigmas[0]).mean(0)


def of_noise_of_its_own(denoiser, x, sigmas, *, noise):
    return denoiser(x, sigmas[0]) + torch.randn_like(x)


BROKEN = {
    "a part of the samples": (lambda denoiser, x, sigmas: denoiser(x[:1], sigmas[0]).expand_as(x), "got 1 rows of 6"),
    "no tensor": (lambda denoiser, x, sigmas: None, "sample gives NoneType; it must give"),
    "another shape": (lambda denoiser, x, sigmas: denoiser(x, sigmas[0]).flatten(1), "it must give"),
    "another dtype": (lambda denoiser, x, sigmas: denoiser(x, sigmas[0]).half(), "it must give"),
    "keeps something": (remembering(), "drawn alone"),
    "looks beside": (peeping, "drawn alone"),
    "noise of its own": (of_noise_of_its_own, "drawn alone"),
    "sigma of another length": (lambda denoiser, x, sigmas: denoiser(x, sigmas), "sigma of shape"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_function_that_breaks_the_contract_is_refused_in_one_line(digits, what):
    sampler, told = BROKEN[what]
    with pytest.raises(Uncounted, match=told) as caught:
        drawn(digits, sampler)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("sampler ")


NO_SAMPLER = {
    "a number": ({"sampler": 3}, "give a name"),
    "a module": ({"sampler": ddim}, "or a function sample"),
    "a class": ({"sampler": dict}, "or a function sample"),
    "too few arguments": ({"sampler": lambda denoiser, x: x}, "cannot be called as sample"),
    "an argument more": ({"sampler": lambda denoiser, x, sigmas, order: x}, "missing a required argument: 'order'"),
    "an option that it has not": ({"sampler": euler, "options": {"eta": 1.0}}, "unexpected keyword argument 'eta'"),
    "steps of a file": ({"sampler": "ddim", "num_steps": len}, "leave it out"),
    "steps that are a number": ({"sampler": euler, "num_steps": 4}, "give a function: nfe"),
}


@pytest.mark.parametrize("what", NO_SAMPLER)
def test_what_is_no_sampler_is_refused_before_it_runs(digits, what):
    given, told = NO_SAMPLER[what]
    with pytest.raises(ValueError, match=told) as caught:
        dpmot.sample(digits.denoiser, digits.way, nfe=4, num_samples=6, **given)
    assert "\n" not in str(caught.value)
