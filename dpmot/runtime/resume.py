"""Resume points: the finished pieces of one stage, found again only by what they depend on."""

import os
from collections.abc import Mapping
from pathlib import Path

from dpmot.runtime.files import locked, read_json, remove, write_json
from dpmot.runtime.fingerprint import digest

MANIFEST = "identity.json"
ASIDE = 3


class ResumePoint:
    """A side folder with the finished pieces of one stage, valid for one identity only.

    ``identity`` names everything the pieces depend on (config, code, input files). State that was made by another
    identity is not used: it is set aside, which is said, and found again by its own identity; of such states the last
    ``ASIDE`` are kept. No rule of the workflow declares the folder, so Snakemake never deletes it. One process at a
    time: a lock that the system takes back when the process ends.

    Raises:
        ValueError: another process uses the folder.
    """

    def __init__(self, folder: Path, identity: Mapping[str, object]) -> None:
        self.folder = Path(folder)
        self._lock = locked(self.folder)
        current = {key: digest(value) for key, value in identity.items()}
        if self.folder.exists():
            self._check(current)
        mine = self._aside(current)
        if mine.exists() and not self.folder.exists():
            mine.rename(self.folder)
            print(f"resume: going on with {mine.name}, which was set aside", flush=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / MANIFEST, current)

    def _check(self, current: Mapping[str, str]) -> None:
        """Set aside what another identity has made; remove what nobody has."""
        try:
            stored = read_json(self.folder / MANIFEST)
        except (OSError, ValueError):
            print(f"resume: {self.folder} has no identity; starting afresh", flush=True)
            return _remove(self.folder)
        if stored == current:
            return None
        changed = ", ".join(sorted(k for k in {*stored, *current} if stored.get(k) != current.get(k)))
        aside = self._aside(stored)
        _remove(aside)
        self.folder.rename(aside)
        os.utime(aside)
        others = {*self.folder.parent.glob(f"{self.folder.name}.{'[0-9a-f]' * 16}")} - {self._aside(current)}
        for old in sorted(others, key=lambda folder: folder.stat().st_mtime)[:-ASIDE]:
            _remove(old)
        told = f"was made with another {changed}; set aside as {aside.name}, starting afresh"
        return print(f"resume: {self.folder} {told}", flush=True)

    def _aside(self, identity: Mapping[str, str]) -> Path:
        return self.folder.with_name(f"{self.folder.name}.{digest(identity)}")

    def path(self, name: str) -> Path:
        """The file of piece ``name``; it exists once the piece was finished."""
        return self.folder / name

    def close(self) -> None:
        """Let other processes go on from the pieces, which stay."""
        self._lock.release(force=True)

    def finish(self) -> None:
        """The stage is done: remove the folder, its pieces, and the lock."""
        _remove(self.folder)
        remove(self._lock)


def _remove(folder: Path) -> None:
    if folder.exists():
        # the manifest last: pieces without one are nobody's
        for file in sorted(folder.iterdir(), key=lambda file: file.name == MANIFEST):
            file.unlink(missing_ok=True)
        folder.rmdir()
