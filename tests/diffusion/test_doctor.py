"""The doctor on exact denoisers: they are sound, and each mistake that is planted in them is named.

An exact denoiser of a mixture in the plane costs nothing and leaves no doubt about the truth. Its mistakes are those
of a network F(z, t) that it is made of; benchmarks/doctor.py and the slow test beside this one do it with networks.
"""

import numpy as np
import pytest
import torch

import dpmot
from dpmot.diffusion.denoiser import IdealDenoiser, MixtureDenoiser
from dpmot.diffusion.doctor import doctor
from dpmot.diffusion.repairs import ByIndex, Known

pytestmark = pytest.mark.usefixtures("one_thread")
MEANS = torch.tensor([[0.9, 0.4], [-0.8, 0.5], [0.1, -0.9]])
STD = 0.15
LEVELS = tuple(np.geomspace(0.02, 20, 18))
PLANE = Known((2,), (0.02, 20.0), LEVELS)
EXACT = MixtureDenoiser(MEANS, STD)


def points(n=600, means=MEANS):
    drawn = torch.Generator().manual_seed(0)
    return means[torch.randint(len(means), (n,), generator=drawn)] + STD * torch.randn(n, 2, generator=drawn)


POINTS = points()


def column(sigma, x):
    return torch.as_tensor(sigma, dtype=x.dtype).expand(len(x)).reshape(-1, *[1] * (x.dim() - 1))


def vp(wrong_time=lambda s: s, taken=lambda x, s, f: x - s * f):
    """EXACT as x - sigma F(x / c, t), F at another time, or taken for something else."""

    def denoise(x, sigma):
        s = column(sigma, x)
        c, at = (1 + s**2).sqrt(), column(torch.as_tensor(wrong_time(torch.as_tensor(sigma))), x)
        there = x / c * (1 + at**2).sqrt()  # what F(z, t) takes for x at its level
        noise = (there - EXACT(there, at.flatten())) / at
        return taken(x, s, noise)

    return denoise


def level(change):
    return lambda x, sigma: EXACT(x, torch.as_tensor(change(torch.as_tensor(sigma))))


def by_index(move, levels=LEVELS):
    index = ByIndex(levels)
    steps = {"mirrored": index.mirrored, "up": lambda s: index.shifted(1, s), "down": lambda s: index.shifted(-1, s)}
    return lambda sigma: torch.tensor([steps[move](float(s)) for s in sigma.flatten()]).reshape(sigma.shape).float()


def edm(x, sigma, *, right=0.7, wrong=0.35):
    """The F of sigma_data ``right`` under that of ``wrong``."""
    s = column(sigma, x)
    of, total = (s**2 + wrong**2).sqrt(), (s**2 + right**2).sqrt()
    there = x / of * total
    raw = (EXACT(there, sigma) - right**2 / total**2 * there) * total / (s * right)
    return wrong**2 / of**2 * x + s * wrong / of * raw


MISTAKES = {
    "epsilon taken for x0": vp(taken=lambda x, s, f: f),
    "minus epsilon taken for epsilon": vp(taken=lambda x, s, f: x + s * f),
    "x0 taken for epsilon": lambda x, sigma: x - column(sigma, x) * EXACT(x, sigma),
    "time reversed": vp(wrong_time=by_index("mirrored")),
    "level wrong by a factor of about 2": level(lambda s: 2 * s),
    "level wrong by a factor of about 0.5": level(lambda s: s / 2),
    "range [0, 1]": lambda x, sigma: (EXACT(2 * x - 1, 2 * torch.as_tensor(sigma)) + 1) / 2,
    "sigma_data wrong": edm,
}


def test_an_exact_denoiser_is_sound_and_its_best_level_is_its_own():
    said = doctor(EXACT, POINTS, known=PLANE)
    assert said.verdict == "sound" and not said.findings
    assert said.scale == pytest.approx(1, abs=0.1)  # a parabola through factors 0.7, 1 and 1.4
    assert all(
        row.error < 1.06 * row.wiener for row in said.rows
    )  # 256 points of 2 numbers: an error varies by 1 / sqrt(256)


def test_the_ideal_denoiser_of_the_points_is_sound_though_no_network_errs_so_little():
    assert doctor(IdealDenoiser(POINTS), POINTS, known=PLANE).verdict == "sound"


@pytest.mark.parametrize(("mistake", "denoiser"), MISTAKES.items())
def test_every_mistake_of_an_exact_denoiser_is_named(mistake, denoiser):
    said = doctor(denoiser, POINTS, known=Known((2,), PLANE.ends, LEVELS, sigma_data=0.35 if denoiser is edm else None))
    assert said.verdict == "wrong" and said.findings[0].name.startswith(mistake), str(said)


@pytest.mark.parametrize("way", ["up", "down"])
def test_an_index_that_is_off_by_one_is_a_level_that_is_wrong(way):
    levels = tuple(np.geomspace(0.02, 20, 8))  # a factor of 2.7
    said = doctor(level(by_index(way, levels)), POINTS, known=Known((2,), (0.02, 20.0), levels))
    assert said.findings[0].name.startswith("level"), str(said)


def coloured(n=200):
    drawn = torch.Generator().manual_seed(1)
    bright = torch.tensor([0.8, 0.0, -0.8]).reshape(1, 3, 1, 1)
    return (bright + 0.15 * torch.randn(n, 3, 4, 4, generator=drawn)).clamp(-1, 1)


def test_channels_in_reverse_order_are_named():
    images = coloured()
    exact = IdealDenoiser(images)
    said = doctor(lambda x, sigma: exact(x.flip(1), sigma).flip(1), images)
    assert said.findings[0].name == "BGR for RGB", str(said)


def classes_denoiser(shift=0):
    def denoise(x, sigma, labels):
        s2 = column(sigma, x) ** 2
        return (STD**2 * x + s2 * MEANS[(labels + shift) % 3]) / (STD**2 + s2)

    return denoise


def test_labels_that_are_shifted_by_one_are_named_and_right_ones_are_sound():
    labels = torch.arange(600) % 3
    images = MEANS[labels] + STD * torch.randn(600, 2, generator=torch.Generator().manual_seed(2))
    assert doctor(classes_denoiser(), images, labels=labels, sigma_max=20.0).verdict == "sound"
    said = doctor(classes_denoiser(1), images, labels=labels, sigma_max=20.0)
    assert said.findings[0].name == "labels shifted by one", str(said)


class Dropping(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, sigma):
        return x + 0.1 * (self.layer(x) - x)


@pytest.mark.parametrize(
    ("layer", "mistake"), [(torch.nn.Dropout(0.5), "dropout on"), (torch.nn.BatchNorm1d(2), "depends on the rows")]
)
def test_a_network_in_training_mode_is_named(layer, mistake):
    said = doctor(Dropping(layer).train(), POINTS)
    assert said.findings[0].name.startswith(mistake) and "call .eval()" in said.findings[0].told


ODD = {
    "random": (lambda x, s: x + 0.1 * torch.randn_like(x), "two answers"),
    "of the batch": (lambda x, s: x - x.mean(0), "depends on the rows"),
    "one level": (lambda x, s: EXACT(x, torch.as_tensor(s).flatten()[0]), "one level"),
    "a vector is refused": (lambda x, s: EXACT(x, float(s)), "one level"),
    "NaN": (lambda x, s: x * float("nan"), "not finite"),
    "another shape": (lambda x, s: x[:, :1], "cannot be evaluated"),
    "no tensor": (lambda x, s: None, "cannot be evaluated"),
    "an exception": (lambda x, s: x @ torch.zeros(7), "cannot be evaluated"),
    "nothing": (lambda x, s: x, "does nothing"),
    "a constant": (lambda x, s: x * 0 + 3, "does not see x"),
    "noise": (lambda x, s: x + 2 * torch.sin(1e3 * x), "worse than doing nothing"),
}


@pytest.mark.parametrize(("denoiser", "mistake"), ODD.values(), ids=ODD)
def test_what_is_no_denoiser_at_all_is_said(denoiser, mistake):
    said = doctor(denoiser, POINTS, known=PLANE)
    assert said.verdict == "wrong" and said.findings[0].name.startswith(mistake), str(said)


def test_of_two_sets_of_weights_the_better_one_is_known():
    def noisy(x, sigma):
        return EXACT(x, sigma) + 0.1 * torch.sin(40 * x)

    said = doctor(noisy, POINTS, known=PLANE, beside=EXACT)
    assert said.findings[0].name == "raw weights for averaged ones"
    assert doctor(EXACT, POINTS, known=PLANE, beside=noisy).verdict == "sound"


def test_noise_that_is_predicted_to_3_percent_is_sound_though_its_error_is_magnified_at_large_sigma():
    def denoiser(x, sigma):
        s = column(sigma, x)
        return EXACT(x, sigma) + 0.025 * s * torch.sin(9 * x / (1 + s**2).sqrt())

    levels = tuple(np.geomspace(0.02, 150, 25))
    said = doctor(denoiser, POINTS, known=Known((2,), (0.02, 150.0), levels, "ddpm", "epsilon"))
    assert said.verdict == "sound", str(said)
    assert said.rows[-1].error > 3 * said.rows[-1].wiener  # 0.025 / sqrt(2) of 150 is 2.7, the Wiener filter's 0.7


def test_a_weak_network_is_called_weak_and_not_wrong():
    said = doctor(lambda x, s: EXACT(x, s) + 0.9 * column(s, x).clamp(max=1) * torch.sin(9 * x), POINTS, known=PLANE)
    assert said.verdict == "weak", str(said)


WRONG = {
    "one image": (POINTS[:1], {}, "at least two images"),
    "whole numbers": (torch.zeros(9, 2, dtype=torch.int64), {}, "uint8 in 0..255 or floats"),
    "NaN": (POINTS * float("nan"), {}, "600 of 600 images hold NaN"),
    "labels": (POINTS, {"labels": torch.zeros(3, dtype=torch.int64)}, "one for each of 600 images"),
    "float labels": (POINTS, {"labels": torch.zeros(600)}, "whole numbers"),
    "ends": (POINTS, {"sigma_min": 3.0, "sigma_max": 1.0}, "sigma_min > 0 to a larger sigma_max"),
}


@pytest.mark.parametrize(("images", "options", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_judged_is_refused_in_one_line(images, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        doctor(EXACT, images, **options)
    assert "\n" not in str(caught.value)


def test_it_is_public_and_takes_numpy_arrays():
    assert dpmot.doctor is doctor
    assert isinstance(dpmot.doctor(EXACT, POINTS.numpy(), known=PLANE), dpmot.Diagnosis)


def test_two_visits_say_the_same():
    first, second = (doctor(EXACT, POINTS, known=PLANE) for _ in range(2))
    assert str(first) == str(second)
