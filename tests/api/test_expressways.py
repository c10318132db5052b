"""The transport map of a caller's images: what it gives, what it keeps, what it refuses."""

import re
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch

import dpmot
from dpmot import solving
from dpmot.diffusion.sigmas import edm_chain
from dpmot.images import to_float, to_uint8
from dpmot.runtime import session
from dpmot.runtime.seals import Damaged
from dpmot.seeds import sample_seeds
from dpmot.starts import Setting, prior_noise
from dpmot.starts.transport import Start
from dpmot.transport import watching
from dpmot.warned import NotConverged, OddRange

pytestmark = pytest.mark.usefixtures("one_thread")


def levels_of(images):
    """Images in uint8, whose floats differ from these by half a level at most."""
    return to_uint8(images)


def solved(images, sigma=1.0, **options):
    return dpmot.expressway(images, sigma, **{"chi2": 0.5, "progress": False, **options})


def test_the_start_is_an_image_under_its_own_noise(digits, noise):
    source, atoms = digits.way.source(noise), digits.way.atoms
    start = digits.way.start(noise)
    assert start.shape == noise.shape and source.dtype == torch.int64
    # K = 1: latent i belongs to image i; two float32 roundings
    assert torch.allclose(start, digits.images[source] + digits.way.sigma * atoms.noise(source), atol=1e-6)
    assert torch.equal(digits.way.labels_of(noise), digits.labels[source])
    together = digits.way.points(noise)
    assert all(torch.equal(*pair) for pair in ((together.x, start), (together.source, source)))


def test_the_start_is_that_of_the_benchmark(digits):
    rows, way = sample_seeds(3, 40), digits.way
    setting = Setting(edm_chain(), way.atoms.images, 1.0, 0, way.solution.potential.heights)
    setting = Setting(**{**vars(setting), "images": torch.from_numpy(way.atoms.images)})
    theirs, mine = Start(setting)(rows), way.points(prior_noise(rows, way.shape))
    assert torch.equal(mine.x, theirs.x) and torch.equal(mine.source, theirs.source)


def test_every_image_receives_its_share_of_the_noise(digits):
    many = torch.randn(20_000, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    counts = torch.bincount(digits.way.source(many), minlength=200)
    # chi2 of the shares is below .05 at 97.5 %; counting 20,000 draws adds N / n = .01
    assert digits.way.converged and float((counts / 100 - 1).square().mean()) < 0.06


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_follows_the_noise(digits, noise, dtype):
    rounded = noise.to(dtype)
    assert digits.way.start(rounded).dtype == dtype
    assert torch.equal(digits.way.source(rounded), digits.way.source(rounded.float()))


def test_uint8_and_every_float_of_its_levels_give_one_map(digits, noise, tmp_path):
    levels = levels_of(digits.images)
    way = solved(levels)
    way.save(tmp_path / "w")
    others = [to_float(levels), (levels / 255 - 0.5) / 0.5, levels.double() / 127.5 - 1, levels.numpy()]
    for same in others:
        read = dpmot.Expressway.load(tmp_path / "w", same)
        assert read.atoms.images.dtype == np.uint8 and torch.equal(read.start(noise), way.start(noise))


def test_floats_between_the_levels_stay_as_they_are(digits, noise):
    way = solved(digits.images)
    assert way.atoms.images.dtype == np.float32
    assert torch.equal(way.atoms.clean(range(200)), digits.images)


def test_several_noises_an_image_and_uniform_noise(digits):
    way = solved(digits.images[:40], noises=3, source_measure="uniform")
    uniform = torch.rand(500, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert len(way.atoms) == 120 and way.source(uniform).max() < 40
    assert len(way.start(uniform).flatten(1).unique(dim=0)) > 40  # more starts than images
    with pytest.raises(ValueError, match=re.escape("source is U[0, 1]^d: draw torch.rand")):
        way.start(uniform - 1)


def test_what_is_saved_comes_back_to_the_bit(digits, noise, tmp_path):
    digits.way.save(tmp_path / "way.safetensors")
    read = dpmot.Expressway.load(tmp_path / "way.safetensors", digits.images)
    assert torch.equal(read.start(noise), digits.way.start(noise)) and read.certificate == digits.way.certificate
    assert torch.equal(read.labels, digits.labels) and read.asked == digits.way.asked
    assert read.solution.history == digits.way.solution.history
    size = (tmp_path / "way.safetensors").stat().st_size
    assert size < 200 * 16 + 4096  # heights, labels and text; neither images nor latents


@pytest.mark.parametrize("change", [lambda x: x[:100], lambda x: x.flip(0), lambda x: 0.99 * x, lambda x: -x])
def test_a_map_of_other_images_is_refused(digits, tmp_path, change):
    digits.way.save(tmp_path / "w")
    with pytest.raises(ValueError, match="was solved for 200 other images than these"):
        dpmot.Expressway.load(tmp_path / "w", change(digits.images))


def test_damage_and_other_files_are_refused(digits, tmp_path):
    path = tmp_path / "w"
    digits.way.save(path)
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    with pytest.raises(Damaged, match="content is not what was written"):
        dpmot.Expressway.load(path, digits.images)
    digits.way.solution.save(path)
    with pytest.raises(ValueError, match=r"holds no expressway; .* read it by TransportSolution.load"):
        dpmot.Expressway.load(path, digits.images)
    with pytest.raises(FileNotFoundError, match="No file"):
        dpmot.Expressway.load(tmp_path / "nowhere", digits.images)


def test_a_path_is_solved_once_and_then_read(digits, tmp_path, monkeypatch):
    first = solved(digits.images, path=tmp_path / "w", labels=digits.labels)
    monkeypatch.setattr(solving, "_solved", lambda *_, **__: pytest.fail("solved again"))
    again = solved(digits.images, path=tmp_path / "w", labels=digits.labels)
    assert torch.equal(first.solution.potential.heights, again.solution.potential.heights)
    assert [file.name for file in tmp_path.iterdir()] == ["w"]
    with pytest.raises(ValueError, match=r"holds a map of chi2 0.5, not 0.1; other labels: delete it"):
        solved(digits.images, path=tmp_path / "w", chi2=0.1)


def test_an_interrupted_fit_goes_on_from_its_file(digits, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(watching, "CHECKPOINT_SECONDS", -1)
    options = {"chi2": 0.02, "path": tmp_path / "w"}
    looks = []

    def stop(seen):
        looks.append(seen["noises"])
        if len(looks) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solved(digits.images, callback=stop, **options)
    assert not (tmp_path / "w").exists()
    later = []
    way = solved(digits.images, callback=lambda seen: later.append(seen["noises"]), **options)
    assert "continuing fit" in capsys.readouterr().out and later[0] > looks[1]
    at_once = solved(digits.images, chi2=0.02)
    assert torch.equal(way.solution.potential.heights, at_once.solution.potential.heights)
    assert [file.name for file in tmp_path.iterdir()] == ["w"]


def test_a_map_that_missed_its_error_says_so_once_when_solved_and_when_read(tmp_path):
    clusters = torch.tensor([[-0.9, 0.9]]).T.repeat(60, 4) + 1e-4 * torch.randn(120, 4)
    with pytest.warns(NotConverged, match="did not converge: .*raise max_noises or chi2") as told:
        way = solved(clusters, 0.01, chi2=0.2, max_noises=6000, pixels=False)
    assert not way.converged and "NOT converged" in repr(way)
    assert len(told) == 1 and told[0].filename == __file__
    way.save(tmp_path / "w")
    with pytest.warns(NotConverged):
        dpmot.Expressway.load(tmp_path / "w", clusters)


SAID = {  # what is wrong -> images, warning
    "in [0, 1]": (lambda x: (x + 1) / 2, r"lie in \[0, 1\]: if 0 is black give 2 \* images - 1"),
    "in 0..255": (lambda x: (x + 1) * 127.5, r"lie in \[0, 255\], not \[-1, 1\]: give levels 0..255 as uint8"),
    "beyond 1": (lambda x: 1.5 * x, r"lie in \[-1.5, 1.5\], not \[-1, 1\]: scale them"),
    "nearly black": (lambda x: ((x + 1) / 2).byte(), r"uint8 in 0..1, nearly black"),
}


@pytest.mark.parametrize("what", SAID)
def test_images_in_another_range_are_warned_about_at_the_callers_line(digits, what):
    change, match = SAID[what]
    with pytest.warns(OddRange, match=match) as told:
        solved(change(digits.images))
    assert told[0].filename == __file__


def test_right_images_and_latents_of_any_range_are_taken_without_a_word(digits):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solved(levels_of(digits.images))
        solved(5 * digits.images.permute(0, 2, 3, 1), pixels=False)
        solved(digits.images.flatten(1))


REFUSED: dict[str, tuple[Callable, str]] = {
    "NaN": (lambda x: torch.where(x > 0.8, torch.nan, x), "images hold NaN or infinite values; leave them out"),
    "empty": (lambda x: x[:0], r"shape \(0, 1, 8, 8\)"),
    "one image": (lambda x: x[:1], "One image was given, so every sample would be a copy of it"),
    "no channels": (lambda x: x[:, 0], r"shape \(200, 8, 8\); give \(n, C, H, W\): add the axis of channels"),
    "channels last": (lambda x: x.permute(0, 2, 3, 1), "channels last"),
    "integers": (lambda x: x.long(), "Images are torch.int64; give uint8"),
    "truth values": (lambda x: x > 0, "Images are torch.bool"),
    "a list": (list, "Images are a list; .*torch.stack them"),
    "objects": (lambda x: np.array(["a", "b"]), "array of <U1"),
    "nothing": (lambda x: None, "Images are a NoneType"),
    "no numbers": (lambda x: x[:, :, :0], "at least one number"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_images_that_make_no_map_are_refused_in_one_line(digits, what):
    change, match = REFUSED[what]
    with pytest.raises(ValueError, match=match) as told:
        solved(change(digits.images))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "options, match",
    [
        ({"sigma": 0}, "sigma = 0; give a noise level above 0"),
        ({"sigma": float("nan")}, "sigma = nan"),
        ({"noises": 0}, "noises = 0; give a whole number of at least 1"),
        ({"chi2": "a"}, "chi2 = a; give an error above 0"),
        ({"labels": [1, 2]}, r"Labels are torch.int64 \(2,\); .* one for each of the 200 images"),
        ({"labels": np.full(200, 0.5)}, "Labels are torch.float64"),
        ({"labels": np.full(200, -1)}, "Labels go down to -1"),
        ({"source_measure": "gauss"}, '"gauss" is unknown; choose "normal"'),
        ({"device": "gpu"}, 'device = "gpu" is none'),
        ({"max_noises": 10}, "the shortest fit takes"),
    ],
)
def test_numbers_that_make_no_map_are_refused_in_one_line(digits, options, match):
    with pytest.raises(ValueError, match=match) as told:
        solved(digits.images, **options)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("change", [lambda z: z[:, 0], lambda z: z.long(), lambda z: z.numpy(), lambda z: z * np.nan])
def test_what_is_no_noise_is_refused(digits, noise, change):
    with pytest.raises(ValueError, match=r"^Noise (is|holds)"):
        digits.way.start(change(noise))


@pytest.mark.parametrize("change", [lambda z: 80 * z, lambda z: z.abs(), lambda z: 0.1 * z])
def test_noise_of_another_law_is_warned_about(digits, noise, change):
    with pytest.warns(OddRange, match=r"this map's source is N\(0, I\), torch.randn without any factor"):
        digits.way.start(change(noise))


def test_no_noise_gives_no_start(digits, noise):
    assert digits.way.start(noise[:0]).shape == noise[:0].shape


def test_nothing_is_kept_of_the_caller_s_tensors(digits, noise):
    images, labels = levels_of(digits.images), digits.labels.clone()
    way = solved(images, labels=labels)
    before, classes = way.start(noise), way.labels_of(noise)
    images.zero_()
    labels.zero_()
    assert torch.equal(way.start(noise), before) and torch.equal(way.labels_of(noise), classes)


def test_the_finding_stands_in_the_docstrings():
    for name in (dpmot.Expressway, dpmot.expressway):
        text = " ".join(str(name.__doc__).split())
        assert re.search("hands back (the|that) training image", text) and "dpmot.audit" in text and "source" in text


def test_sessions_of_stages_are_not_begun(digits, tmp_path, monkeypatch):
    """A stage sets threads and how memory is freed for its process; a caller's process is its own."""
    monkeypatch.setattr(session, "keep_freed_memory", lambda: pytest.fail("set for the process"))
    solved(digits.images, path=tmp_path / "w")
