"""JSON files of a results folder, with the fields that a page reads."""

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from dpmot import results as files

Record = TypeVar("Record", bound=BaseModel)


Audit = FiniteFloat | Annotated[list[FiniteFloat], Field(min_length=1)] | None


class Trial(BaseModel):
    """A candidate of the selection; an audit has a value, or [value, low, high], or none if it was not measured."""

    sigma: FiniteFloat
    recovery: Audit = None
    copies: Audit = None


class Star(BaseModel):
    """star.json: the selected level, if there is one."""

    sigma: FiniteFloat | None = None
    reason: str | None = None
    rows: list[Trial] = []


class Timing(BaseModel):
    """A file of timings/."""

    job: str
    arithmetic_s: FiniteFloat


class Noted(BaseModel):
    """What fingerprint.json says of the data."""

    note: str | None = None


class Fingerprint(BaseModel):
    """fingerprint.json."""

    data: Noted = Noted()


def record(path: Path, kind: type[Record]) -> Record:
    """A JSON file with the fields of a page that reads it."""
    try:
        return kind.model_validate(files.read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{path}, {'.'.join(map(str, first['loc']))}: {first['msg']}; make it again") from None
