"""Samplers against numbers that their authors' own code gave, in float64, on a mixture whose denoiser is exact.

ER-SDE: er_sde_solver.py of QinpengCui/ER-SDE-Solver at 25ca6c2, ``ve_k_order``, our noise in the place of randn_like.
PFDiff: uncondition/ddim-main/functions/denoising_PFDiff_k_l.py of onefly123/PFDiff at e63fd30, on our grid.
"""

import numpy as np
import pytest
import torch

from baselines import ddim, er_sde, pfdiff
from dpmot.diffusion.denoiser import MixtureDenoiser
from dpmot.diffusion.sigmas import karras

pytestmark = pytest.mark.usefixtures("one_thread")
WRITTEN = 1e-9  # the numbers below have nine decimals; found before rounding: below 1e-13
MEANS = torch.tensor([[1.0, 0.5], [-0.5, 0.0], [0.2, -1.0]], dtype=torch.float64)
DENOISER = MixtureDenoiser(MEANS, 0.3)
UNIT = torch.tensor([[0.5, -1.0], [1.5, 0.3], [-0.7, 0.8]], dtype=torch.float64)
ER_SDE = {
    (1, "ode"): [[0.3125508, -0.856102452], [1.078451804, 0.331157745], [-0.292771794, 0.129581559]],
    (1, "sde"): [[0.098421675, -0.696287788], [-0.051847679, -0.023100092], [0.382445085, -0.130464979]],
    (1, "er_sde_5"): [[0.456418101, -0.901723425], [0.141594491, -0.513434258], [0.668992991, 0.263784643]],
    (2, "ode"): [[0.321586825, -0.95057589], [1.178180557, 0.395678869], [-0.37103418, 0.162535458]],
    (2, "sde"): [[0.068305919, -0.809728183], [-0.118939286, 0.029434149], [0.518427184, -0.022857233]],
    (2, "er_sde_5"): [[0.473668007, -1.003803708], [0.13132009, -0.578724807], [0.759863325, 0.335860356]],
    (3, "ode"): [[0.322102074, -0.956167984], [1.183905955, 0.399458714], [-0.375743659, 0.16439907]],
    (3, "sde"): [[0.066044176, -0.817382073], [-0.122987269, 0.033918594], [0.52951669, -0.013161628]],
    (3, "er_sde_5"): [[0.474461872, -1.009902256], [0.130898845, -0.582707948], [0.765556658, 0.340310902]],
}
PFDIFF = {
    (1, 1): [[0.36687227, -1.383539916], [1.563778081, 0.633371974], [-0.75288493, 0.301398163]],
    (2, 1): [[0.331966555, -1.150935992], [1.520288885, 0.601747774], [-0.462590588, 0.280530452]],
    (2, 2): [[0.390608686, -2.385897182], [2.378111103, 1.273306212], [-1.63750056, 0.540708103]],
    (3, 1): [[0.304820438, -1.431926665], [1.666151266, 0.741663016], [-0.783397849, 0.303321696]],
    (3, 2): [[0.520201097, -1.756548368], [2.057882586, 0.763714371], [-1.067704428, 0.554897115]],
    (3, 3): [[0.702273966, -2.043291682], [2.849066049, 0.985707699], [-1.11519183, 0.938802603]],
}


def noise(i):
    """Of step i, the same number everywhere."""
    rows = [[np.sin(1.0 + 3 * k + i), np.cos(2.0 + k * (i + 1))] for k in range(3)]
    return torch.tensor(rows, dtype=torch.float64)


def drawn(sample, steps, **options):
    sigmas = torch.from_numpy(karras(steps, 20.0, 0.05))
    return sample(DENOISER, UNIT * sigmas[0], sigmas, noise=noise, **options)


def rectangles(s, t):
    """The authors' integral: the sum of 100 rectangles, at their lower ends."""
    return t + np.arange(100) / 100 * (s - t), np.full(100, (s - t) / 100)


def apart(found, expected):
    return (found - torch.tensor(expected, dtype=torch.float64)).abs().max().item()


@pytest.mark.parametrize(("order", "scale"), ER_SDE)
def test_er_sde_is_its_authors_with_their_integral_and_near_it_with_the_exact_one(order, scale, monkeypatch):
    expected = ER_SDE[order, scale]
    exact = apart(drawn(er_sde.sample, 6, order=order, scale=scale), expected)
    monkeypatch.setattr(er_sde, "_quadrature", rectangles)
    assert apart(drawn(er_sde.sample, 6, order=order, scale=scale), expected) < WRITTEN
    assert (exact < WRITTEN) == (order == 1) and exact < 2e-3  # rectangles are of first order; found 7e-4 to 1.3e-3


@pytest.mark.parametrize("scale", er_sde.SCALES)
def test_the_integrals_of_er_sde_are_those_of_many_rectangles(scale):
    s, t = 3.0, 0.2
    middles = t + (np.arange(200_000) + 0.5) / 200_000 * (s - t)
    slices, phi = (s - t) / 200_000, er_sde.SCALES[scale]
    _, linear, square = er_sde._weights(s, t, scale)
    assert linear == pytest.approx(t - s + phi(t) * np.sum(slices / phi(middles)), abs=1e-8)  # midpoints: 1e-10
    integral = np.sum(slices * (middles - s) / phi(middles))
    assert square == pytest.approx((s - t) ** 2 / 2 + phi(t) * integral, abs=1e-8)


def test_er_sde_as_an_ode_of_order_1_is_ddim():
    assert apart(drawn(er_sde.sample, 8, order=1, scale="ode"), drawn(ddim.sample, 8).tolist()) < 1e-13


@pytest.mark.parametrize(("skip", "ahead"), PFDIFF)
def test_pfdiff_is_its_authors(skip, ahead):
    assert apart(drawn(pfdiff.sample, 9, skip=skip, ahead=ahead), PFDIFF[skip, ahead]) < WRITTEN


def test_pfdiff_asks_once_for_each_jump():
    asked = []

    def counted(x, sigma):
        asked.append(float(sigma))
        return DENOISER(x, sigma)

    sigmas = torch.from_numpy(karras(10, 20.0, 0.05))
    pfdiff.sample(counted, UNIT * sigmas[0], sigmas, skip=2, ahead=2)
    levels = sigmas.tolist()
    assert asked == [levels[0], levels[3], levels[6], levels[9]]  # ahead of steps 1, 4 and 7
    asked.clear()
    pfdiff.sample(counted, UNIT * sigmas[0], sigmas, skip=3, ahead=3)
    assert asked == [
        levels[0],
        levels[4],
        levels[8],
        levels[9],
    ]  # a single step is left, of which D is asked at its start
