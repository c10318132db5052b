"""The values of a configuration: their types, and what is said of a wrong one. No torch is imported."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Literal
from unicodedata import category

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WrapValidator
from pydantic import model_validator as validated
from pydantic_core import PydanticCustomError, ValidationError

from dpmot import plugins
from dpmot.data._arrays import RANGES
from dpmot.metrics import REAL_TEST, REAL_TRAIN
from dpmot.results import sigma_key
from dpmot.seeds import MAX_SAMPLES

PROTOCOLS: dict[str, dict[str, Any]] = {  # how the field's tables are made; what a configuration gives itself wins
    "edm": {"num_samples": 50_000, "sample_seeds": [0, 1, 2]},  # Karras et al. 2022: 50,000, the least of three runs
    "dpm-ot": {"num_samples": 40_000, "sample_seeds": [0]},  # Li et al. 2023 on CIFAR-10
    "adm": {"num_samples": 50_000, "sample_seeds": [0]},  # Dhariwal & Nichol 2021
}
OF_A_LIST = "of_a_list"  # kind of an error of entries that are right one by one


def wrong(told: str, kind: str = "wrong") -> PydanticCustomError:
    """The error of a value that does not fit: a line for the user, and its kind (``OF_A_LIST``, or any other)."""
    return PydanticCustomError(kind, "{told}", {"told": told})  # type: ignore[arg-type]


def _free(name: str, taken: tuple[str, ...]) -> str:
    if name in taken:
        raise wrong(f"{name} is a name of the project's own; choose another")
    return name


def distinct(values: tuple) -> tuple:
    """The same values.

    Raises:
        PydanticCustomError: one stands there twice.
    """
    if len(set(values)) < len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise wrong(f"{twice!r} stands there twice; name each once", OF_A_LIST)
    return values


def _told_apart(levels: tuple) -> tuple:
    by_key = {sigma_key(level): level for level in reversed(levels)}
    for level in levels:
        if (same := by_key[sigma_key(level)]) != level:
            raise wrong(f"{same} and {level} are one level: six digits count; name one of them", OF_A_LIST)
    return levels


def _of_floats(values: tuple[float, float]) -> tuple[float, float]:
    if values not in RANGES:
        allowed = " or ".join(f"[{low:g}, {high:g}]" for low, high in RANGES)
        raise wrong(f"{list(values)} is no range of images; allowed: {allowed}")
    return values


def _one_line(text: str) -> str:
    text = re.sub(r"\s*[\t\n\v\f\r\x85\u2028\u2029]\s*", " ", text)  # YAML breaks long texts into lines
    kinds = {category(letter) for letter in text}
    if not {kind for kind in kinds if kind[0] not in "CMZ"} or kinds & {"Cc", "Zl", "Zp"}:
        raise wrong(f"{text!r} should be one line of visible text")
    return text


def _of_seeds(given: Any) -> Any:
    """A mapping whose keys are seeds; JSON has them as text."""
    if not isinstance(given, Mapping):
        return given
    return {int(key) if isinstance(key, str) and key.isdecimal() else key: value for key, value in given.items()}


def or_else(description: str) -> WrapValidator:
    """One line for a value that is none of several types."""

    def validate(value: Any, handler: Any) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            told = next((one["msg"] for one in error.errors() if one["type"] == OF_A_LIST), None)
            raise wrong(told or f"{value!r} is not allowed here; {description}") from None

    return WrapValidator(validate)


Count = Annotated[int, Field(ge=1)]
Width = Annotated[int, Field(ge=1, le=2**16)]
Evaluations = Annotated[int, Field(ge=1, le=100_000)]  # or steps: a grid has a level for each
Samples = Annotated[int, Field(ge=20, le=MAX_SAMPLES)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]  # the seed of a sample, seed 2^32 + k, is an int64
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Level = Annotated[  # an integer stays one: it is a part of the names of cells
    Annotated[int, Field(gt=0)] | Positive, or_else("a noise level is a number above 0")
]
Share = Annotated[float, Field(ge=0, lt=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]
PLAIN = "^[a-z0-9_]+$"  # upper and lower case would be one file on some systems
Digests = Annotated[dict[Seed, Sha256], Field(min_length=1), BeforeValidator(_of_seeds)]
LONGEST = 100  # letters of a name
Name = Annotated[str, Field(pattern=PLAIN, max_length=LONGEST)]
Label = Annotated[str, AfterValidator(_one_line)]
ExperimentName = Annotated[  # its folder lies below results/, and what is overridden is added to it
    str, Field(pattern=PLAIN, max_length=200), AfterValidator(partial(_free, taken=("reference",)))
]
NetworkName = Annotated[Name, AfterValidator(partial(_free, taken=("classifier",)))]  # its file lies beside theirs
MethodName = Annotated[Name, AfterValidator(partial(_free, taken=(REAL_TRAIN, REAL_TEST)))]
Counts = Annotated[tuple[Evaluations, ...], Field(strict=False, min_length=1), AfterValidator(distinct)]
Seeds = Annotated[tuple[Seed, ...], Field(strict=False, min_length=1), AfterValidator(distinct)]
Names = Annotated[tuple[str, ...], Field(strict=False), AfterValidator(distinct)]
Levels = Annotated[
    tuple[Level, ...], Field(strict=False, min_length=1), AfterValidator(distinct), AfterValidator(_told_apart)
]
Budget = Annotated[
    Evaluations | Literal["full"], or_else("a number of evaluations, or full: the network's whole chain")
]
Budgets = Annotated[tuple[Budget, ...], Field(strict=False, min_length=1), AfterValidator(distinct)]
Move = Annotated[float, Field(gt=0, le=1)]
Moves = Annotated[tuple[Move, ...], Field(strict=False, min_length=1), AfterValidator(distinct)]
Margins = dict[str, Positive]
Options = dict[str, Any]
AsPaper = Literal["as_paper", "as_code"]
Start = Annotated[
    Literal["as_paper", "as_code", "star"] | Level | Levels,
    or_else("sigma_M is as_paper, as_code, star, a number above 0 or a list of such numbers"),
]
Text = Annotated[str, Field(min_length=1)]
Files = Annotated[
    Text | Annotated[tuple[Text, ...], Field(strict=False, min_length=1), AfterValidator(distinct)],
    or_else("a path, or a list of different paths, one a seed"),
]
Hashes = Annotated[
    Sha256 | Annotated[tuple[Sha256, ...], Field(strict=False, min_length=1)],
    or_else("64 hex digits, or a list of them, one a path"),
]
Range = Annotated[tuple[float, float], Field(strict=False), AfterValidator(_of_floats)]
Group = Literal["rivals", "mixture", "dpm_ot", "singular", "as_code", "controls", "reference", "sweep", "identity"]


class Model(BaseModel):
    """Frozen, of exact types, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    @validated(mode="before")
    @classmethod
    def _without_unknown_keys(cls, given: Any) -> Any:
        unknown = sorted({str(key) for key in given} - {*cls.model_fields}) if isinstance(given, Mapping) else []
        if unknown:
            allowed = sorted(cls.model_fields)
            hint = plugins.did_you_mean(unknown[0], allowed).strip() or f"allowed: {', '.join(allowed)}"
            raise wrong(f'unknown key "{unknown[0]}"; {hint}')
        return given

    def plain(self) -> dict[str, Any]:
        """All keys that have a value, as JSON has them."""
        return self.model_dump(mode="json", exclude_none=True)

    def given(self) -> dict[str, Any]:
        """The keys that were given, as JSON has them."""
        return self.model_dump(mode="json", exclude_unset=True, exclude_none=True)

    def but(self, **changes: Any) -> Any:
        """A copy with other values, checked."""
        return type(self).model_validate({**{name: getattr(self, name) for name in self.model_fields_set}, **changes})
