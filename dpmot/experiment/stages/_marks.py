"""What the file of a shard was made of, so that old parts are never put together with new ones."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from dpmot.runtime.closure import code_digest
from dpmot.runtime.fingerprint import digest, file_digest
from dpmot.runtime.job import plain


def mark(task: object, code: Iterable[str], inputs: Iterable[Path]) -> dict[str, str]:
    """Digests of the part of a job that a shard is, and of the code and the files that it is made of."""
    made = {"code": code_digest(code), "inputs": [file_digest(path) for path in inputs]}
    return {"task": digest(plain(task)), "made_of": digest(made)}


def check(path: Path, found: Mapping[str, object], expected: Mapping[str, str]) -> None:
    """That a shard's file is one of this job, as it would be made now.

    Raises:
        ValueError: it is not; with what is other.
    """
    if found.get("task") != expected["task"]:
        raise ValueError(f"{path} is damaged, or of another configuration; delete it and run again")
    if found.get("made_of") != expected["made_of"]:
        raise ValueError(
            f"{path} was made by other code, or of other files than are there now; delete it and run again"
        )
