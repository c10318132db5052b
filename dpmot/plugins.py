"""A file in the right folder is the registration, its name the key.

``find("baselines", "ddim")`` imports ``baselines/ddim.py``. Nothing is listed anywhere else: a new sampler, start,
data set, network, feature extractor, metric or page is one file. What takes the name of a plug-in raises
:class:`UnknownPlugin` where there is no such file.
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
    "starts": ("start", ROOT / "dpmot" / "starts"),
    "metrics": ("metric", ROOT / "dpmot" / "metrics"),
    "features": ("feature extractor", ROOT / "dpmot" / "features"),
    "data": ("data set", ROOT / "dpmot" / "data"),
    "networks": ("parametrisation", ROOT / "dpmot" / "diffusion" / "networks"),
    "distillation": ("distillation", ROOT / "baselines" / "distillation"),
    "pages": ("table or figure", ROOT / "paper_figures"),
}
OTHER_WORDS = {"baselines": "samplers", "data": "datasets", "distillation": "distillations"}
LISTED = {OTHER_WORDS.get(kind, kind): kind for kind in FOLDERS}  # what a user calls a kind -> its key in FOLDERS


class UnknownPlugin(ValueError):
    """No file of that name; the message lists the names that exist."""


def names(kind: str) -> list[str]:
    """Names of the files in the folder of ``kind``, sorted; a leading underscore hides a file."""
    _, folder = FOLDERS[kind]
    return list(_listed(folder, folder.stat().st_mtime_ns))


@cache
def _listed(folder: Path, _: int) -> tuple[str, ...]:
    """As long as the folder does not change: a plan asks for names of plug-ins tens of thousands of times."""
    return tuple(sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")))


def path(kind: str, name: str) -> Path:
    """The file of one plugin."""
    (noun, folder), known = FOLDERS[kind], names(kind)
    if name not in known:
        found = f"{did_you_mean(name, known)}found {', '.join(known)}"
        raise UnknownPlugin(f'No {noun} "{name}" in {folder.relative_to(ROOT)}/: {found}')
    return folder / f"{name}.py"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``did you mean "ddim"? `` for the known name that is nearest to a misspelt one, empty if none is near."""
    near = get_close_matches(name, list(known), n=1)
    return f'did you mean "{near[0]}"? ' if near else ""


def module_name(kind: str, name: str) -> str:
    """Dotted name of one plugin: ``("baselines", "ddim")`` is ``"baselines.ddim"``."""
    return ".".join(path(kind, name).relative_to(ROOT).with_suffix("").parts)


def arguments(kind: str, name: str, function: str) -> list[str]:
    """Argument names of one function of a plugin, read from its source: nothing is imported."""
    definitions = (node for node in _parsed(kind, name).body if isinstance(node, ast.FunctionDef))
    (definition,) = (node for node in definitions if node.name == function)
    return [argument.arg for argument in [*definition.args.args, *definition.args.kwonlyargs]]


def constant(kind: str, name: str, variable: str) -> object:
    """A literal that a plugin assigns at its top level, read from its source; None where it assigns none."""
    for node in _parsed(kind, name).body:
        if isinstance(node, ast.Assign) and [getattr(target, "id", None) for target in node.targets] == [variable]:
            return ast.literal_eval(node.value)
    return None


def functions(kind: str, name: str) -> set[str]:
    """Names of the functions that a plugin defines at its top level, read from its source: nothing is imported."""
    return {node.name for node in _parsed(kind, name).body if isinstance(node, ast.FunctionDef)}


def first_line(kind: str, name: str) -> str:
    """The first sentence of a plugin's docstring, read from its source, for a list of what exists."""
    paragraph = (ast.get_docstring(_parsed(kind, name)) or "").split("\n\n")[0]
    return SENTENCE_END.split(" ".join(paragraph.split()), maxsplit=1)[0].rstrip(".:")


def _parsed(kind: str, name: str) -> ast.Module:
    file = path(kind, name)
    return _parsed_file(file, file.stat().st_mtime_ns)


@cache
def _parsed_file(file: Path, _: int) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def find(kind: str, name: str) -> ModuleType:
    """Import one plugin."""
    return import_module(module_name(kind, name))
