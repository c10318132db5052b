"""Which code a result depends on: the import closure of a module inside this repository.

Snakemake lists these files as inputs, so that an edit re-runs exactly what uses the edited file, and resume points
carry their hash. ``ast`` reads the imports; nothing is imported.
"""

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from dpmot.plugins import ROOT

PACKAGES = ("dpmot", "baselines", "paper_figures")


def _file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _imports(path: Path) -> frozenset[str]:
    names: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue  # annotations change no result
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        waiting.extend(ast.iter_child_nodes(node))
    return frozenset(name for name in names if name.split(".")[0] in PACKAGES)


def closure(modules: Iterable[str]) -> list[Path]:
    """Files of ``modules`` and of everything they import from this repository, sorted.

    Plugins are found by name at run time, so a caller names them beside the stage:
    ``closure(["dpmot.experiment.sample", "baselines.ddim"])``.
    """
    waiting, files = list(modules), set[Path]()
    while waiting:
        module = waiting.pop()
        path = _file(module)
        if path is None or path in files:
            continue
        files.add(path)
        waiting.extend(_imports(path))
        if "." in module:
            waiting.append(module.rpartition(".")[0])
    return sorted(files)


def code_digest(modules: Iterable[str]) -> str:
    """sha256 over the closure's names and bytes, 16 hex digits."""
    total = hashlib.sha256()
    for path in closure(modules):
        total.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()[:16]
