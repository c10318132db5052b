"""Write the keys of docs/configuration.md from config/schema.json: ``python docs/options.py``.

The schema is that of the types in dpmot/experiment/ (``dpmot schema``), so the page tells of no key that they lack.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE, MARK = Path(__file__).with_name("configuration.md"), "<!-- keys -->\n"
SCHEMA = Path(__file__).resolve().parent.parent / "config" / "schema.json"
ORDER = (
    *("Method", "Network", "Training", "Unet", "Classifier"),
    *("Transport", "Selection", "Identity", "Coupling", "Given"),
)
EXPERIMENT = "The experiment"


def keys() -> str:
    """The part of the page below its mark: one table a type."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    types = schema["$defs"]
    others = sorted(set(types) - set(ORDER))
    blocks = [_block(EXPERIMENT, schema, told="One file.")]
    blocks += [_block(name, types[name]) for name in (*ORDER, *others) if name in types]
    return "\n".join(blocks)


def _block(name: str, kind: dict[str, Any], told: str = "") -> str:
    lines = ["", f"## {name}", "", told or _one_line(kind.get("description", "")), ""]
    lines += ["| key | value | default | what |", "|---|---|---|---|"]
    needed = kind.get("required", ())
    for key, about in kind.get("properties", {}).items():
        default = "needed" if key in needed else _shown(about["default"]) if "default" in about else ""
        lines.append(f"| `{key}` | {_value(about)} | {default} | {_one_line(about.get('description', ''))} |")
    return "\n".join(lines) + "\n"


def _value(about: dict[str, Any]) -> str:
    """What may stand there, in words."""
    if "$ref" in about:
        name = about["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in about:
        return " or ".join(dict.fromkeys(map(_value, about["anyOf"])))
    if "enum" in about:
        return ", ".join(f"`{one}`" for one in about["enum"])
    if "const" in about:
        return f"`{about['const']}`"
    if about.get("type") == "array":
        return f"list of {_value(about['items'])}" if about.get("items") else "list"
    if "patternProperties" in about:
        return f"name: {_value(next(iter(about['patternProperties'].values())))}"
    named = {"object": "mapping", "boolean": "true or false", "null": "null", "string": "text"}
    kind = about.get("type", "any")
    return f"{named.get(kind, kind)}{''.join(_limits(about))}"


def _limits(about: dict[str, Any]) -> Iterator[str]:
    for key, sign in {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}.items():
        if key in about and abs(about[key]) < 2**31:  # larger ones are those of the machine
            yield f" {sign} {about[key]:g}"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ""  # its own table says them
    return f"`{json.dumps(value)}`"


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text.split(MARK)[0] + MARK + keys(), encoding="utf-8")
