"""A file in the right folder is the registration, its name the key.

``find("baselines", "ddim")`` imports ``baselines/ddim.py``. Nothing is listed anywhere else: a new
sampler, start, data set, feature extractor or metric is one file.
"""

import ast
from importlib import import_module
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]

FOLDERS = {
    "baselines": ("sampler", ROOT / "baselines"),
    "distillation": ("distillation", ROOT / "baselines" / "distillation"),
    "starts": ("start", ROOT / "dpmot" / "starts"),
    "data": ("data set", ROOT / "dpmot" / "data"),
    "features": ("feature extractor", ROOT / "dpmot" / "features"),
    "metrics": ("metric", ROOT / "dpmot" / "metrics"),
    "networks": ("parametrisation", ROOT / "dpmot" / "diffusion" / "networks"),
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
    noun, folder = FOLDERS[kind]
    if name not in names(kind):
        raise UnknownPlugin(f'No {noun} "{name}" in {folder.relative_to(ROOT)}/: found {", ".join(names(kind))}')
    return folder / f"{name}.py"


def module_name(kind: str, name: str) -> str:
    """Dotted name of one plugin: ``("baselines", "ddim")`` is ``"baselines.ddim"``."""
    return ".".join(path(kind, name).relative_to(ROOT).with_suffix("").parts)


def arguments(kind: str, name: str, function: str) -> list[str]:
    """Argument names of one function of a plugin, read from its source: nothing is imported.

    Raises:
        UnknownPlugin: no such file.
    """
    tree = ast.parse(path(kind, name).read_text(encoding="utf-8"))
    (found,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    return [argument.arg for argument in [*found.args.args, *found.args.kwonlyargs]]


def constant(kind: str, name: str, variable: str) -> object:
    """A literal that a plugin assigns at its top level, read from its source; None where it assigns none.

    Raises:
        UnknownPlugin: no such file.
    """
    for node in ast.parse(path(kind, name).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [getattr(target, "id", None) for target in node.targets] == [variable]:
            return ast.literal_eval(node.value)
    return None


def find(kind: str, name: str) -> ModuleType:
    """Import one plugin.

    Raises:
        UnknownPlugin: no such file.
    """
    return import_module(module_name(kind, name))
