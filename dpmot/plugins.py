"""A file in the right folder is the registration, its name the key.

``find("baselines", "ddim")`` imports ``baselines/ddim.py``. Nothing is listed anywhere else: a new sampler, start,
data set, network, feature extractor, metric or page is one file.
"""

import ast
import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
SENTENCE_END = re.compile(r"(?<![A-Z])(?<! al)[.] ")  # neither an initial's nor that of "et al. 2020"

FOLDERS = {
    "baselines": ("sampler", ROOT / "baselines"),
    "distillation": ("distillation", ROOT / "baselines" / "distillation"),
    "starts": ("start", ROOT / "dpmot" / "starts"),
    "data": ("data set", ROOT / "dpmot" / "data"),
    "features": ("feature extractor", ROOT / "dpmot" / "features"),
    "metrics": ("metric", ROOT / "dpmot" / "metrics"),
    "networks": ("parametrisation", ROOT / "dpmot" / "diffusion" / "networks"),
    "pages": ("table or figure", ROOT / "paper_figures"),
}
LISTED = {  # what a user calls a kind -> its key in FOLDERS
    "samplers": "baselines",
    "starts": "starts",
    "metrics": "metrics",
    "features": "features",
    "datasets": "data",
    "networks": "networks",
    "distillations": "distillation",
    "pages": "pages",
}


class UnknownPlugin(ValueError):
    """No file of that name; the message lists the names that exist."""


def names(kind: str) -> list[str]:
    """Names of the files in the folder of ``kind``, sorted; a leading underscore hides a file."""
    _, folder = FOLDERS[kind]
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def path(kind: str, name: str) -> Path:
    """The file of one plugin.

    Raises:
        UnknownPlugin: no such file.
    """
    (noun, folder), known = FOLDERS[kind], names(kind)
    if name not in known:
        raise UnknownPlugin(
            f'No {noun} "{name}" in {folder.relative_to(ROOT)}/: {did_you_mean(name, known)}found {", ".join(known)}'
        )
    return folder / f"{name}.py"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``did you mean "ddim"? `` for the known name that is nearest to a misspelt one, empty if none is near."""
    near = get_close_matches(name, list(known), n=1)
    return f'did you mean "{near[0]}"? ' if near else ""


def module_name(kind: str, name: str) -> str:
    """Dotted name of one plugin: ``("baselines", "ddim")`` is ``"baselines.ddim"``."""
    return ".".join(path(kind, name).relative_to(ROOT).with_suffix("").parts)


def arguments(kind: str, name: str, function: str) -> list[str]:
    """Argument names of one function of a plugin, read from its source: nothing is imported.

    Raises:
        UnknownPlugin: no such file.
    """
    definitions = (node for node in _parsed(kind, name).body if isinstance(node, ast.FunctionDef))
    (definition,) = (node for node in definitions if node.name == function)
    return [argument.arg for argument in [*definition.args.args, *definition.args.kwonlyargs]]


def constant(kind: str, name: str, variable: str) -> object:
    """A literal that a plugin assigns at its top level, read from its source; None where it assigns none.

    Raises:
        UnknownPlugin: no such file.
    """
    for node in _parsed(kind, name).body:
        if isinstance(node, ast.Assign) and [getattr(target, "id", None) for target in node.targets] == [variable]:
            return ast.literal_eval(node.value)
    return None


def functions(kind: str, name: str) -> set[str]:
    """Names of the functions that a plugin defines at its top level, read from its source: nothing is imported.

    Raises:
        UnknownPlugin: no such file.
    """
    return {node.name for node in _parsed(kind, name).body if isinstance(node, ast.FunctionDef)}


def first_line(kind: str, name: str) -> str:
    """The first sentence of a plugin's docstring, read from its source, for a list of what exists.

    Raises:
        UnknownPlugin: no such file.
    """
    paragraph = (ast.get_docstring(_parsed(kind, name)) or "").split("\n\n")[0]
    return SENTENCE_END.split(" ".join(paragraph.split()), maxsplit=1)[0].rstrip(".:")


def _parsed(kind: str, name: str) -> ast.Module:
    file = path(kind, name)
    return _parsed_file(file, file.stat().st_mtime_ns)


@cache
def _parsed_file(file: Path, _: int) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def find(kind: str, name: str) -> ModuleType:
    """Import one plugin.

    Raises:
        UnknownPlugin: no such file.
    """
    return import_module(module_name(kind, name))
