"""One picture as a viewer shows it, whatever its file is called: levels of 8 bits, grey or RGB.

Pillow's decoder gives the stored levels. Then

- the orientation tag of EXIF turns or mirrors the picture;
- 9 to 16 bits a channel are cut to the upper 8, as Pillow does where it reads 16-bit colour; more bits, and floats, are
  refused: nothing says which of their levels is white;
- what is transparent lies on white, whatever colour the file hides there;
- of an animation or of several pages the first is taken.

Colour profiles and gamma are not applied: the loaders behind published numbers (torchvision's, clean-fid's) apply none.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM")  # Pillow's names
FILTERS = ("box", "bilinear", "hamming", "bicubic", "lanczos")  # Pillow's, all of them antialiased
TURNS = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
SRGB_GAMMA = 0.45455
CUT = "with more than 8 bits a channel (cut to 8)"
DECODER = 2  # counts up where the same file comes out as another picture


class _Refused(ValueError):
    """Why a picture cannot be shown, without its name."""


@dataclass(frozen=True)
class Picture:
    """How the bytes of one file become an array.

    Attributes:
        shape: (C, H, W) of the result, C = 1 or 3.
        given: (width, height) that the file must have; None: any.
        crop: (left, top, right, bottom) in pixels; None: the largest square in the middle.
        resize: one of ``FILTERS``.
    """

    shape: tuple[int, int, int]
    given: tuple[int, int] | None = None
    crop: tuple[int, int, int, int] | None = None
    resize: str = "bilinear"

    def decode(self, content: bytes, name: str) -> tuple[np.ndarray, list[str]]:
        """uint8 (C, H, W), and what was done to show it; what is no image, or damaged, is refused by name."""
        pixels, told = opened(content, name)
        return self.fit(pixels, told, name)

    def fit(self, pixels: "Image", told: list[str], name: str) -> tuple[np.ndarray, list[str]]:
        """Crop and resize a picture of mode L or RGB: uint8 (C, H, W), and what was done in all."""
        from PIL import Image

        if self.given not in (None, pixels.size):
            wanted, size = ("{}x{}".format(*sides) for sides in (self.given, pixels.size))
            raise ValueError(f"{name}: must be {wanted} pixels, found {size}")
        channels, height, width = self.shape
        pixels = pixels.convert("L" if channels == 1 else "RGB").crop(self.crop or _square(*pixels.size))
        if pixels.width < width or pixels.height < height:
            told = [*told, "enlarged"]
        if pixels.size != (width, height):
            pixels = pixels.resize((width, height), Image.Resampling[self.resize.upper()])
        return np.asarray(pixels).reshape(height, width, channels).transpose(2, 0, 1), told


def opened(content: bytes, name: str) -> tuple["Image", list[str]]:
    """The bytes of one file as a viewer shows it, of its own size, mode L or RGB, and what was done to show it.

    Raises:
        ValueError: it is no image, or damaged; names the file.
    """
    from PIL import Image, UnidentifiedImageError  # here: plans look at no picture

    try:
        with _whole(), Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            picture.verify()  # the checksums of a PNG, which reading alone does not compare; it ends the reading
        with _whole(), Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            return shown(picture)
    except _Refused as error:
        raise ValueError(f"{name}: {error}") from None
    except UnidentifiedImageError:
        raise ValueError(
            f"{name}: no image of a format that is read, or its first bytes are damaged; get it again"
        ) from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{name}: more pixels than an image of a data set has ({error})") from None
    except Exception as error:  # damage is answered with a dozen kinds of exception
        raise ValueError(f"{name}: damaged or cut off ({error}); get it again") from None


@contextmanager
def _whole() -> Iterator[None]:
    """Pictures that are cut off raise, whatever another library of this process has told Pillow."""
    from PIL import ImageFile

    before, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def shown(picture: "Image") -> tuple["Image", list[str]]:
    """An opened picture as a viewer shows it, mode L or RGB, and what was done beyond reading its levels."""
    from PIL import Image

    told, info, packed = [], picture.info, "".join(str(part[3]) for part in getattr(picture, "tile", ())[:1])
    if getattr(picture, "n_frames", 1) > 1:
        told.append("with several pictures (the first is shown)")
    turned = _orientation(picture)
    bits, inverted = _levels(picture)
    picture.load()
    profile, gamma = info.get("icc_profile") or b"", info.get("gamma", SRGB_GAMMA)
    if (profile and b"sRGB" not in profile.replace(b"\0", b"")) or abs(gamma - SRGB_GAMMA) > 0.001:
        told.append("with a colour profile or gamma (not applied)")
    clear = info.get("transparency")
    if isinstance(clear, int) and packed in ("L;2", "L;4"):  # levels are spread over 0..255, this one is not
        info["transparency"] = clear * (85 if packed == "L;2" else 17)
    if bits > 8 or ";16" in packed:
        told.append(CUT)
    left = _orientation(picture)  # Pillow's decoder of TIFF has turned its picture
    if bits > 8:
        levels = np.asarray(picture)
        picture = Image.fromarray((levels >> (bits - 8)).astype(np.uint8) ^ (255 if inverted else 0))
        if clear is not None:
            picture.putalpha(Image.fromarray(np.where(levels == clear, 0, 255).astype(np.uint8)))
    if turned > 1:
        told.append("turned by the orientation tag")
    if left > 1:
        picture = picture.transpose(Image.Transpose[TURNS[left - 2]])
    if picture.mode == "La":
        picture = picture.convert("LA")
    if picture.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        layers = picture.convert("RGBA")
        if np.asarray(layers)[..., 3].min() < 255:
            told.append("transparent (shown on white)")
        picture = Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers)
    return picture.convert("L" if picture.mode in ("1", "L") else "RGB"), told


def _orientation(picture: "Image") -> int:
    """1..8; 1 where no tag can be read, as viewers take it."""
    with suppress(Exception):  # damaged tags are answered with many kinds of exception
        return max(1, range(9).index(picture.getexif().get(0x0112, 1)))
    return 1


def _levels(picture: "Image") -> tuple[int, bool]:
    """Bits of a level, 8 for all modes of Pillow but those of 16-bit grey, and whether 0 is white."""
    mode, tags = picture.mode, dict(getattr(picture, "tag_v2", {}))
    if mode.startswith("I;16"):
        return int(tags.get(258, (16,))[0]), tags.get(262) == 0
    if mode == "I" and picture.format in ("PPM", "PNG"):
        return 16, False
    if mode in ("I", "F", "LAB"):
        what = {"I": "32-bit or signed levels", "F": "floats", "LAB": "LAB colours"}[mode]
        raise _Refused(f"holds {what}, which no viewer shows alike; save it as 8- or 16-bit grey or RGB")
    return 8, False


def _square(width: int, height: int) -> tuple[int, int, int, int]:
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side
