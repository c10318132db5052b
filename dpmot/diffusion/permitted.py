"""What the file of a sampler may say: it is read before it runs, and what could reach a network uncounted is refused.

A sampler is arithmetic on the answers of D(x, sigma). So it may import libraries of numbers, the harness's own words
for samplers (``dpmot.diffusion.sigmas``, ``.protocols``) and files beside it with an underscore; it opens no file,
starts no thread or process, changes nothing that it imports, keeps nothing between calls and looks into no object's
insides. This is a reading of names, which a determined author can get round; see :mod:`dpmot.diffusion.metering`.
"""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from dpmot import plugins


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STANDARD = _words(
    "__future__ abc bisect cmath collections contextlib copy dataclasses decimal enum fractions functools heapq "
    "itertools math numbers operator statistics typing warnings"
)
OWN = {
    "dpmot.diffusion.protocols": None,
    "dpmot.diffusion.sigmas": None,
    "dpmot.diffusion.denoiser": {"Callback", "Denoiser", "Noise", "per_sample"},
}
TORCH = ("torch.fft", "torch.func", "torch.linalg", "torch.nn.functional", "torch.special")
FOREIGN = frozenset({"cffi", "cloudpickle", "dill", "joblib", "psutil", "safetensors"})  # files, processes, insides
NAMES = _words(
    "__builtins__ __import__ __loader__ __spec__ breakpoint compile delattr dir eval exec globals input locals open "
    "setattr vars"
)
ATTRIBUTES = _words(
    "f_back f_builtins f_globals f_locals tb_frame tb_next gi_frame gi_code cr_frame ag_frame modules _getframe "
    "load loads save frombuffer fromfile from_file tofile loadtxt savetxt genfromtxt memmap "
    "jit hub multiprocessing distributed overrides _dynamo _C _python_dispatch utils serialization"
)
DUNDERS = frozenset({"__init__", "__call__", "__name__", "__doc__", "__post_init__", "__class__", "__len__"})


class NotPermitted(ValueError):
    """The file of a sampler says what its contract does not offer; the message names file and line."""


def check(name: str) -> None:
    """Read the file of a sampler and those beside it that it imports.

    Raises:
        NotPermitted: one of them imports, names or changes what no sampler needs.
    """
    waiting, seen = [plugins.path("baselines", name)], set[Path]()
    while waiting:
        path = waiting.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        faults, beside = _read(path, path.stat().st_mtime_ns)
        if faults:
            line, fault = faults[0]
            raise NotPermitted(
                f"baselines/{path.name}, line {line}: {fault}; docs/extending.md says what a sampler may do"
            )
        waiting += [path.with_name(f"{other}.py") for other in beside]


@cache
def _read(path: Path, _: int) -> tuple[list[tuple[int, str]], list[str]]:
    tree, package = ast.parse(path.read_text(encoding="utf-8")), path.parent.name
    reader = _Reader(package)
    found = [(getattr(node, "lineno", 1), fault) for node in ast.walk(tree) for fault in reader.faults(node)]
    imported = reader.imported
    found += [(getattr(node, "lineno", 1), fault) for node in ast.walk(tree) for fault in _changes(node, imported)]
    return sorted(found), reader.beside


class _Reader:
    def __init__(self, package: str) -> None:
        self.package, self.imported, self.beside = package, set[str](), list[str]()

    def faults(self, node: ast.AST) -> Iterator[str]:
        """What is wrong with one node; takes down what the file imports."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                self.imported.add((alias.asname or alias.name).split(".")[0])
                yield from self._module(alias.name, None)
        elif isinstance(node, ast.ImportFrom):
            self.imported |= {alias.asname or alias.name for alias in node.names}
            for alias in node.names:
                yield from self._module("." if node.level else str(node.module), alias.name)
        elif isinstance(node, ast.Name) and node.id in NAMES:
            yield f"{node.id} is not for samplers"
        elif isinstance(node, ast.Attribute) and _inside(node.attr):
            yield f".{node.attr} is not for samplers"
        elif isinstance(node, ast.Name) and node.id == "getattr":
            yield "getattr is not for samplers: write the attribute's name"
        elif isinstance(node, ast.Global):
            yield f"global {', '.join(node.names)}: a sampler keeps nothing between calls"

    def _module(self, module: str, name: str | None) -> Iterator[str]:
        shown = f"import {module}" if name is None else f"from {module} import {name}"
        if name is not None and (_inside(name) or name == "*"):
            yield f"{shown} is not for samplers"
            return
        top, whole = module.split(".")[0], module if name is None else f"{module}.{name}"
        if top in (self.package, "baselines"):
            other = whole.removeprefix(f"{top}.").split(".")[0]
            self.beside.append(other)
            allowed = other.startswith("_")
        elif top == "dpmot":
            own = whole if whole in OWN else module
            allowed = own in OWN and (own == whole or OWN[own] is None or name in (OWN[own] or ()))
            allowed = allowed and (OWN[own] is None or name is not None)
        elif top == "torch":
            plain = module == "torch" and name not in ("nn", "export", "package")
            allowed = plain or module in TORCH or whole in TORCH
        elif top in sys.stdlib_module_names or top in (".", ""):
            allowed = top in STANDARD
        else:
            allowed = top not in FOREIGN
        if not allowed:
            yield f"{shown} is not for samplers"


def _inside(attribute: str) -> bool:
    dunder = attribute.startswith("__") and attribute.endswith("__") and attribute not in DUNDERS
    return dunder or attribute in ATTRIBUTES or (attribute.startswith("register_") and attribute.endswith("hook"))


def _changes(node: ast.AST, imported: set[str]) -> Iterator[str]:
    """Assignments to parts of what was imported."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign | ast.Delete):
        targets = list(node.targets)
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    for target in targets:
        root: ast.expr = target
        while isinstance(root, ast.Attribute | ast.Subscript):
            root = root.value
        if root is not target and isinstance(root, ast.Name) and root.id in imported:
            yield f"{ast.unparse(target)} is changed: a sampler leaves what it imports as it is"
