"""CelebA, FFHQ and folders of images: small made copies, whole and damaged, decoded once."""

import io
import json
import os
import subprocess
import sys
import zipfile
from hashlib import md5

import numpy as np
import pytest
from PIL import Image

from dpmot.data import MissingData, _pictures, celeba, ffhq, folder, stand_in
from dpmot.data._viewer import FILTERS, Picture


def smooth(width, height, seed=0):
    """An RGB picture without sharp edges, so that JPEG keeps it."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    phase = np.random.default_rng(seed).uniform(0, 6, 3)
    return Image.fromarray(np.stack([127 + 100 * np.sin(3 * x + 2 * y + p) for p in phase], -1).astype(np.uint8))


def encoded(picture, kind="PNG"):
    content = io.BytesIO()
    picture.save(content, kind)
    return content.getvalue()


def write_zip(path, members, compression=zipfile.ZIP_STORED):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def write_all(path, members):
    for name, content in members.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)


# --- any folder of images ----------------------------------------------------------------------------------


@pytest.fixture
def pictures():
    """Twelve pictures of three classes, named so that text and number order differ."""
    return {f"{'abc'[i % 3]}/{i}.png": encoded(smooth(40, 30, i)) for i in range(12)}


@pytest.mark.parametrize("archive", [False, True])
def test_a_folder_or_its_archive_is_read_in_natural_order_with_subfolders_as_classes(tmp_path, pictures, archive):
    write_zip(tmp_path / "images.zip", pictures) if archive else write_all(tmp_path / "images", pictures)
    found = folder.load(root=tmp_path, size=16)
    assert found.images.shape == (12, 3, 16, 16) and found.num_classes == 3
    assert found.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    names = [f"{c}/{i}.png" for c, first in zip("abc", range(3), strict=True) for i in range(first, 12, 3)]
    for image, name in zip(found.images, names, strict=True):
        square = Image.open(io.BytesIO(pictures[name])).crop((5, 0, 35, 30))
        expected = np.asarray(square.resize((16, 16), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
        np.testing.assert_array_equal(image, expected)
    assert [(found.split == part).sum() for part in "ABC"] == [4, 4, 4]


def test_images_beside_each_other_are_one_class(tmp_path, pictures):
    write_all(tmp_path / "images", {name.replace("/", "-"): content for name, content in pictures.items()})
    assert folder.load(root=tmp_path, size=8).num_classes == 1


@pytest.mark.parametrize("resize", FILTERS)
def test_every_filter_is_antialiased(resize):
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255  # finer than the result can show: it must come out grey, sampling points would be 0 or 255
    shown = Picture((1, 8, 8), resize=resize).decode(encoded(Image.fromarray(stripes)), "stripes")[0]
    assert np.abs(shown[0, :, 1:-1].astype(int) - 127).max() <= 16  # an eighth of the range, for windows cut at ends


def test_a_picture_of_the_right_size_is_not_touched():
    picture = smooth(16, 16)
    shown = Picture((3, 16, 16)).decode(encoded(picture), "x")[0]
    np.testing.assert_array_equal(shown.transpose(1, 2, 0), np.asarray(picture))


@pytest.mark.parametrize("keep", [0, 3, 60, -20])
def test_a_cut_off_picture_is_named_and_nothing_is_kept(tmp_path, pictures, keep):
    pictures["b/4.png"] = pictures["b/4.png"][:keep]
    write_all(tmp_path / "images", pictures)
    with pytest.raises(ValueError, match=r"images/b/4\.png: (damaged|no image)"):
        folder.load(root=tmp_path, size=8)
    assert not list((tmp_path / ".decoded").iterdir())


def test_a_flipped_bit_in_a_png_is_found_by_its_own_checksum(tmp_path, pictures):
    content = bytearray(pictures["b/4.png"])
    content[len(content) // 2] ^= 1
    write_all(tmp_path / "images", {**pictures, "b/4.png": bytes(content)})
    with pytest.raises(ValueError, match=r"images/b/4\.png: damaged"):
        folder.load(root=tmp_path, size=8)


def test_a_file_that_is_no_picture_is_named(tmp_path, pictures):
    write_all(tmp_path / "images", {**pictures, "a/x.jpg": b"not a picture"})
    with pytest.raises(ValueError, match=r"images/a/x\.jpg: no image"):
        folder.load(root=tmp_path)


def test_names_that_lead_out_of_an_archive_write_nothing(tmp_path, pictures):
    write_zip(tmp_path / "in" / "images.zip", {f"../../{name}": content for name, content in pictures.items()})
    assert len(folder.load(root=tmp_path / "in", size=8).images) == 12
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert {path.name for path in (tmp_path / "in").iterdir()} == {"images.zip", ".decoded"}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_bit_in_an_archive_is_found_by_the_members_checksum(tmp_path, pictures, compression):
    write_zip(tmp_path / "images.zip", pictures, compression)
    content = bytearray((tmp_path / "images.zip").read_bytes())
    content[400] ^= 4
    (tmp_path / "images.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"images\.zip: a/0\.png: damaged"):
        folder.load(root=tmp_path)


def test_a_cut_off_archive_is_named(tmp_path, pictures):
    write_zip(tmp_path / "images.zip", pictures)
    (tmp_path / "images.zip").write_bytes((tmp_path / "images.zip").read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"images\.zip: damaged, cut off or no zip file"):
        folder.load(root=tmp_path)


def test_a_member_that_announces_too_much_is_not_read(tmp_path, pictures, monkeypatch):
    write_zip(tmp_path / "images.zip", pictures)
    monkeypatch.setattr(_pictures, "LARGEST", 100)
    with pytest.raises(ValueError, match=r"images\.zip: a/0\.png: announces \d+ bytes"):
        folder.load(root=tmp_path)


# --- the decoded copy --------------------------------------------------------------------------------------


def test_pictures_are_decoded_once_and_memory_mapped(tmp_path, pictures, monkeypatch):
    write_all(tmp_path / "images", pictures)
    first = folder.load(root=tmp_path, size=8)
    monkeypatch.setattr(Picture, "decode", None)  # a second decoding would fail
    second = folder.load(root=tmp_path, size=8)
    assert isinstance(second.images, np.memmap) and first.sha256 == second.sha256


def test_a_copy_of_other_pictures_or_options_is_made_anew(tmp_path, pictures):
    write_all(tmp_path / "images", pictures)
    before = folder.load(root=tmp_path, size=8).sha256
    write_all(tmp_path / "images", {"a/0.png": encoded(smooth(40, 30, 77))})
    after = folder.load(root=tmp_path, size=8).sha256
    assert before != after != folder.load(root=tmp_path, size=8, resize="box").sha256


@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_a_damaged_copy_is_refused_by_name(tmp_path, pictures, damage):
    write_all(tmp_path / "images", pictures)
    folder.load(root=tmp_path, size=8)
    (copy,) = (tmp_path / ".decoded").glob("*.npy")
    content = bytearray(copy.read_bytes())
    content[500] ^= 1
    copy.write_bytes(content if damage == "flip" else content[:-10])
    with pytest.raises(ValueError, match=rf"{copy.name} is damaged: .*delete it and run again"):
        folder.load(root=tmp_path, size=8)


def test_copies_go_to_the_folder_that_the_environment_names(tmp_path, pictures, monkeypatch):
    write_all(tmp_path / "images", pictures)
    monkeypatch.setenv("DPMOT_CACHE", str(tmp_path / "cache"))
    folder.load(root=tmp_path, size=8)
    assert not (tmp_path / ".decoded").exists()
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".json", ".npy"]


def test_a_folder_that_cannot_be_written_says_what_to_set(tmp_path, pictures, monkeypatch):
    write_all(tmp_path / "images", pictures)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(_pictures, "exclusive", refuse)  # the tests may run as root, whom no permission stops
    with pytest.raises(OSError, match=r"\.decoded cannot be written: set DPMOT_CACHE to a folder"):
        folder.load(root=tmp_path, size=8)


def test_copies_that_may_only_be_read_are_read(tmp_path, pictures, monkeypatch):
    write_all(tmp_path / "images", pictures)
    made = folder.load(root=tmp_path, size=8).images.copy()
    monkeypatch.setattr(_pictures, "exclusive", lambda path: pytest.fail("a lock was asked for"))
    np.testing.assert_array_equal(folder.load(root=tmp_path, size=8).images, made)


def test_a_reader_between_the_copy_and_its_manifest_takes_its_turn(tmp_path, pictures, monkeypatch):
    write_all(tmp_path / "images", pictures)
    made = folder.load(root=tmp_path, size=8).images.copy()
    mapped, asked = _pictures._mapped, []

    def torn(file, digest):
        asked.append(digest)
        if len(asked) == 1:
            raise ValueError("the copy is new, the manifest is not")
        return mapped(file, digest)

    monkeypatch.setattr(_pictures, "_mapped", torn)
    np.testing.assert_array_equal(folder.load(root=tmp_path, size=8).images, made)
    assert len(asked) == 2


def test_two_processes_that_prepare_one_set_do_not_collide(tmp_path):
    pictures = {f"{i}.png": encoded(smooth(200, 200, i)) for i in range(120)}
    write_all(tmp_path / "images", pictures)
    code = (
        "import sys; from pathlib import Path; from dpmot.data import _pictures, folder\n"
        "made, decode = [], _pictures._decode\n"
        "_pictures._decode = lambda *given: (made.append(1), decode(*given))[1]\n"
        "print(folder.load(root=Path(sys.argv[1]), size=96).sha256, len(made))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    outcomes = [process.communicate() for process in [subprocess.Popen(command, **pipes) for _ in range(3)]]
    answers = [out.split() for out, _ in outcomes]
    assert len({digest for digest, _ in answers}) == 1, outcomes
    assert sorted(made for _, made in answers) == ["0", "0", "1"]
    assert sorted(path.suffix for path in (tmp_path / ".decoded").iterdir()) == [".json", ".npy"]


def test_a_process_that_dies_while_decoding_leaves_no_copy_and_no_lock(tmp_path, pictures):
    write_all(tmp_path / "images", pictures)
    code = (
        "import os, sys; from pathlib import Path; from dpmot.data import _pictures, folder\n"
        "_pictures.Picture.decode = lambda self, content, name: os._exit(9) if name.endswith('11.png') else "
        "(__import__('numpy').zeros(self.shape, 'uint8'), [])\n"
        "folder.load(root=Path(sys.argv[1]), size=8)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True)
    assert done.returncode == 9 and not list((tmp_path / ".decoded").glob("*.npy"))
    assert folder.load(root=tmp_path, size=8).images.any()
    assert sorted(path.suffix for path in (tmp_path / ".decoded").iterdir()) == [".json", ".npy"]  # and nothing half


# --- CelebA ------------------------------------------------------------------------------------------------

COUNT = 12


@pytest.fixture
def celeba_root(tmp_path, monkeypatch):
    """A CelebA of twelve pictures with its own checksums, as an archive."""
    home = tmp_path / "celeba"
    names = [f"{i:06}.jpg" for i in range(1, COUNT + 1)]
    pictures = {name: encoded(smooth(178, 218, i), "JPEG") for i, name in enumerate(names)}
    write_zip(home / celeba.ARCHIVE, {f"{celeba.FOLDER}/{name}": content for name, content in pictures.items()})
    parts = [0, 1, 2] * (COUNT // 3)
    (home / celeba.PARTITION).write_text("".join(f"{name} {part}\n" for name, part in zip(names, parts, strict=True)))
    rows = [f"{name}  {'1' if i % 2 else '-1'} {'1' if i < 6 else '-1'} -1\n" for i, name in enumerate(names)]
    (home / celeba.ATTRIBUTES).write_text(f"{COUNT}\nMale Smiling Young\n" + "".join(rows))
    sums = {name: md5((home / name).read_bytes()).hexdigest() for name in celeba.MD5SUMS}
    monkeypatch.setattr(celeba, "MD5SUMS", sums)
    return tmp_path, pictures


def test_celeba_has_the_published_parts_and_classes_from_attributes(celeba_root):
    found = celeba.load(root=celeba_root[0])
    assert found.images.shape == (COUNT, 3, 64, 64) and found.num_classes == 4
    assert found.split.tolist() == ["A", "B", "C"] * 4
    assert found.labels.tolist() == [i % 2 + 2 * (i < 6) for i in range(COUNT)]
    assert "crop centre_140" in found.note and "archive checked by MD5" in found.note
    assert celeba.load(root=celeba_root[0], attributes=()).num_classes == 1


@pytest.mark.parametrize(("crop", "box"), [("centre_140", (19, 39, 159, 179)), ("face_128", (25, 57, 153, 185))])
def test_both_crops_are_what_their_authors_code_does(celeba_root, crop, box):
    root, pictures = celeba_root
    found = celeba.load(root=root, crop=crop)
    for image, content in zip(found.images, pictures.values(), strict=True):
        expected = Image.open(io.BytesIO(content)).crop(box).resize((64, 64), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(image, np.asarray(expected).transpose(2, 0, 1))


def test_a_smaller_a_leaves_b_and_c_alone(celeba_root):
    whole, small = celeba.load(root=celeba_root[0]), celeba.load(root=celeba_root[0], num_train=2)
    assert [len(small.part(part)[1]) for part in "ABC"] == [2, 4, 4]
    for part in "BC":
        np.testing.assert_array_equal(small.part(part)[0], whole.part(part)[0])
    with pytest.raises(ValueError, match=r"celeba: num_train must be in 1\.\.4 .* got 5"):
        celeba.load(root=celeba_root[0], num_train=5)


@pytest.mark.parametrize("name", [celeba.ARCHIVE, celeba.PARTITION, celeba.ATTRIBUTES])
def test_a_changed_file_of_celeba_is_found_by_its_md5(celeba_root, name):
    path = celeba_root[0] / "celeba" / name
    content = bytearray(path.read_bytes())
    content[-3] ^= 1  # in the archive: the length of its comment, which zipfile does not read
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^{name}: (MD5 is [0-9a-f]{{32}}, not|damaged)"):
        celeba.load(root=celeba_root[0])


def test_pictures_of_another_size_are_named(celeba_root, monkeypatch):
    root, pictures = celeba_root
    (root / "celeba" / celeba.ARCHIVE).unlink()
    write_all(root / "celeba" / celeba.FOLDER, {**pictures, "000007.jpg": encoded(smooth(218, 178), "JPEG")})
    with pytest.raises(ValueError, match=r"000007\.jpg: must be 178x218 pixels, found 218x178"):
        celeba.load(root=root)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_picture_of_the_folder_that_is_cut_off_is_named_and_nothing_is_kept(celeba_root, share):
    root, pictures = celeba_root
    (root / "celeba" / celeba.ARCHIVE).unlink()
    whole = pictures["000007.jpg"]
    write_all(root / "celeba" / celeba.FOLDER, {**pictures, "000007.jpg": whole[: int(share * len(whole))]})
    with pytest.raises(ValueError, match=r"000007\.jpg: (no image|damaged|cut off|.*truncated)"):
        celeba.load(root=root)
    assert not list(root.rglob("*.npy"))
    write_all(root / "celeba" / celeba.FOLDER, {"000007.jpg": whole})
    assert len(celeba.load(root=root).images) == COUNT


def test_a_missing_picture_of_the_folder_is_named(celeba_root):
    root, pictures = celeba_root
    (root / "celeba" / celeba.ARCHIVE).unlink()
    write_all(root / "celeba" / celeba.FOLDER, dict(list(pictures.items())[:-1]))
    with pytest.raises(ValueError, match=r"img_align_celeba/000012\.jpg: No such file"):
        celeba.load(root=root)


def test_unknown_crops_and_attributes_are_refused_with_what_exists(celeba_root):
    with pytest.raises(ValueError, match='no crop "center_140": choose centre_140 or face_128'):
        celeba.load(root=celeba_root[0], crop="center_140")
    with pytest.raises(ValueError, match='no attribute "Bald": choose among Male, Smiling, Young'):
        celeba.load(root=celeba_root[0], attributes=["Bald"])


def test_a_list_that_is_missing_is_named(celeba_root):
    (celeba_root[0] / "celeba" / celeba.PARTITION).unlink()
    with pytest.raises(MissingData, match=r"list_eval_partition\.txt"):
        celeba.load(root=celeba_root[0])


# --- FFHQ --------------------------------------------------------------------------------------------------


@pytest.fixture
def faces(monkeypatch):
    """Twenty faces in the place of 70,000."""
    monkeypatch.setattr(ffhq, "COUNT", 20)
    return [smooth(256, 256, i) for i in range(20)]


def array_of(faces):
    return np.stack([np.asarray(face) for face in faces])


@pytest.mark.parametrize("version", ["npz", "npz, compressed", "npz, channels first", "zip", "folder"])
def test_every_version_of_ffhq_holds_the_same_images(tmp_path, faces, version):
    home, pixels = tmp_path / "ffhq", array_of(faces)
    home.mkdir()
    if version == "npz, compressed":
        np.savez_compressed(home / "ffhq256.npz", pixels)
    elif version.startswith("npz"):
        np.savez(home / "ffhq256.npz", pixels.transpose(0, 3, 1, 2) if "first" in version else pixels)
    elif version == "zip":
        write_zip(home / "ffhq256.zip", {f"{i}.png": encoded(face) for i, face in enumerate(faces)})
    else:
        write_all(home / "images256x256", {f"{i}.png": encoded(face) for i, face in enumerate(faces)})
    found = ffhq.load(root=tmp_path)
    np.testing.assert_array_equal(found.images, pixels.transpose(0, 3, 1, 2))
    assert found.num_classes == 1 and "no public checksum" in found.note
    assert [(found.split == part).sum() for part in "ABC"] == [16, 2, 2]


def test_the_published_pictures_are_resized(tmp_path, faces):
    big = [smooth(1024, 1024, i) for i in range(2)]
    contents = [encoded(face) for face in big]
    write_all(tmp_path / "ffhq" / "images1024x1024", {f"{i:05}.png": contents[i % 2] for i in range(20)})
    found = ffhq.load(root=tmp_path)
    expected = np.asarray(big[1].resize((256, 256), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    np.testing.assert_array_equal(found.images[7], expected)


def test_the_test_set_is_the_authors_shuffle():
    indices = list(range(1000))
    state = np.random.RandomState(2019)  # as np.random.seed(2019); np.random.shuffle(indices)
    state.shuffle(indices)
    split = ffhq.authors_split(1000)
    assert sorted(np.flatnonzero(split == "C")) == sorted(indices[900:])
    assert [(split == part).sum() for part in "AB"] == [800, 100]


def test_another_number_of_faces_is_refused(tmp_path, faces):
    (tmp_path / "ffhq").mkdir()
    np.savez(tmp_path / "ffhq" / "ffhq256.npz", array_of(faces)[:19])
    with pytest.raises(ValueError, match=r"ffhq256\.npz: must hold 20 images, found 19"):
        ffhq.load(root=tmp_path)


@pytest.mark.parametrize(
    "arrays",
    [
        {"x": np.zeros((20, 128, 128, 3), np.uint8)},
        {"x": np.zeros((20, 256, 256, 3), np.float32)},
        {"x": np.zeros(3, np.uint8)},
        {},
    ],
)
def test_an_npz_without_such_an_array_says_what_it_holds(tmp_path, faces, arrays):
    (tmp_path / "ffhq").mkdir()
    np.savez(tmp_path / "ffhq" / "ffhq256.npz", **arrays)
    with pytest.raises(ValueError, match=r"ffhq256\.npz: must hold one uint8 array .* found (x\.npy|nothing)"):
        ffhq.load(root=tmp_path)


def test_an_npz_of_objects_is_not_unpickled(tmp_path, faces):
    (tmp_path / "ffhq").mkdir()
    np.savez(tmp_path / "ffhq" / "ffhq256.npz", x=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"ffhq256\.npz: must hold one uint8 array .* found x\.npy, no plain array"):
        ffhq.load(root=tmp_path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_no_flipped_bit_in_the_npz_of_ffhq_goes_unnoticed(tmp_path, faces, save):
    (tmp_path / "ffhq").mkdir()
    path = tmp_path / "ffhq" / "ffhq256.npz"
    save(path, array_of(faces))
    good = path.read_bytes()
    for position in (100, len(good) // 3, len(good) - 200):
        damaged = bytearray(good)
        damaged[position] ^= 8
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"ffhq256\.npz"):
            ffhq.load(root=tmp_path)
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(ValueError, match=r"ffhq256\.npz: damaged, cut off"):
        ffhq.load(root=tmp_path)
    assert not list((tmp_path / "ffhq" / ".decoded").glob("*.npy"))


# --- stand-ins ---------------------------------------------------------------------------------------------


def test_stand_ins_have_the_shape_asked_for_and_say_that_they_mean_nothing():
    found = stand_in.load(of="ffhq", shape=(3, 20, 12), num_images=(30, 20, 10), num_classes=5)
    assert found.shape == (3, 20, 12) and [len(found.part(part)[1]) for part in "ABC"] == [30, 20, 10]
    assert found.note == "in the place of ffhq: stand-in images, no number means anything"
    assert len({image.tobytes() for image in found.images}) == 60
    assert stand_in.load(of="ffhq", shape=(3, 20, 12), seed=1).sha256 != stand_in.load(shape=(3, 20, 12)).sha256
    with pytest.raises(ValueError, match=r"shape: must be \(C, H, W\)"):
        stand_in.load(shape=(32, 32))


def test_the_manifest_says_what_a_copy_was_made_from(tmp_path, pictures):
    write_all(tmp_path / "images", pictures)
    folder.load(root=tmp_path, size=8)
    (manifest,) = (tmp_path / ".decoded").glob("*.json")
    found = json.loads(manifest.read_text())
    assert found["shape"] == [12, 3, 8, 8] and found["options"]["resize"] == "bicubic"
    assert {"source", "sha256"} <= set(found) and not os.path.exists(f"{manifest}.lock")
