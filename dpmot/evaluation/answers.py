"""What was computed before, kept on disk by the content that it was computed from.

The folder is the variable DPMOT_CACHE, or ``dpmot`` in the user's cache folder. Everything in it may be deleted at any
time; an answer is found again only for the same images, options, code, packages, machine and thread count.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpmot.runtime.files import write_json
from dpmot.runtime.fingerprint import digest

VARIABLE = "DPMOT_CACHE"


def default_folder() -> Path:
    """Where features and answers are kept."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dpmot"


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What is kept is written here.

    Raises:
        OSError: the folder cannot be written; says what to set.
    """
    try:
        yield
    except OSError as error:
        raise OSError(f"{folder} cannot be written ({error.strerror}): set {VARIABLE} to a folder") from None


@dataclass(frozen=True)
class Answers:
    """Values in JSON, by a digest of what they depend on."""

    folder: Path

    def kept(self, key: Any, compute: Callable[[], Any]) -> Any:
        """What was computed for this key, else what ``compute`` gives, which is then kept.

        Raises:
            OSError: the folder cannot be written; says what to set.
        """
        file = self.folder / "answers" / f"{digest(key)}.json"
        try:
            stored = json.loads(file.read_text(encoding="utf-8"))
            if stored["content"] == digest(stored["value"]):
                return stored["value"]
        except (OSError, ValueError, KeyError, TypeError):
            pass  # not there, or damaged
        value = json.loads(json.dumps(compute()))  # as it is read
        with writing(self.folder):
            write_json(file, {"content": digest(value), "value": value})
        return value
