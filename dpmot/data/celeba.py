"""CelebA at 64x64: 202,599 aligned faces, 40 binary attributes.

Source: Liu, Luo, Wang and Tang, "Deep Learning Face Attributes in the Wild", ICCV 2015; non-commercial research only,
to be had from its authors (https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html), who publish no address that a program
could use. In ``<root>/celeba/``: ``img_align_celeba.zip`` or its folder ``img_align_celeba/``,
``list_eval_partition.txt``, and ``list_attr_celeba.txt`` where attributes are asked for.

The aligned pictures have 178x218 pixels. Two crops are in use, both then resized to 64x64, bilinear and antialiased:

    centre_140   the middle 140x140. The authors of DPM-OT take it, with the code of NCSNv2 (Song & Ermon 2020).
    face_128     128x128 around (89, 121), as the code of DDIM (Song et al. 2021) has it.
"""

from collections.abc import Sequence
from hashlib import file_digest, md5
from pathlib import Path

import numpy as np

from dpmot.data import DataSet, check_integer, data_root, rare_classes, require, verify
from dpmot.data._pictures import Files, decoded
from dpmot.data._viewer import Picture

SHAPE = (3, 64, 64)
FOLDER, ARCHIVE = "img_align_celeba", "img_align_celeba.zip"
PARTITION, ATTRIBUTES = "list_eval_partition.txt", "list_attr_celeba.txt"
MD5SUMS = {  # as torchvision has them
    ARCHIVE: "00d2c5bc6d35e252742224ab0c1e8fcb",
    PARTITION: "d32c9cbf5e040fd4025c592c306e6668",
    ATTRIBUTES: "75e246fa4810816ffd6ee81facbd244c",
}
GIVEN = (178, 218)
CROPS = {"centre_140": (19, 39, 159, 179), "face_128": (25, 57, 153, 185)}  # left, top, right, bottom
CITATION = "CelebA (Liu et al. 2015), non-commercial research only"


NAMES = (  # of the attributes, in the file's order
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair "
    "Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male "
    "Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks "
    "Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace "
    "Wearing_Necktie Young"
)


def expected(root: Path | None = None, *, attributes: Sequence[str] = ("Male", "Smiling")) -> list[Path]:
    """The archive, or its folder where that is there instead, and the lists."""
    lists = [PARTITION, *([ATTRIBUTES] if attributes else [])]
    folder = data_root(root, files=[f"celeba/{name}" for name in (ARCHIVE, *lists)]) / "celeba"
    pictures = FOLDER if (folder / FOLDER).is_dir() and not (folder / ARCHIVE).exists() else ARCHIVE
    return [folder / pictures, *(folder / name for name in lists)]


def check(
    *, crop: str = "centre_140", attributes: Sequence[str] = ("Male", "Smiling"), num_train: int | None = None
) -> None:
    """A crop and attributes that there are, each once, and ``num_train`` in 1..162,770."""
    if crop not in CROPS:
        raise ValueError(f'crop: no crop "{crop}": choose {" or ".join(CROPS)}')
    for name in attributes:
        if name not in NAMES.split():
            raise ValueError(f'attributes: no attribute "{name}": choose among {", ".join(NAMES.split())}')
    if len({*attributes}) < len(attributes):
        raise ValueError(f"attributes: {', '.join(attributes)} name one twice; give each once")
    check_integer("num_train", num_train, 1, 162_770)


def load(
    *,
    root: Path | None = None,
    crop: str = "centre_140",
    attributes: Sequence[str] = ("Male", "Smiling"),
    num_train: int | None = None,
) -> DataSet:
    """uint8 (202599, 3, 64, 64): A the 162,770 training images, B the 19,867 for validation, C the 19,962 test images.

    Args:
        root: data root.
        crop: "centre_140" or "face_128".
        attributes: those whose combinations are the classes, 2^len of them; () for a set without classes.
        num_train: images that stay in A.
    """
    check(crop=crop, attributes=attributes, num_train=num_train)
    pictures, partition, *lists = require(expected(root, attributes=attributes))
    split = _partition(partition)
    labels = _labels(lists[0], attributes, list(split)) if attributes else np.zeros(len(split), np.int64)
    picture = Picture(SHAPE, given=GIVEN, crop=CROPS[crop])
    if pictures.is_dir():
        source, provenance = Files(pictures, list(split), picture), "pictures of a folder, no checksum"
    else:
        names = [f"{FOLDER}/{name}" for name in split]
        source, provenance = Files(pictures, names, picture, verify=_check), "archive checked by MD5"
    parts, count = np.array(list(split.values())), 2 ** len(attributes)
    names = [", ".join(f"{name} {k >> bit & 1}" for bit, name in enumerate(attributes)) for k in range(count)]
    images, told = decoded(source, name=f"celeba-64-{crop}", options={"crop": crop})
    note = f"{CITATION}; crop {crop}, bilinear to 64x64; {provenance}"
    note = "; ".join(filter(None, [note, told, rare_classes(labels, parts, names)]))
    return DataSet("celeba", images, labels, parts, count, note).subsampled(num_train)


def _check(path: Path) -> None:
    with path.open("rb") as file:
        digest = file_digest(file, lambda: md5(usedforsecurity=False)).hexdigest()
    verify(f"{path.name}: MD5", digest, MD5SUMS[path.name], ": cut off, damaged or another file")


def _partition(path: Path) -> dict[str, str]:
    """Name of each picture -> its part, in the file's order."""
    _check(path)
    rows = [line.split() for line in path.read_text(encoding="ascii").splitlines() if line]
    return {name: "ABC"[int(part)] for name, part in rows}


def _labels(path: Path, attributes: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """The class of each picture: its attributes as the digits of a binary number, the first the lowest."""
    import pandas as pd  # here, because plans need none

    _check(path)
    table = pd.read_csv(path, sep=r"\s+", skiprows=1)
    for name in attributes:
        if name not in table:
            raise ValueError(f'celeba: no attribute "{name}": choose among {", ".join(map(str, table))}')
    if list(table.index) != list(names):
        raise ValueError(f"{path.name}: lists other pictures than {PARTITION}")
    values = table[list(attributes)].to_numpy() == 1
    return (values << np.arange(len(attributes))).sum(axis=1).astype(np.int64)
