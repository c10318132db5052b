"""YAML as a configuration means it: the scalars of YAML 1.2, every key once, and no comment on a command line.

PyYAML reads YAML 1.1: ``no`` is false, ``1e3`` text, ``010`` eight, ``1:30`` 90 and ``2024-01-01`` a date. Here
``1e3`` is 1000 and the others are text, which the types of a plan refuse where they want something else. Where a key
stands twice, PyYAML drops the first in silence; here that is an error.
"""

import re
from typing import Any

import yaml

MORE = 10**6  # letters and entries that the aliases of a document may add to those that are written
WHOLE = "(?:0|[1-9][0-9]*)"
SCALARS = {  # tag -> pattern, and the letters it begins with; what fits none is text
    "bool": ("true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (f"[-+]?{WHOLE}|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    "float": (
        rf"[-+]?(?:(?:\.[0-9]+|{WHOLE}\.[0-9]*)(?:[eE][-+]?[0-9]+)?|{WHOLE}[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))"
        r"|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    "null": ("~|null|Null|NULL|", ["~", "n", "N", ""]),
    "merge": ("<<", "<"),
}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - PyYAML's name for those of YAML 1.1: none

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _size(node, {}) > node.end_mark.index + MORE:
            raise yaml.YAMLError(
                f"its aliases stand for more than {MORE} letters and entries; write out what they name"
            )
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node, lines = super().compose_mapping_node(anchor), dict[tuple[str, str], int]()  # before << adds more
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            line = key.start_mark.line + 1
            if first := lines.get((key.tag, key.value)):
                told = f"lines {first} and {line}" if first != line else f"line {line}"
                raise yaml.YAMLError(f'the key "{key.value}" stands twice, in {told}; give it once')
            lines[key.tag, key.value] = line
        return node


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Letters and entries of a node, each alias as large as what it names."""
    if id(node) not in sizes:
        sizes[id(node)] = 0  # until it is known
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in pairs for part in pair]
        own = len(node.value) if isinstance(node, yaml.ScalarNode) else 0
        sizes[id(node)] = 1 + own + sum(_size(part, sizes) for part in parts)
    elif not sizes[id(node)]:
        raise yaml.YAMLError("a part of it holds itself")
    return sizes[id(node)]


for _tag, (_pattern, _letters) in SCALARS.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_letters))


def read(text: str | bytes, where: str) -> Any:
    """The value of one YAML document; bytes are UTF-8, or UTF-16 with its mark.

    Raises:
        ValueError: it is none; the message begins with ``where`` and is one line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        told, at = ", ".join(filter(None, (error.context, error.problem))), error.problem_mark
        place = f" (line {at.line + 1}, column {at.column + 1})" if at else ""
        raise ValueError(f"{where}: {told}{place}") from None
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        told = " ".join(str(error).split()) if not isinstance(error, RecursionError) else "it is nested too deep"
        raise ValueError(f"{where}: {told}") from None


def read_override(text: str, where: str) -> Any:
    """A value of the command line: YAML on one line, in which ``#`` begins no comment.

    Raises:
        ValueError: as :func:`read`, or ``#`` would cut a list or a mapping.
    """
    value = read(text, where)
    tokens = [token for token in yaml.scan(text, Loader=_Loader) if token.end_mark.index > token.start_mark.index]
    spans = [(token.start_mark.index, token.end_mark.index) for token in tokens]
    if all(any(first <= at < end for first, end in spans) for at, letter in enumerate(text) if letter == "#"):
        return value
    if isinstance(value, str | int | float | None) and (not tokens or getattr(tokens[0], "plain", False)):
        return text
    raise ValueError(f"{where}: {text!r} would be cut at #; put what holds it between quotes")
