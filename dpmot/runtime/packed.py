"""The large csv files of a results folder: plain where a run writes them, packed as ``metrics.csv.xz`` where they stay.

Packed means LZMA of the same bytes: no number changes by a digit. Most of a plain file repeats: the names of a cell in
each of its rows, and one value under several metrics. Whoever asks for ``metrics.csv`` gets the one that is there.

``python -m dpmot.runtime.packed FOLDER ...`` packs the files of results folders, and removes the plain ones.
"""

import lzma
import sys
from pathlib import Path

from dpmot.runtime.files import atomic

PACKED = ("metrics.csv", "replicates.csv", "copies.csv")  # the others are small, and are read in a browser
ENDING = ".xz"


def packed(path: Path) -> Path:
    """Where the packed form of a plain csv file lies; itself if it is one."""
    return path if path.name.endswith(ENDING) else path.with_name(path.name + ENDING)


def stored(path: Path) -> Path:
    """A csv file as it is stored: ``path``, or its packed form where that is there.

    Raises:
        ValueError: both are there, and may differ.
    """
    other = packed(path)
    if other == path or not other.is_file():
        return path
    if path.is_file():
        raise ValueError(f"{path} and {other.name} are both there; delete the one that is not wanted")
    return other


def content(path: Path) -> bytes:
    """The bytes of a csv file, unpacked.

    Raises:
        ValueError: the packed file is cut or damaged; plain and packed are both there.
        OSError: the file cannot be opened.
    """
    path = stored(path)
    raw = path.read_bytes()
    try:
        return lzma.decompress(raw) if path.name.endswith(ENDING) else raw
    except (lzma.LZMAError, EOFError) as error:
        raise ValueError(f"{path} is cut or damaged ({error}); restore it, or make it again") from None


def write_packed(path: Path, content: bytes) -> Path:
    """Write a csv file packed, remove the plain one, and return where it lies; one content always gives one file."""
    other = packed(path)
    with atomic(other) as temporary:
        temporary.write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))
    if other != path:
        path.unlink(missing_ok=True)
    return other


def pack(folder: Path) -> list[Path]:
    """Pack the large csv files of a results folder that are plain; returns the packed ones."""
    plain = [folder / name for name in PACKED if stored(folder / name) == folder / name]
    return [write_packed(path, path.read_bytes()) for path in plain if path.is_file()]


if __name__ == "__main__":
    for written in [path for folder in sys.argv[1:] for path in pack(Path(folder))]:
        print(f"{written}: {written.stat().st_size} bytes")
