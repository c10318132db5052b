"""Which code a result depends on: the import closure of a module, wherever its files lie.

The digest of these files is a parameter of each job in Snakemake, so that an edit re-runs exactly what uses the edited
file, and resume points carry their hash. One rule holds for every import: the standard library counts as Python's
version, an installed package as its own version, and everything else (this project, a folder on PYTHONPATH, an editable
package) as files, which are followed in turn. ``ast`` reads the imports; nothing is imported.
"""

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import NamedTuple

from dpmot.plugins import ROOT

PACKAGES = ("dpmot", "baselines", "paper_figures")
INSTALLED = ("site-packages", "dist-packages")
OTHER_NAMES = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "PyYAML"}  # to list all packages takes long


def closure(modules: Iterable[str]) -> list[Path]:
    """Files of ``modules`` and of everything they import that is not installed, sorted.

    Plugins are found by name at run time, so a caller names them beside the stage:
    ``closure(["dpmot.experiment.sample", "baselines.ddim"])``.
    """
    return sorted(Code().followed(modules)[0])


def code_digest(modules: Iterable[str]) -> str:
    """sha256 over the closure's names and bytes, and the versions of installed packages, 16 hex digits."""
    code = Code()
    return code.digest(modules, packages=code.followed(modules)[1])


class Code:
    """Source code as it was when each file was first asked for: closures of many jobs share most of their files."""

    def __init__(self) -> None:
        self._seen: dict[str, _Module] = {}
        self._contents: dict[Path, bytes] = {}

    def digest(self, modules: Iterable[str], also: Iterable[Path] = (), *, packages: Iterable[str] = ()) -> str:
        """sha256 over the names and bytes of the closure's files and of others, 16 hex digits.

        Args:
            modules: names, as for :func:`closure`.
            also: files that no import names.
            packages: installed ones, whose versions count too.
        """
        total = hashlib.sha256()
        for path in sorted({*self.followed(modules)[0], *also}):
            total.update(_name(path).encode() + b"\0" + self._content(path) + b"\0")
        for package in sorted(packages):
            total.update(f"{package} {_version(package)}\0".encode())
        return total.hexdigest()[:16]

    def read(self, modules: Iterable[str]) -> dict[str, str]:
        """The name and digest of every file of a closure, and of those that were read before."""
        self.digest(modules)
        return self.files()

    def files(self) -> dict[str, str]:
        """The name and digest of every file that was read."""
        return {_name(path): hashlib.sha256(content).hexdigest()[:16] for path, content in self._contents.items()}

    def followed(self, modules: Iterable[str]) -> tuple[set[Path], set[str]]:
        """Files, and names of installed packages."""
        waiting, files, packages, seen = list(modules), set[Path](), set[str](), set[str]()
        while waiting:
            module = waiting.pop()
            if module in seen:
                continue
            seen.add(module)
            known = self._seen.get(module) or self._seen.setdefault(module, _looked_up(module))
            files |= known.files
            packages |= known.packages
            waiting.extend(known.then)
        return files, packages

    def _content(self, path: Path) -> bytes:
        if path not in self._contents:
            self._contents[path] = path.read_bytes()
        return self._contents[path]


class _Module(NamedTuple):
    """What one module adds to a closure, and the modules to look at next."""

    files: frozenset[Path] = frozenset()
    packages: frozenset[str] = frozenset()
    then: tuple[str, ...] = ()


def _looked_up(module: str) -> _Module:
    top = module.split(".")[0]
    if top in sys.stdlib_module_names:
        return _Module()
    path, above = _file(module), (module.rpartition(".")[0],) if "." in module else ()
    if path is None:
        return _Module(then=above)
    if top not in PACKAGES and {*path.parts} & {*INSTALLED}:
        return _Module(packages=frozenset({top}), then=above)
    return _Module(frozenset({path}), then=(*(_imports(path, module) if path.suffix == ".py" else ()), *above))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def _file(module: str) -> Path | None:
    """The file of a module; None where there is none, as of a name that is imported from one."""
    if module.split(".")[0] in PACKAGES:
        path = ROOT.joinpath(*module.split("."))
        return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
    spec = _spec(module)
    return Path(spec.origin) if spec and spec.origin and Path(spec.origin).is_file() else None


@cache
def _spec(module: str) -> ModuleSpec | None:
    parent = _spec(module.rpartition(".")[0]) if "." in module else None
    if "." in module and not (parent and parent.submodule_search_locations):
        return None
    place = parent.submodule_search_locations if parent else None
    found = (finder.find_spec(module, place) for finder in sys.meta_path)
    return next((spec for spec in found if spec), None)


@cache
def _imports(path: Path, module: str) -> frozenset[str]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    return frozenset(_named(ast.parse(path.read_bytes()), package))


def _named(top: ast.AST, package: str) -> Iterator[str]:
    waiting = [top]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue  # annotations change no result
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            name = ".".join([*above, *([node.module] if node.module else [])])
            yield from (name, *(f"{name}.{alias.name}" for alias in node.names)) if name else ()
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            names = [one.value for one in node.args[:1] if isinstance(one, ast.Constant)]
            yield from (name for name in names if isinstance(name, str))
        waiting.extend(ast.iter_child_nodes(node))


@cache
def _version(package: str) -> str:
    try:
        return version(OTHER_NAMES.get(package, package))
    except PackageNotFoundError:
        return " ".join(version(name) for name in packages_distributions().get(package, ()))
