"""Downloads that go on where they were: what has arrived lies in ``<file>.part`` until its SHA-256 is the published.

Only then does the file get its name, so a file that is there was whole when it came. Two processes that want one file
take turns, and the second finds it.
"""

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from dpmot.runtime.files import exclusive

ATTEMPTS = 5  # in one call, each from where the last one stopped
BLOCK = 1 << 20
TIMEOUT = 60  # seconds of silence
BROKEN = (OSError, http.client.HTTPException)  # what a connection that ends raises; URLError and timeouts are OSErrors


@dataclass(frozen=True)
class Remote:
    """A published file: where it is, its SHA-256 and its size in bytes."""

    address: str
    sha256: str
    size: int


def download(files: Mapping[Path, Remote]) -> None:
    """Fetch the files that are not there.

    Raises:
        ConnectionError: a server cannot be reached or keeps breaking off; what has arrived is kept.
        ValueError: a file arrived whole but is not the published one; it is removed.
    """
    for path, remote in files.items():
        if path.exists():  # whole, or it would not have its name; a folder that is only read needs no lock
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(path):
            if not path.exists():
                _fetch(remote, path)


def _fetch(remote: Remote, path: Path) -> None:
    part = path.with_name(f"{path.name}.part")
    reason: Exception | str = "the server sent no more"
    for _ in range(ATTEMPTS):
        if _size(part) >= remote.size:
            break
        try:
            _append(remote, part)
        except BROKEN as error:
            reason = error
    if _size(part) < remote.size:
        arrived = f"{_size(part)} of {remote.size} bytes have arrived and are kept in {part.name}"
        raise ConnectionError(f"{remote.address}: {reason}; {arrived}; run again to go on from there")
    with part.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    if digest != remote.sha256:
        part.unlink()
        raise ValueError(
            f"{path.name}: SHA-256 of what {remote.address} sent is {digest}, not {remote.sha256}; it was removed: run "
            f"again, or put the file in {path.parent} by hand"
        )
    os.replace(part, path)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _append(remote: Remote, part: Path) -> None:
    """Ask for the bytes that are missing; a server that cannot send a range sends the file from its start."""
    have = _size(part)
    request = urllib.request.Request(remote.address, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        start = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
        resumed = response.status == http.client.PARTIAL_CONTENT and start == str(have)
        with part.open("ab" if resumed else "wb") as file:
            while block := response.read(BLOCK):
                file.write(block)
                if file.tell() > remote.size:
                    return  # another file; its checksum will say so
