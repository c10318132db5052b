"""The images of an npz file, and their labels, whatever stands beside them; the same as those of a folder."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from dpmot.data import folder

DRAW = np.random.default_rng(0)
IMAGES = DRAW.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
LABELS = np.repeat([0, 1, 2], 4)
OBJECTS = np.array([{}] * 12, dtype=object)


def load(root, size=8, channels=3, **arrays):
    np.savez(root / "images.npz", **arrays)
    return folder.load(root=root, size=size, channels=channels)


@pytest.mark.parametrize(
    "images",
    [
        IMAGES,
        np.ascontiguousarray(IMAGES.transpose(0, 3, 1, 2)),
        np.concatenate([IMAGES, np.full_like(IMAGES, 255)[..., :1]], -1),
    ],
    ids=["channels last", "channels first", "opaque alpha"],
)
def test_images_are_found_by_their_shape_and_type(tmp_path, images):
    np.testing.assert_array_equal(load(tmp_path, anything=images).images, IMAGES.transpose(0, 3, 1, 2))


def test_grey_images_may_have_a_channel_axis_or_none(tmp_path):
    for grey in (IMAGES[..., 0], IMAGES[..., :1], IMAGES[:, None, :, :, 0]):
        found = load(tmp_path, channels=1, images=np.ascontiguousarray(grey))
        np.testing.assert_array_equal(found.images, IMAGES[:, None, :, :, 0])


@pytest.mark.parametrize("channels", [1, 3])
def test_the_same_pictures_come_the_same_from_a_folder_an_archive_and_an_npz(tmp_path, channels):
    pictures = DRAW.integers(0, 256, (12, 20, 14, 3), dtype=np.uint8)
    shas = {load(tmp_path, channels=channels, images=pictures, labels=LABELS).sha256}
    with zipfile.ZipFile(tmp_path / "zipped.zip", "w") as archive:
        for k, picture in enumerate(pictures):
            content = io.BytesIO()
            Image.fromarray(picture).save(content, "PNG")
            archive.writestr(f"{'abc'[LABELS[k]]}/{k}.png", content.getvalue())
        archive.extractall(tmp_path / "files")
    for name in ("zipped", "files"):
        shas.add(folder.load(root=tmp_path, folder=name, size=8, channels=channels).sha256)
    assert len(shas) == 1


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        LABELS[:, None],
        np.eye(3)[LABELS],
        np.eye(3)[LABELS] > 0,
        LABELS.astype(np.float32),
        5 * LABELS + 1,
        np.array(list("abc"))[LABELS],
        np.array([b"a", b"b", b"c"])[LABELS],
    ],
    ids=["numbers", "column", "rows of classes", "rows of booleans", "floats", "numbers with gaps", "texts", "bytes"],
)
@pytest.mark.parametrize("name", ["labels", "y", "arr_1"])
def test_labels_are_read_as_people_store_them(tmp_path, labels, name):
    found = load(tmp_path, images=IMAGES, **{name: labels})
    assert found.num_classes == 3 and found.labels.tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    "labels",
    [
        np.where(LABELS, 1, np.inf),
        LABELS + 0.5,
        LABELS * np.nan,
        LABELS[:5],
        np.full((12, 3), 1 / 3),
        np.eye(3)[LABELS] * 2,
        OBJECTS,
    ],
    ids=["infinity", "halves", "NaN", "too few", "soft", "rows of twos", "objects"],
)
def test_labels_that_are_none_are_refused_by_name(tmp_path, labels):
    with pytest.raises(ValueError, match=r"^images\.npz: labels\.npy (must hold whole numbers|is damaged or no plain)"):
        load(tmp_path, images=IMAGES, labels=labels)


def test_two_arrays_that_could_be_labels_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"labels\.npy, y\.npy could all be labels"):
        load(tmp_path, images=IMAGES, labels=LABELS, y=LABELS)


def test_names_of_the_classes_and_other_targets_are_no_labels(tmp_path):
    names = np.array(["owl", "cat", "dog"])
    found = load(tmp_path, images=IMAGES, labels=LABELS, classes=names, target=IMAGES[..., 0].copy())
    assert found.labels.tolist() == LABELS.tolist() and "; not read: classes.npy, target.npy" in found.note


@pytest.mark.parametrize("kind", ["<u2", ">u2"])
def test_16_bit_images_come_as_from_files_of_16_bits(tmp_path, kind):
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    grey = load(tmp_path, size=16, channels=1, images=np.stack([ramp] * 3).astype(kind))
    colour = load(tmp_path, size=16, images=np.stack([np.stack([ramp, ramp.T, ramp], -1)] * 3).astype(kind))
    np.testing.assert_array_equal(grey.images[0, 0], ramp >> 8)
    np.testing.assert_array_equal(colour.images[0, 1], ramp.T >> 8)
    assert "; 3 of 3 with more than 8 bits a channel (cut to 8)" in grey.note


def test_levels_of_8_bits_in_uint16_are_not_shown_as_black(tmp_path):
    with pytest.raises(
        ValueError, match=r"^images\.npz: images\.npy is uint16, but its levels end at 255; store uint8"
    ):
        load(tmp_path, images=IMAGES.astype(np.uint16))


def test_images_of_uint8_come_before_those_of_uint16(tmp_path):
    found = load(tmp_path, photos=IMAGES, depth=np.full((12, 8, 8), 999, np.uint16))
    np.testing.assert_array_equal(found.images, IMAGES.transpose(0, 3, 1, 2))
    assert "; not read: depth.npy" in found.note


def test_images_in_fortran_order_are_read(tmp_path):
    np.testing.assert_array_equal(load(tmp_path, images=np.asfortranarray(IMAGES)).images, IMAGES.transpose(0, 3, 1, 2))


def test_an_array_that_is_there_twice_is_refused_by_name(tmp_path):
    np.savez(tmp_path / "images.npz", images=IMAGES)
    with zipfile.ZipFile(tmp_path / "images.npz", "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("images.npy", b"")
    with pytest.raises(ValueError, match=r"^images\.npz: holds images\.npy twice; keep one"):
        folder.load(root=tmp_path, size=8)


def test_what_stands_beside_is_not_read_and_that_is_said(tmp_path):
    found = load(tmp_path, images=IMAGES, masks=IMAGES[..., 0].copy(), meta=OBJECTS, scale=np.float32(3))
    np.testing.assert_array_equal(found.images, IMAGES.transpose(0, 3, 1, 2))
    assert "; not read: masks.npy, meta.npy, scale.npy" in found.note and found.num_classes == 1


@pytest.mark.parametrize(
    "arrays",
    [
        {"x_train": IMAGES, "x_test": IMAGES},
        {"images": IMAGES / 255},
        {"images": (IMAGES / 127.5 - 1).astype(np.float32)},
        {"images": IMAGES.astype(np.int64)},
        {"images": IMAGES[:, :0]},
        {"images": IMAGES[0]},
        {"images": IMAGES > 127},
        {"images": IMAGES / 255, "masks": IMAGES[..., 0].copy()},
        {"images": OBJECTS, "masks": IMAGES[..., 0].copy()},
        {"photos": IMAGES / 255, "masks": IMAGES[..., 0].copy()},
        {"images": OBJECTS},
        {"images": DRAW.integers(0, 256, (12, 3, 8, 3), dtype=np.uint8)},
        {"labels": LABELS},
    ],
    ids=[
        "two",
        "in 0..1",
        "in -1..1",
        "int64",
        "no height",
        "a single one",
        "booleans",
        "floats and masks",
        "objects and masks",
        "floats of no known name and masks",
        "objects",
        "two channel axes",
        "none",
    ],
)
def test_where_the_images_are_not_one_uint8_array_all_arrays_are_named(tmp_path, arrays):
    with pytest.raises(
        ValueError, match=r"^images\.npz: must hold one uint8 array.* found .*; keep one .* 0\.\.255"
    ) as told:
        load(tmp_path, **arrays)
    assert all(f"{name}.npy" in str(told.value) for name in arrays)
