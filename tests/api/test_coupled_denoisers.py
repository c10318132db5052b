"""From Python, too, a coupled denoiser is sampled from the prior by deterministic samplers, and by nothing else."""

import pytest
import torch

import dpmot


class Coupled(torch.nn.Module):
    """D of a coupling of one image, 0, with all noise."""

    sigma_min, sigma_max, posterior_mean = 0.01, 80.0, False

    def forward(self, x, sigma):
        return 0 * x


def test_it_is_drawn_from_the_prior_by_a_deterministic_sampler():
    drawn = dpmot.sample(Coupled(), "prior", "ddim", 4, num_samples=3, shape=(1, 4, 4))
    assert drawn.nfe == 4 and not drawn.x0.any()


@pytest.mark.parametrize(
    ("start", "more", "told"),
    [
        (torch.zeros(2, 1, 4, 4), {"sigma": 3.0}, "A start at a level of its own needs a posterior mean"),
        ("prior", {"sampler": "ddpm", "shape": (1, 4, 4)}, "The sampler draws noise on its way: the network was"),
    ],
)
def test_what_needs_a_posterior_mean_is_refused(start, more, told):
    with pytest.raises(ValueError, match=told):
        dpmot.sample(Coupled(), start, **{"nfe": 4, **more})
