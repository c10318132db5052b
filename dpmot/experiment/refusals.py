"""What a fault of a configuration is, in one line, and how keys, types and options are asked for theirs.

No torch is imported.
"""

import inspect
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, get_args, get_origin

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from dpmot import plugins
from dpmot.experiment.plan import Experiment

KINDS = {float: "number", int: "integer", bool: "boolean", str: "text", type(None): "null"}


class ConfigError(ValueError):
    """The configuration cannot be run; the message is one line that says where, what and what is allowed."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def parsed(config: Mapping) -> Experiment:
    """Keys and types."""
    try:
        _check_finite(config)
        return Experiment.model_validate(dict(config))
    except RecursionError:
        raise ConfigError("config: a part of it holds itself, by an anchor; write it out") from None
    except ValidationError as error:
        raise ConfigError(_sentence(error.errors()[0])) from None


def _check_finite(value: Any, where: str = "") -> None:
    """No NaN and no infinity anywhere, in options neither."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{where}: {value} should be a finite number")
    inside = (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    )
    for key, inner in inside:
        _check_finite(inner, f"{where}.{key}" if where else str(key))


def _sentence(error: ErrorDetails) -> str:
    where = ".".join(str(part) for part in error["loc"] if not str(part).startswith("[")) or "config"
    if error["type"] == "missing" and isinstance(error["loc"][-1], int):
        return f"{where.rpartition('.')[0]}: {error['input']!r} has too few entries"
    if error["type"] == "missing":
        return f'{where.rpartition(".")[0] or "config"}: the key "{error["loc"][-1]}" is missing'
    if error["type"] == "literal_error":
        allowed = error["ctx"]["expected"].replace(" or ", ", ").replace("'", "")
        return f"{where}: {error['input']!r} is not one of these; allowed: {allowed}"
    if error["type"] in ("tuple_type", "dict_type", "model_type"):
        return f"{where}: {error['input']!r} is no {'list' if error['type'] == 'tuple_type' else 'mapping'}"
    if error["type"] == "bool_type":
        return f"{where}: {error['input']!r} should be true or false"
    if error["type"] == "too_short":
        return f"{where}: {error['input']!r} has too few entries; give {error['ctx']['min_length']} or more"
    what, _, told = error["msg"].partition(" should ")  # "Input should be ...", "String should match ..."
    return f"{where}: {error['input']!r} should {told}" if " " not in what else f"{where}: {error['msg']}"


@contextmanager
def told_as_fault(prefix: str = "", then: str = "") -> Iterator[None]:
    """What a plug-in refuses is a fault of the configuration; the prefix says where it stands."""
    try:
        yield
    except (ValueError, OSError, OverflowError, MemoryError) as error:
        raise ConfigError(f"{prefix}{error or 'too large'}{then}") from None


def check_known(noun: str, name: str, known: Collection[str], where: str) -> None:
    """Refuse, as ConfigError, a name that is not among those of a block of the configuration."""
    if name not in known:
        raise ConfigError(f'{where}: no {noun} "{name}" under {noun}s: found {", ".join(known) or "none"}')


def check_options(function: Any, options: Mapping, where: str, *, skip: Sequence[str]) -> None:
    """Names and types of options, as a function's signature has them."""
    parameters = inspect.signature(function).parameters
    check_names(parameters, options, where, skip=skip)
    for key, value in options.items():
        annotation = parameters[key].annotation
        try:
            TypeAdapter(annotation, config=ConfigDict(strict=True)).validate_json(json.dumps(value))  # lists are tuples
        except ValidationError:
            raise ConfigError(f"{where}.{key}: {value!r} is no {_kind(annotation)}") from None
        except PydanticUserError:
            continue  # the signature has no type that can be checked


def _kind(annotation: Any) -> str:
    """A type in words: "list of number"."""
    inner = [_kind(part) for part in get_args(annotation) if part is not ...]
    if issubclass(get_origin(annotation) or object, Mapping):
        return f"mapping of {inner[0]} to {inner[1]}"
    if issubclass(get_origin(annotation) or object, Collection):
        return f"list of {inner[0]}"
    return " or ".join(inner) or KINDS.get(annotation, str(annotation))


def check_names(known: Iterable[str], options: Mapping, where: str, *, skip: Sequence[str]) -> None:
    """Refuse, as ConfigError, options whose name is not ``known``, or is one of ``skip``."""
    allowed = [name for name in known if name not in skip]
    for key in options:
        if key not in allowed:
            raise ConfigError(f'{where}: unknown option "{key}"; allowed: {", ".join(allowed) or "none"}')


def check_values(kind: str, name: str, options: Mapping, prefix: str) -> None:
    """Values of a plug-in's options, by its own ``check`` where it has one."""
    taken = plugins.arguments(kind, name, "check") if "check" in plugins.functions(kind, name) else ()
    if asked := {key: options[key] for key in taken if key in options}:
        with told_as_fault(prefix):
            plugins.find(kind, name).check(**asked)


def named(table: Mapping[str, Any], name: str, noun: str) -> Any:
    """What an experiment has under a name."""
    if name not in table:
        hint = plugins.did_you_mean(name, table)
        raise ConfigError(f'No {noun} "{name}" in this experiment: {hint}found {", ".join(table)}')
    return table[name]
