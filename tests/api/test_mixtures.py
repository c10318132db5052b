"""dpmot.mixture: a start that stores no image, with the manners of dpmot.expressway."""

import pytest
import torch
from sklearn.datasets import load_digits

import dpmot
from dpmot import seeds
from dpmot.starts import prior_noise
from dpmot.warned import OddRange

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES = torch.tensor(load_digits().images / 8 - 1, dtype=torch.float32)[:500, None]
LABELS = torch.tensor(load_digits().target)[:500]
NOISE = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def pulling(x, sigma, labels=None):
    """D(x, sigma), which remembers nothing."""
    return x / (1 + sigma.reshape(-1, 1, 1, 1) ** 2)


@pytest.fixture(scope="module")
def start():
    return dpmot.mixture(IMAGES, sigma=1.0, components=2, by="labels", labels=LABELS)


def test_a_start_has_the_dtype_of_the_noise_and_depends_on_its_own_seed_alone(start):
    x = start.start(NOISE.double(), seeds=7)
    assert x.shape == (40, 1, 8, 8) and x.dtype == torch.float64
    rows = seeds.sample_seeds(7, 40)
    assert torch.equal(start.start(NOISE[[3, 30]].double(), seeds=[rows[3], rows[30]]), x[[3, 30]])


def test_classes_are_drawn_or_given(start):
    drawn, given = start.points(NOISE), start.points(NOISE, labels=torch.tensor(4))
    assert drawn.source is None and len(drawn.labels.unique()) > 5 and (given.labels == 4).all()
    assert dpmot.mixture(IMAGES, sigma=1.0).points(NOISE).labels is None


def test_another_level_is_the_same_mixture(start):
    assert torch.equal(start.at(2.0).gaussians.means, start.gaussians.means) and start.at(2).sigma == 2.0
    near, far = (start.at(sigma).start(NOISE) for sigma in (0.01, 50.0))
    assert near.std() < 1 and float(far.std()) == pytest.approx(50, rel=0.1)  # 2,560 numbers: its error is 1.4 %


def test_samples_are_drawn_from_it_as_from_an_expressway(start):
    samples = dpmot.sample(pulling, start, "ddim", nfe=5, num_samples=30)
    assert samples.nfe == 5 and samples.sigma_start == 1.0 and samples.source is None and len(samples.labels) == 30
    same = dpmot.sample(
        pulling, start.start(prior_noise(samples.seeds, (1, 8, 8)), seeds=samples.seeds), nfe=5, sigma=1.0
    )
    torch.testing.assert_close(samples.x0, same.x0)
    fours = dpmot.sample(pulling, start, nfe=5, num_samples=30, labels=4)
    assert (fours.labels == 4).all()


def test_it_is_read_where_it_was_fitted_before_and_needs_no_images(start, tmp_path):
    path = tmp_path / "mixture.safetensors"
    options = {"components": 5, "path": path}
    one, again = (dpmot.mixture(IMAGES, sigma, **options) for sigma in (1.0, 2.0))
    read = dpmot.Mixture.load(path)
    assert torch.equal(read.start(NOISE), one.start(NOISE)) and again.sigma == 2.0 and len(read) == 5
    assert repr(read).startswith("Mixture(5 Gaussians of images (1, 8, 8), sigma 1, ")
    assert path.stat().st_size <= 4 * IMAGES.numel()  # bytes of floats, which are no levels of uint8
    for change, told in (({"components": 6}, "components 5, not 6"), ({"seed": 1}, "seed 0, not 1")):
        with pytest.raises(ValueError, match=told):
            dpmot.mixture(IMAGES, 1.0, **{**options, **change})
    with pytest.raises(ValueError, match="other images or labels"):
        dpmot.mixture(IMAGES[1:], 1.0, **options)


def test_images_that_were_not_fitted_are_less_likely(start):
    one = dpmot.mixture(IMAGES[:400], 0.1, components=100)
    assert one.log_likelihood(IMAGES[:100]) > one.log_likelihood(IMAGES[400:]) + 0.05


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda start: start.at(0), "sigma = 0; give a noise level above 0"),
        (lambda start: start.start(NOISE[:, 0]), r"Noise is torch.float32 \(40, 8, 8\); give a tensor of floats"),
        (lambda start: start.start(NOISE, seeds=[1, 2]), "2 seeds for 40 noises"),
        (lambda start: start.start(NOISE, labels=torch.tensor(12)), "No image of class 12 was fitted"),
        (
            lambda start: start.start(NOISE, labels=torch.tensor([1, 2])),
            r"Labels are torch.int64 \(2,\); give 40 whole",
        ),
        (lambda start: start.start(NOISE, labels=torch.tensor(1.5)), "Labels are torch.float32"),
        (lambda start: start.log_likelihood(IMAGES[..., 1:]), r"Images are \(1, 8, 7\); the mixture was fitted to"),
        (lambda _: dpmot.mixture(IMAGES, -1), "sigma = -1; give a noise level above 0"),
        (lambda _: dpmot.mixture(IMAGES, 1, labels=LABELS[:3]), r"Labels are torch.int64 \(3,\); give whole numbers"),
        (lambda _: dpmot.mixture(IMAGES, 1, by="labels"), "by: labels needs classes, and these images have one"),
        (lambda _: dpmot.mixture(IMAGES, 1, components=501), "components: 501 are more than the 500 images"),
        (lambda _: dpmot.mixture(IMAGES, 1, seed=1.5), "seed = 1.5; give a whole number"),
    ],
)
def test_what_does_not_fit_is_one_line(start, call, told):
    with pytest.raises(ValueError, match=told):
        call(start)


def test_noise_that_was_scaled_is_warned_of(start):
    with pytest.warns(OddRange):
        start.start(80 * NOISE)


def test_a_file_of_something_else_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="No file"):
        dpmot.Mixture.load(tmp_path / "none")
    dpmot.expressway(IMAGES[:50], sigma=1.0, chi2=0.5, path=tmp_path / "way", progress=False)
    with pytest.raises(ValueError, match="holds no Gaussian mixture"):
        dpmot.Mixture.load(tmp_path / "way")
