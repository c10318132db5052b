"""Write the reference of docs/api.md from signatures and docstrings: ``python docs/reference.py``."""

import inspect
import textwrap
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from types import FunctionType, ModuleType

import dpmot

PAGE, MARK = Path(__file__).with_name("api.md"), "<!-- reference -->\n"
WIDTH = 120
OF_TRANSPORT = ("SemiDiscreteProblem", "SemiDiscreteSolver", "TransportSolution", "Processes")
OF_DIFFUSERS = ("ExpresswayPipeline", "level", "encode", "denoiser")
WITHOUT_METHODS = ("transport.SemiDiscreteProblem", "transport.Processes")  # which are the solver's


def reference() -> str:
    """The part of the page below its mark."""
    names = [*dpmot.__all__, *(f"transport.{name}" for name in OF_TRANSPORT)]
    names += [f"diffusers.{name}" for name in OF_DIFFUSERS]
    return "".join(f"{line}\n" for name in names for line in _entry(name, attrgetter(name)(dpmot)))


def _entry(name: str, value: object) -> Iterator[str]:
    yield from ("", f"## `dpmot.{name}`", "", "```text")
    if not isinstance(value, ModuleType):
        yield from (*_signature(name, value), "")
    yield inspect.getdoc(value) or ""
    parts = vars(value).items() if inspect.isclass(value) and name not in WITHOUT_METHODS else ()
    parts = {part: what for part, what in parts if part[0] != "_" or part == "__call__"}
    for part, what in parts.items():
        if isinstance(what, FunctionType | classmethod):
            yield from ("", *_signature(f".{part}", getattr(value, part)), "")
            yield textwrap.indent(inspect.getdoc(getattr(value, part)) or "", "    ")
        elif isinstance(what, property):
            yield from ("", f".{part}", "", textwrap.indent(inspect.getdoc(what) or "", "    "))
    yield "```"


def _signature(name: str, value: object) -> list[str]:
    """Names and defaults, wrapped; types stand in the code."""
    shown = inspect.signature(value)  # type: ignore[arg-type]
    bare = [one.replace(annotation=inspect.Parameter.empty) for one in shown.parameters.values() if one.name != "self"]
    text = f"{name}{shown.replace(parameters=bare, return_annotation=inspect.Signature.empty)}"
    return textwrap.wrap(text, WIDTH, subsequent_indent=" " * (len(name) + 1), break_on_hyphens=False)


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(text.split(MARK)[0] + MARK + reference(), encoding="utf-8")
