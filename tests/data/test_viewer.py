"""One picture as a viewer shows it: every mode and format that people have, alone and among others of a data set."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile

from dpmot.data._viewer import Picture

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
RAMP16 = (RAMP.astype(np.uint16) << 8) + RAMP  # 257 times the ramp: 0 and 65535 are black and white
WHITE = 255


def encoded(picture, kind="PNG", **options):
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()


def png(levels, bits, colour, height=None, **chunks):
    """A PNG of rows of bytes, from the format's description: Pillow cannot write all that it reads."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    width = levels.shape[1] * 8 // bits if bits < 8 else levels.shape[1]
    head = struct.pack(">IIBBBBB", width, height or len(levels), bits, colour, 0, 0, 0)
    extra = b"".join(chunk(name.encode(), data) for name, data in chunks.items())
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in levels))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def shown(content, channels=1, size=16):
    """What comes of a file, and what was done, in words."""
    image, told = Picture((channels, size, size)).decode(content, "x.png")
    return (image[0] if channels == 1 else image), told


def layers(*channels):
    return Image.merge("RGBA" if len(channels) == 4 else "LA", [Image.fromarray(channel) for channel in channels])


BIG = RAMP16.astype(">u2")
GREY16 = {
    "PNG": encoded(Image.fromarray(RAMP16)),
    "TIFF": encoded(Image.fromarray(RAMP16), "TIFF"),
    "big-endian TIFF": encoded(Image.frombytes("I;16B", (16, 16), BIG.tobytes()), "TIFF"),
    "PGM": b"P5 16 16 65535\n" + BIG.tobytes(),
    "RGB PNG": png(np.repeat(BIG[..., None], 3, 2), 16, 2),
    "RGB PPM": b"P6 16 16 65535\n" + np.repeat(BIG[..., None], 3, 2).tobytes(),
    "grey and opaque alpha": png(np.stack([BIG, np.full_like(BIG, 65535)], -1), 16, 4),
}


@pytest.mark.parametrize("kind", GREY16)
@pytest.mark.parametrize("channels", [1, 3])
def test_a_16_bit_ramp_keeps_its_256_levels(kind, channels):
    image, told = shown(GREY16[kind], channels)
    np.testing.assert_array_equal(image, RAMP if channels == 1 else np.stack([RAMP] * 3))
    assert told == (
        [] if "PPM" in kind else ["with more than 8 bits a channel (cut to 8)"]
    )  # Pillow cuts those of PPM itself


def test_a_16_bit_ramp_without_low_bytes_keeps_its_levels_too():
    np.testing.assert_array_equal(shown(encoded(Image.fromarray(RAMP16 & 0xFF00)))[0], RAMP)


def tiff(levels, bits, colour=1):
    """A TIFF of one strip, from the format's description."""
    spp, data = levels.shape[2] if levels.ndim == 3 else 1, levels.tobytes()
    if bits == 12:
        data = int("".join(f"{level:012b}" for level in levels.ravel()), 2).to_bytes(len(data) * 3 // 4, "big")
    where = 8 + len(data)
    depth = (258, 3, spp, bits if spp == 1 else where)
    entries = [(256, 3, 1, 16), (257, 3, 1, 16), depth, (259, 3, 1, 1), (262, 3, 1, colour), (273, 4, 1, 8)]
    entries += [(277, 3, 1, spp), (278, 3, 1, 16), (279, 4, 1, len(data))]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<I", where + 2 * spp)
    return head + data + struct.pack(f"<{spp}H", *[bits] * spp) + struct.pack("<H", len(entries)) + table + bytes(4)


def test_the_other_depths_of_tiff_keep_the_ramp():
    for content in (tiff(RAMP16 >> 4, 12), tiff(np.repeat(RAMP16[..., None], 3, 2), 16, colour=2)):
        image, told = shown(content)
        np.testing.assert_array_equal(image, RAMP)
        assert told == ["with more than 8 bits a channel (cut to 8)"]


def test_a_tiff_whose_zero_is_white_is_not_shown_as_its_negative():
    np.testing.assert_array_equal(shown(encoded(Image.fromarray(RAMP16), "TIFF", tiffinfo={262: 0}))[0], WHITE - RAMP)


@pytest.mark.parametrize("kind", ["int32", "float32"])
def test_levels_without_a_known_white_are_refused_by_name(kind):
    with pytest.raises(ValueError, match=r"^x\.png: holds (32-bit|floats).* save it as 8- or 16-bit grey or RGB$"):
        shown(encoded(Image.fromarray(RAMP16.astype(kind)), "TIFF"))


def test_lab_colours_are_refused_by_name():
    with pytest.raises(ValueError, match=r"x\.png: holds LAB colours"):
        shown(encoded(Image.new("LAB", (16, 16)), "TIFF"))


# --- transparency ------------------------------------------------------------------------------------------

HALF = np.where(np.arange(16) < 8, 0, 255).astype(np.uint8) * np.ones((16, 1), np.uint8)  # the left half is clear
ON_WHITE = np.where(HALF == 0, WHITE, RAMP)
LEFT = np.where(HALF == 0, 7, 200).astype(np.uint8)
CLEAR = {
    "RGBA": encoded(layers(RAMP, RAMP, RAMP, HALF)),
    "RGBA, other hidden colour": encoded(layers(*[np.where(HALF == 0, 99, RAMP)] * 3, HALF)),
    "LA": encoded(layers(RAMP, HALF)),
    "WebP": encoded(layers(RAMP, RAMP, RAMP, HALF), "WEBP", lossless=True),
    "TIFF": encoded(layers(RAMP, RAMP, RAMP, HALF), "TIFF"),
}


@pytest.mark.parametrize("kind", CLEAR)
def test_a_colour_hidden_under_transparency_is_not_shown_but_white(kind):
    image, told = shown(CLEAR[kind])
    np.testing.assert_array_equal(image, ON_WHITE)
    assert told == ["transparent (shown on white)"]


@pytest.mark.parametrize(
    "content",
    [
        encoded(Image.fromarray(LEFT), transparency=7),
        encoded(Image.fromarray(LEFT.astype(np.uint16) << 8), transparency=7 << 8),
        encoded(Image.merge("RGB", [Image.fromarray(LEFT)] * 3), transparency=(7, 7, 7)),
        encoded(Image.fromarray(LEFT).convert("RGB").quantize(2), transparency=1),
        encoded(Image.fromarray(LEFT).convert("RGB").quantize(2), transparency=bytes([255, 0])),
    ],
    ids=["grey", "16-bit grey", "RGB", "palette, index", "palette, bytes"],
)
def test_a_level_that_means_clear_is_white(content):
    image, told = shown(content)
    assert (image[HALF == 0] == WHITE).all() and "transparent (shown on white)" in told
    assert (image[HALF == 255] != WHITE).all()


@pytest.mark.parametrize(("bits", "levels"), [(1, 0b01010101), (2, 0b01110111), (4, 0b00010011)])
def test_a_clear_level_of_few_bits_is_white(bits, levels):
    packed = np.full((16, 2 * bits), levels, np.uint8)
    clear = levels >> (8 - bits)  # the first pixel's level
    image, _ = shown(png(packed, bits, 0, tRNS=struct.pack(">H", clear)))
    opaque = {1: 255, 2: 255, 4: 51}[bits]
    assert image[0, :2].tolist() == [WHITE, opaque]


def test_an_opaque_fourth_channel_changes_nothing():
    image, told = shown(encoded(layers(RAMP, RAMP, RAMP, np.full_like(RAMP, 255))))
    np.testing.assert_array_equal(image, RAMP)
    assert not told


def test_half_transparent_black_is_grey():
    image, _ = shown(encoded(layers(np.zeros_like(RAMP), np.full_like(RAMP, 128))))
    assert set(np.unique(image)) == {127}


# --- colours -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_palettes_one_bit_and_cmyk_show_their_colours(channels):
    red = Image.new("RGB", (16, 16), (200, 30, 30))
    expected = np.asarray(red.convert("L" if channels == 1 else "RGB")).reshape(16, 16, channels).transpose(2, 0, 1)
    for content in (encoded(red.quantize(4)), encoded(red.quantize(4), "GIF"), encoded(red, "BMP")):
        np.testing.assert_array_equal(shown(content, channels)[0].reshape(expected.shape), expected)
    assert np.unique(shown(encoded(Image.fromarray(RAMP > 99)))[0]).tolist() == [0, 255]
    ink = Image.merge("CMYK", [Image.new("L", (16, 16), 0)] * 3 + [Image.fromarray(255 - RAMP)])
    assert np.abs(shown(encoded(ink, "JPEG", quality=100))[0].astype(int) - RAMP).max() <= 4  # JPEG's own loss


def test_a_profile_or_gamma_is_not_applied_and_said_unless_it_is_that_of_srgb():
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    linear, usual = (png(RAMP, 8, 0, gAMA=struct.pack(">I", gamma)) for gamma in (100_000, 45_455))
    for content, told in (
        (encoded(Image.fromarray(RAMP), icc_profile=b"some other profile"), True),
        (encoded(Image.fromarray(RAMP), icc_profile=srgb), False),
        (linear, True),
        (usual, False),
    ):
        image, said = shown(content)
        np.testing.assert_array_equal(image, RAMP)
        assert said == (["with a colour profile or gamma (not applied)"] if told else [])


# --- orientation and frames --------------------------------------------------------------------------------

CORNERS = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", CORNERS)
def test_the_orientation_tag_turns_the_picture(kind, orientation):
    stored = np.zeros((16, 24), np.uint8)
    stored[:8, :12] = 250  # the upper left quarter is bright
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    content = encoded(Image.fromarray(stored).convert("RGB"), kind, exif=exif, **options)
    size = (24, 16) if orientation < 5 else (16, 24)
    image, told = Picture((1, 16, 16), given=size).decode(content, "x")
    assert image[0][CORNERS[orientation]] > 200 and (image > 125).mean() < 0.4
    assert told == (["turned by the orientation tag"] if orientation > 1 else [])


@pytest.mark.parametrize("tags", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense", b"nonsense"])
def test_damaged_tags_do_not_stop_a_picture_that_is_whole(tags):
    assert np.abs(shown(encoded(Image.fromarray(RAMP), "JPEG", exif=tags, quality=100))[0].astype(int) - RAMP).max() < 4


def test_a_16_bit_picture_is_turned_too():
    exif = Image.Exif()
    exif[0x0112] = 8
    np.testing.assert_array_equal(shown(encoded(Image.fromarray(RAMP16), exif=exif))[0], np.rot90(RAMP))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_of_several_pictures_in_a_file_the_first_is_shown_and_that_is_said(kind):
    frames = [Image.new("RGB", (16, 16), (level,) * 3) for level in (40, 200)]
    image, told = shown(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert np.abs(image.astype(int) - 40).max() <= 1 and told == ["with several pictures (the first is shown)"]


# --- what is no picture ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "PPM", "WEBP"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_cut_off_picture_of_every_format_is_named(kind, share):
    content = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)), kind)
    with pytest.raises(ValueError, match=r"^x\.png: (damaged or cut off|no image)") as caught:
        shown(content[: int(share * len(content))])
    assert "\n" not in str(caught.value)


def test_a_cut_off_picture_is_named_whatever_another_library_has_told_pillow(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    for kind in ("PNG", "JPEG"):
        content = encoded(Image.effect_noise((40, 40), 99), kind)
        with pytest.raises(ValueError, match=r"^x\.png: damaged or cut off"):
            shown(content[: len(content) // 2])
    assert ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize(("position", "level"), [(8, 8), (62, 255)])
def test_a_tiff_that_lacks_an_entry_it_needs_is_named(position, level):
    content = bytearray(encoded(Image.fromarray(RAMP16), "TIFF"))
    content[position] = level  # of the number of entries, or of the one that says whether 0 is white
    with pytest.raises(ValueError, match=r"^x\.png: damaged or cut off"):
        shown(bytes(content))


@pytest.mark.parametrize("content", [b"", b"a text", b"<svg/>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_what_is_no_picture_is_named_and_no_program_is_started_for_it(content):
    with pytest.raises(ValueError, match=r"^x\.png: no image"):
        shown(content)


def test_a_small_file_that_announces_a_huge_picture_is_named():
    with pytest.raises(ValueError, match=r"^x\.png: more pixels than an image of a data set has"):
        shown(png(np.zeros((1, 3_750), np.uint8), 1, 0, height=30_000))
