"""Folders and zip archives as people have them: endings, names, order, links, hidden files; the same from both."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpmot.data import folder


def noise(seed, size=(8, 8)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3)).astype(np.uint8))


def encoded(picture, kind="PNG"):
    content = io.BytesIO()
    picture.save(content, kind)
    return content.getvalue()


DOT = encoded(noise(0))
THREE = {f"{k}.png": encoded(noise(k)) for k in range(3)}


def write_folder(root, members):
    for name, content in members.items():
        path = os.path.join(root, "images", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not name.endswith("/"):
            with open(path, "wb") as file:
                file.write(content)


def write_zip(root, members):
    with zipfile.ZipFile(root / "images.zip", "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo("x")
            info.filename = name  # as given: ZipInfo would change it
            archive.writestr(info, content)


def load(root, **options):
    return folder.load(root=root, **{"size": 8, **options})


@pytest.fixture(params=["folder", "zip"])
def write(request, tmp_path):
    """Write members and load them, from a folder or from an archive."""

    def both(members, **options):
        {"folder": write_folder, "zip": write_zip}[request.param](tmp_path, members)
        return load(tmp_path, **options)

    return both


# --- endings -----------------------------------------------------------------------------------------------

KINDS = {"png": "PNG", "webp": "WEBP", "bmp": "BMP", "gif": "GIF", "tif": "TIFF", "tiff": "TIFF"}
KINDS |= dict.fromkeys(("jpg", "jpeg", "jpe", "jfif"), "JPEG") | dict.fromkeys(("ppm", "pgm", "pbm", "pnm"), "PPM")


def test_every_common_ending_is_read_in_both_cases(write):
    found = write(
        {f"{k}.{e}": encoded(noise(1), KINDS[e.lower()]) for e in KINDS for k, e in enumerate((e, e.upper()))}
    )
    assert len(found.images) == 2 * len(KINDS) and " read" not in found.note


def test_what_is_not_read_is_counted_with_its_ending_and_place(write):
    others = {f"owl/{k}.svg": b"" for k in range(5)} | {"owl/5.SVG": b"", "labels.csv": b"", "0": DOT, "a.b\nc": b""}
    found = write({**THREE, **others})
    assert "; 3 of 12 files read; 6 .svg in owl/, 1 '.b\\nc', 1 .csv, 1 without ending are not" in found.note


def test_a_folder_without_a_file_is_named_because_its_class_is_missing(write):
    found = write({f"{kind}/{k}.png": DOT for kind in "ab" for k in range(3)} | {"owl/": b""})
    assert found.num_classes == 2 and found.note.endswith("2 classes: a, b; nothing in owl/")


def test_where_nothing_is_read_the_refusal_says_what_lies_there(write):
    with pytest.raises(ValueError, match=r"holds 0 images, at least 3 .*; 0 of 2 files read; 2 \.heic are not"):
        write({"a.heic": b"", "b.heic": b""})


def test_the_content_and_not_the_ending_says_of_which_format_a_file_is(write):
    found = write({**THREE, "3.jpg": DOT, "4.png": encoded(noise(4), "GIF")})
    np.testing.assert_array_equal(found.images[3], found.images[0])


def test_files_that_systems_leave_behind_are_no_pictures_and_not_counted(write):
    left = [
        ".DS_Store",
        "._0.png",
        "__MACOSX/._0.png",
        "Thumbs.db",
        "desktop.ini",
        ".hidden/0.png",
        "@eaDir/0.png",
        "lost+found/0.png",
    ]
    found = write({**THREE, **dict.fromkeys(left, b"x")})
    assert len(found.images) == 3 and " read" not in found.note


def test_pictures_that_are_smaller_than_asked_for_are_enlarged_and_counted(write):
    assert "; 3 of 4 enlarged" in write({**THREE, "large.png": encoded(noise(3, (40, 12)))}, size=12).note


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    write_folder(tmp_path, THREE)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # the tests may run as root, whom no permission stops
    with pytest.raises(ValueError, match=r"images/0\.png: Permission denied"):
        load(tmp_path)


# --- names and order ---------------------------------------------------------------------------------------

ODD = [
    "1.png",
    "2.png",
    "10.png",
    "5²0.png",
    "٣.png",
    "1.png",
    "a b.png",
    "100%.png",
    "emoji😀.png",
    "'q'.png",
    "{}.png",
]
ODD += ["line\nend.png", "tab\t.png", "#.png", "-.png", "~.png", "ß.png", '"q".png', "1.PNG", "9" * 200 + ".png"]


def test_names_with_any_characters_are_read_in_one_order_from_a_folder_and_an_archive(tmp_path):
    pictures = {name: encoded(noise(k)) for k, name in enumerate(dict.fromkeys(ODD))}
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    write_folder(tmp_path / "a", pictures)
    write_zip(tmp_path / "b", dict(reversed(pictures.items())))
    one, other = load(tmp_path / "a"), load(tmp_path / "b")
    assert len(one.images) == len(pictures) and one.sha256 == other.sha256


def test_numbers_are_in_order_and_names_that_differ_in_zeros_only_have_one_order(write):
    names = ["1.png", "01.png", "001.png", "2.png", "10.png"]
    found = write({name: encoded(noise(k)) for k, name in enumerate(reversed(names))})
    order = [noise(len(names) - 1 - names.index(name)) for name in ("001.png", "01.png", "1.png", "2.png", "10.png")]
    for image, expected in zip(found.images, order, strict=True):
        np.testing.assert_array_equal(image.transpose(1, 2, 0), np.asarray(expected))


def test_both_ways_to_store_an_accent_have_one_order(tmp_path):
    for k, accent in enumerate(("\u00e9", "e\u0301")):
        (tmp_path / str(k)).mkdir()
        names = [f"{accent}.png", "z.png", "f.png", "d.png"]
        write_zip(tmp_path / str(k), {name: encoded(noise(n)) for n, name in enumerate(names)})
    assert load(tmp_path / "0").sha256 == load(tmp_path / "1").sha256


def test_a_name_that_is_no_text_is_read_and_one_line_names_it_where_it_is_damaged(tmp_path):
    write_folder(tmp_path, {**THREE, os.fsdecode(b"\xff.png"): DOT})
    assert len(load(tmp_path).images) == 4
    write_folder(tmp_path, {os.fsdecode(b"\xfe\n.png"): b"x"})
    with pytest.raises(ValueError, match=r"udcfe\\n\.png': no image") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value) and str(caught.value).isascii()


# --- folders as classes ------------------------------------------------------------------------------------


def test_a_common_top_folder_is_no_class(write):
    found = write({f"images/{kind}/{name}": content for kind in "ab" for name, content in THREE.items()})
    assert found.num_classes == 2 and "2 classes: a, b" in found.note


@pytest.mark.parametrize(
    "names",
    [("0.png", "a/1.png", "b/2.png"), ("t/0.png", "t/a/1.png", "t/b/2.png"), ("a/0.png", "a/x/1.png", "b/2.png")],
)
def test_images_beside_folders_of_images_are_refused(write, names):
    with pytest.raises(ValueError, match=r"images (at its top|in \w+) lie beside the folder [\w/]+, so their class"):
        write(dict.fromkeys(names, DOT))


@pytest.mark.parametrize("names", [("train/a", "train/b", "test/a"), ("images/Train", "images/val"), ("val/a", "test")])
def test_folders_that_are_parts_of_a_data_set_are_not_taken_for_classes(write, names):
    with pytest.raises(ValueError, match=r"its folders \w+, \w+ are parts of a data set, not classes"):
        write({f"{name}/{k}.png": DOT for name in names for k in range(3)})


def test_train_among_other_classes_is_a_class(write):
    assert write({f"{name}/{k}.png": DOT for name in ("bus", "train") for k in range(3)}).num_classes == 2


@pytest.mark.parametrize("name", ["images/", "./images"])
def test_an_archive_is_found_by_a_name_that_is_spelled_as_that_of_a_folder(tmp_path, name):
    write_zip(tmp_path, THREE)
    assert len(load(tmp_path, folder=name).images) == 3


def test_a_rare_class_is_named_with_its_count_and_a_class_of_three_is_in_every_part(write):
    sizes = {"a": 60, "b": 60, "c": 1, "d": 3}
    found = write({f"{kind}/{k}.png": DOT for kind, size in sizes.items() for k in range(size)})
    assert 'class "c" has 1 of 124 images, none in split ' in found.note and 'class "d"' not in found.note
    assert sorted(found.split[found.labels == 3]) == ["A", "B", "C"]


# --- links -------------------------------------------------------------------------------------------------


@pytest.fixture
def linked(tmp_path):
    write_folder(tmp_path, {f"{kind}/{name}": content for kind in "ab" for name, content in THREE.items()})
    return tmp_path


def test_linked_files_and_class_folders_are_read_wherever_they_lie(linked):
    (linked / "elsewhere").mkdir()
    for name, content in THREE.items():
        (linked / "elsewhere" / name).write_bytes(content)
    (linked / "images" / "c").symlink_to(linked / "elsewhere")
    (linked / "images" / "d").symlink_to(linked / "images" / "a")
    (linked / "images" / "a" / "3.png").symlink_to(linked / "elsewhere" / "2.png")
    found = load(linked)
    assert found.labels.tolist() == [0] * 4 + [1] * 3 + [2] * 3 + [3] * 4
    np.testing.assert_array_equal(found.images[3], found.images[2])


def test_a_class_folder_whose_link_leads_nowhere_is_named(linked):
    (linked / "images" / "owl").symlink_to(linked / "a disk that is not there")
    with pytest.raises(ValueError, match=r"images/owl: a link that leads nowhere; mend or remove it"):
        load(linked)


def test_a_link_elsewhere_and_back_is_refused_by_name(linked):
    (linked / "elsewhere" / "deep").mkdir(parents=True)
    (linked / "elsewhere" / "deep" / "up").symlink_to(linked / "elsewhere")
    (linked / "images" / "c").symlink_to(linked / "elsewhere" / "deep")
    with pytest.raises(ValueError, match=r"images/c/up/deep/up: a link that leads back"):
        load(linked)


@pytest.mark.parametrize("target", ["images", "images/a", "images/b"])
def test_links_in_a_circle_are_refused_by_name(linked, target):
    (linked / "images" / "a" / "l").symlink_to(linked / target)
    (linked / "images" / "b" / "m").symlink_to(linked / "images" / "a")
    with pytest.raises(ValueError, match=r"images/[ab]/\w.*: a link that leads back"):
        load(linked)


def test_a_data_folder_may_itself_be_a_link(tmp_path, linked):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "images").symlink_to(linked / "images")
    assert load(tmp_path / "root").num_classes == 2


def test_broken_links_and_what_is_no_plain_file_are_named(linked):
    (linked / "images" / "a" / "9.png").symlink_to(linked / "nowhere.png")
    with pytest.raises(ValueError, match=r"images/a/9\.png: No such file"):
        load(linked)
    (linked / "images" / "a" / "9.png").unlink()
    os.mkfifo(linked / "images" / "a" / "9.png")
    with pytest.raises(ValueError, match=r"images/a/9\.png: is no plain file"):
        load(linked)


# --- members of an archive ---------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["{}", "/{}", "../../{}", "./{}", "top/{}"])
def test_members_have_the_classes_of_their_folders_however_their_names_are_stored(tmp_path, change):
    names = [f"{kind}/{k}.png" for kind in "ab" for k in range(3)]
    write_zip(tmp_path, {change.format(name): DOT for name in names})
    assert load(tmp_path).labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_backslashes_of_an_archive_part_folders(tmp_path):
    write_zip(tmp_path, {f"{kind}\\{k}.png": DOT for kind in "ab" for k in range(3)} | {"a\\": b""})
    assert load(tmp_path).labels.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("again", ["a/0.png", "./a/0.png", "a\\0.png", "/a/0.png"])
def test_a_member_that_is_there_twice_is_refused_by_name(tmp_path, again):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for name in ("a/0.png", "a/1.png", "a/2.png", again):
            info = zipfile.ZipInfo("x")
            info.filename = name
            archive.writestr(info, DOT)
    with pytest.raises(ValueError, match=r"images\.zip: holds a/0\.png twice; keep one"):
        load(tmp_path)


def test_an_encrypted_member_is_refused_by_name(tmp_path):
    write_zip(tmp_path, THREE)
    content = bytearray((tmp_path / "images.zip").read_bytes())
    content[content.find(b"PK\x01\x02") + 8] |= 1  # the flag in the directory
    (tmp_path / "images.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"images\.zip: 0\.png is encrypted"):
        load(tmp_path)


def test_large_archives_and_other_compressions_are_read(tmp_path):
    kinds = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2]
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for k, kind in enumerate(kinds):
            info = zipfile.ZipInfo(f"{k}.png")
            info.compress_type = kind
            with archive.open(info, "w", force_zip64=True) as file:
                file.write(DOT)
    assert len(load(tmp_path).images) == 4


def test_a_link_in_an_archive_is_not_followed(tmp_path):
    write_zip(tmp_path, THREE)
    with zipfile.ZipFile(tmp_path / "images.zip", "a") as archive:
        info = zipfile.ZipInfo("3.png")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/hostname")
    with pytest.raises(ValueError, match=r"images\.zip: 3\.png: no image"):
        load(tmp_path)


def test_a_copy_that_an_older_decoder_made_is_made_anew(tmp_path):
    write_folder(tmp_path, THREE)
    load(tmp_path)
    (manifest,) = (tmp_path / ".decoded").glob("*.json")
    manifest.write_text(manifest.read_text().replace('"decoder": 2', '"decoder": 1'))
    load(tmp_path)
    assert '"decoder": 2' in manifest.read_text()
