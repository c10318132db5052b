"""Images from a user: one result in whatever form they come, and one line where something does not fit."""

import io
import os
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from dpmot.data import _given
from dpmot.images import to_uint8

DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (24, 8, 10, 3), dtype=np.uint8)
FLOATS = (IMAGES / 127.5 - 1).astype(np.float32)


def pictures(folder, images):
    folder.mkdir()
    for k, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{k}.png")
    return folder


@pytest.mark.parametrize("n", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_npz_folder_and_zip_of_the_same_images_give_the_same_rows(tmp_path, n):
    images = DRAW.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "adm.npz", images, np.arange(n) % 10)  # ADM's arr_0 and arr_1
    folder = pictures(tmp_path / "folder", images)
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    found = [_given.read(tmp_path / name).images for name in ("adm.npz", "folder", "archive.zip")]
    assert all(one.tobytes() == images.transpose(0, 3, 1, 2).tobytes() for one in found)


def test_every_form_of_the_same_images_has_one_hash(tmp_path):
    np.save(tmp_path / "first.npy", IMAGES.transpose(0, 3, 1, 2))
    np.savez(tmp_path / "floats.npz", FLOATS)
    save_file({"images": torch.from_numpy(IMAGES)}, tmp_path / "s.safetensors")
    read = [
        _given.read(tmp_path / "first.npy"),
        _given.read(tmp_path / "s.safetensors"),
        _given.read(tmp_path / "floats.npz", values=(-1, 1)),
        _given.read(IMAGES),
        _given.read(torch.from_numpy(IMAGES).permute(0, 3, 1, 2)),
        _given.read((IMAGES / 255).astype(np.float32), values=(0, 1)),
        _given.read(IMAGES.astype(np.float64), values=(0, 255)),
        _given.read(np.concatenate([IMAGES, np.full_like(IMAGES[..., :1], 255)], -1)),  # opaque
        _given.read(IMAGES, values=(-1, 1), mixed=True),  # a range that is for others
    ]
    assert {one.sha256 for one in read} == {_given.read(pictures(tmp_path / "folder", IMAGES)).sha256}


def test_floats_are_rounded_as_samples_of_this_project_are():
    x = torch.rand(50, 3, 8, 8, dtype=torch.float64) * 2 - 1
    assert np.array_equal(_given.read(x, values=(-1, 1)).images, to_uint8(x).numpy())


def test_grey_images_that_a_tool_has_saved_as_rgb_are_grey(tmp_path):
    grey = np.repeat(IMAGES[..., :1], 3, axis=-1)
    folder = pictures(tmp_path / "folder", grey)
    assert np.array_equal(_given.read(folder, shape=(1, 8, 10)).images, IMAGES[:, None, :, :, 0])
    assert np.array_equal(_given.read(folder).images, IMAGES[:, None, :, :, 0])


def test_the_first_so_many_are_taken():
    assert np.array_equal(_given.read(IMAGES, most=7).images, IMAGES[:7].transpose(0, 3, 1, 2))


def test_points_keep_their_values():
    points = DRAW.standard_normal((30, 2)).astype(np.float32)
    assert np.array_equal(_given.read(points, shape=(2,)).images, points)


BAD = {
    "floats without a range": (FLOATS, {}, r"its images are float32, and nothing says .* one of \[-1, 1\], \[0, 1\]"),
    "values outside": (FLOATS, {"values": (0, 1)}, r"image 0 holds values outside \[0, 1\]: -"),
    "NaN": (np.where(IMAGES > 250, np.nan, FLOATS), {"values": (-1, 1)}, "NaN or infinite"),
    "a range nobody has": (FLOATS, {"values": (0, 2)}, r"range \[0, 2\] is not one of"),
    "a range of uint8": (IMAGES, {"values": (-1, 1)}, "a range is of floats, its images are uint8; leave it out"),
    "wide integers": (IMAGES.astype(np.int64), {}, "must hold uint8, or floats of a stated range, got int64"),
    "booleans": (IMAGES > 9, {}, "got bool"),
    "another size": (IMAGES, {"shape": (3, 8, 8)}, r"images of 8 x 8 pixels, got uint8 \(24, 8, 10, 3\)"),
    "colour for grey": (IMAGES, {"shape": (1, 8, 10)}, "image 0 is in colour, .* are grey"),
    "grey for colour": (IMAGES[..., 0], {"shape": (3, 8, 10)}, "all its images are grey, .* in colour"),
    "either layout": (np.zeros((24, 3, 8, 3), np.uint8), {}, r"may be \(N, C, H, W\) or \(N, H, W, C\)"),
    "two channels": (IMAGES[..., :2], {}, r"with C 1, 3 or 4, images, got"),
    "a single image": (IMAGES[0], {}, r"got uint8 \(8, 10, 3\)"),
    "too few": (IMAGES, {"least": 50}, "holds 24 images, at least 50 are needed"),
    "none": (IMAGES[:0], {"least": 1}, "holds 0 images"),
    "no images": ([1, 2], {}, "is no images; give a folder or zip"),
    "images for points": (IMAGES, {"shape": (2,)}, r"must hold floats \(N, 2\)"),
    "infinite points": (np.full((9, 2), np.inf), {"shape": (2,)}, "9 of 9 points are NaN or infinite"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_one_line(case):
    source, options, told = BAD[case]
    with pytest.raises(ValueError, match=told) as caught:
        _given.read(source, name="mine", **options)
    assert str(caught.value).startswith("mine") and "\n" not in str(caught.value)


def files(root):
    """Name -> a path that cannot be read, and what is said of it."""
    for name in ("damaged.npy", "damaged.npz", "damaged.zip", "damaged.safetensors", "code.pt"):
        (root / name).write_bytes(b"x" * 40)
    (root / "empty").mkdir()
    save_file({f"{key}/images": torch.zeros(3, 3, 8, 8) for key in "ab"}, root / "several.safetensors")
    np.savez(root / "size.npz", IMAGES)
    np.savez(root / "objects.npz", np.array([{}] * 24))
    yield from (
        *(("damaged.npy", "no plain array, damaged"), ("damaged.npz", "damaged"), ("damaged.zip", "damaged")),
        *(("damaged.safetensors", "damaged"), ("code.pt", "may hold code and is not opened"), ("empty", "no images")),
        *(("several.safetensors", "one tensor of images, found a/images, b/images"), ("absent", "no such file")),
        *(("size.npz", "must be 8 x 8 pixels, found 10 x 8; resize them yourself"), ("objects.npz", "no plain array")),
    )


def test_a_file_that_cannot_be_read_is_named_in_one_line(tmp_path):
    for name, told in files(tmp_path):
        with pytest.raises(ValueError, match=told) as caught:
            _given.read(tmp_path / name, shape=(3, 8, 8))
        assert name in str(caught.value) and "\n" not in str(caught.value)


def test_odd_levels_are_said():
    (note,) = _given.read((IMAGES / 255).astype(np.float32), values=(-1, 1)).notes  # [0, 1] called [-1, 1]
    assert "levels lie in 128..255 of 0..255 only" in note
    assert "0..1 of 0..255" in _given.read((IMAGES > 128).astype(np.uint8)).notes[0]


def test_an_exchanged_file_has_another_state_and_hash(tmp_path):
    folder = pictures(tmp_path / "folder", IMAGES)
    state, digest = _given.file_state(folder), _given.file_sha256(folder)
    Image.fromarray(IMAGES[1]).save(folder / "0.png")
    assert (_given.file_state(folder), _given.file_sha256(folder)) != (state, digest)
    assert _given.file_sha256(folder) != digest


@pytest.mark.parametrize("hashed", [1 << 25, 0], ids=["small", "large"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_file_exchanged_at_equal_size_and_time_has_another_state(tmp_path, monkeypatch, kind, hashed):
    monkeypatch.setattr(_given, "HASHED", hashed)
    one = file = tmp_path / "samples.npy"
    np.save(file, IMAGES)
    if kind == "folder":
        one = pictures(tmp_path / "folder", IMAGES)
        file = one / "0.png"
    before, state = file.stat(), _given.file_state(one)
    assert _given.file_state(one) == state
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    (tmp_path / "other").write_bytes(content)
    os.utime(tmp_path / "other", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(tmp_path / "other", file)
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert _given.file_state(one) != state


def test_a_small_file_that_is_only_touched_is_the_same(tmp_path):
    np.save(tmp_path / "samples.npy", IMAGES)
    state = _given.file_state(tmp_path / "samples.npy")
    os.utime(tmp_path / "samples.npy", ns=(0, 0))
    assert _given.file_state(tmp_path / "samples.npy") == state


@pytest.mark.parametrize("shape", [(10**9, 32, 32, 3), (-5, 8, 8, 3), (2**62, 8, 8, 3)])
@pytest.mark.parametrize("dtype", ["|u1", "<f4"])
def test_an_array_that_announces_more_than_its_file_holds_takes_no_memory(tmp_path, shape, dtype):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(tmp_path / "forged.npz", "w") as archive:
        archive.writestr("arr_0.npy", header.getvalue() + bytes(1000))
    with pytest.raises(ValueError, match=r"found arr_0\.npy, no plain array"):
        _given.read(tmp_path / "forged.npz")
