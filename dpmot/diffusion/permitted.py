"""What the file of a sampler may say: it is read before it runs, and what could reach a network uncounted is refused.

A sampler is arithmetic on the answers of D(x, sigma). So it may import libraries of numbers, the harness's own words
for samplers (``dpmot.diffusion.sigmas``, ``.protocols``) and files beside it with an underscore, which hold learned
numbers too; it opens no file, starts no thread or process, changes nothing that it imports, keeps nothing between calls
and looks into no object's insides. This is a reading of names, which a determined author can get round; see
:mod:`dpmot.diffusion.metering`.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from dpmot import plugins


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LARGEST = 2**17  # bytes of a sampler's files together: 5,000 learned numbers fit, a set of images does not
STANDARD = _words(
    "__future__ abc bisect cmath collections contextlib copy dataclasses decimal enum fractions functools heapq "
    "itertools math numbers operator statistics time typing warnings"
)
LIBRARIES = _words("einops jaxtyping mpmath numpy scipy torch torchdiffeq torchsde tqdm typing_extensions")
PARTS = _words(  # of dpmot and torch
    "dpmot.diffusion.protocols dpmot.diffusion.sigmas dpmot.diffusion.denoiser.Callback "
    "dpmot.diffusion.denoiser.Denoiser dpmot.diffusion.denoiser.Noise dpmot.diffusion.denoiser.per_sample torch "
    "torch.autograd torch.autograd.functional torch.fft torch.func torch.linalg torch.nn.functional torch.special"
)
NETWORKS = {"torch.nn", "torch.export", "torch.package"}
NAMES = _words(
    "__builtins__ __import__ __loader__ __spec__ breakpoint compile delattr eval exec getattr globals locals open "
    "setattr vars"
)
ATTRIBUTES = _words(
    "f_back f_builtins f_globals f_locals tb_frame tb_next gi_frame gi_code cr_frame ag_frame modules "  # insides
    "attrgetter methodcaller get_type_hints ForwardRef singledispatch singledispatchmethod testing f2py "  # run text
    "builtins ctypes ctypeslib gc importlib inspect io os pathlib pickle shutil subprocess sys threading traceback "
    "load loads save frombuffer fromfile from_file tofile loadtxt savetxt genfromtxt memmap open_memmap read_array "
    "DataSource datasets jit hub multiprocessing distributed overrides utils serialization"
)
ADDS = _words("append extend insert setdefault update")
DUNDERS = frozenset({"__init__", "__call__", "__name__", "__doc__", "__post_init__", "__class__", "__len__"})
NUMBERS = "learned numbers go into options, or as constants into a file beside it, baselines/_name.py"
ADD = "if it only calculates, add it to LIBRARIES in dpmot/diffusion/permitted.py"
INSTEAD = {  # of what is refused
    **dict.fromkeys(("json", "open", "pathlib", "pickle", "yaml", "pandas", "safetensors", "load", "loads"), NUMBERS),
    **dict.fromkeys(("getattr", "attrgetter"), "write the attribute's name"),
    **dict.fromkeys(("eval", "compile", "vars"), "if it is a variable of its own, give it another name"),
    **dict.fromkeys(("random", "secrets"), "noise(i) is the noise of step i"),
    **dict.fromkeys(("logging", "sys"), "print or tqdm will do"),
    "nn": "D is the only network; torch.nn.functional has the rest",
}


class NotPermitted(ValueError):
    """The file of a sampler says what its contract does not offer; the message names file and line."""


def check(name: str) -> None:
    """Read the file of a sampler and those beside it that it imports.

    Raises:
        NotPermitted: one of them imports, names or changes what no sampler needs, or they are too large.
    """
    waiting, seen, size = [plugins.path("baselines", name)], set[Path](), 0
    while waiting:
        path = waiting.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        stat = path.stat()
        size += stat.st_size
        faults, beside = [(1, f"{size} bytes: a sampler's files hold at most {LARGEST} together")], list[str]()
        if size <= LARGEST:
            faults, beside = _read(path, stat.st_mtime_ns)
        if faults:
            line, fault = faults[0]
            raise NotPermitted(
                f"baselines/{path.name}, line {line}: {fault}; docs/extending.md says what a sampler may do"
            )
        waiting += [path.with_name(f"{other}.py") for other in beside]


@cache
def _read(path: Path, _: int) -> tuple[list[tuple[int, str]], list[str]]:
    reader = _Reader(ast.parse(path.read_text(encoding="utf-8")), path.parent.name)
    return sorted(reader.faults()), reader.beside


class _Reader:
    def __init__(self, tree: ast.Module, package: str) -> None:
        self.nodes, self.package, self.beside = list(ast.walk(tree)), package, list[str]()
        self.modules = _bound(node for node in self.nodes if isinstance(node, ast.Import))
        self.imported = self.modules | _bound(node for node in self.nodes if isinstance(node, ast.ImportFrom))
        for node in self.nodes:  # other names of what is imported: F = torch.nn.functional
            if isinstance(node, ast.Assign) and self._foreign(node.value):
                self.imported |= {target.id for target in node.targets if isinstance(target, ast.Name)}

    def faults(self) -> Iterator[tuple[int, str]]:
        """Line and words of each."""
        parted = {node.value for node in self.nodes if isinstance(node, ast.Attribute)}
        for node in self.nodes:
            found = list(self._of(node))
            if isinstance(node, ast.Name) and node.id in self.modules and node not in parted:
                found.append(f"{node.id} is handed on whole: write {node.id}.name where it is used")
            yield from ((getattr(node, "lineno", 1), fault) for fault in found)

    def _of(self, node: ast.AST) -> Iterator[str]:
        """What is wrong with one node."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from self._module(alias.name, None)
        elif isinstance(node, ast.ImportFrom):
            module = ".".join(filter(None, [self.package, node.module])) if node.level == 1 else node.module
            for alias in node.names:
                yield from self._module(module or ".", alias.name)
        elif isinstance(node, ast.Name) and node.id in NAMES:
            yield _refused(node.id, node.id)
        elif isinstance(node, ast.Global):
            yield f"global {', '.join(node.names)}: a sampler keeps nothing between calls"
        elif isinstance(node, ast.MatchClass):
            yield from (_refused(f".{name}", name) for name in node.kwd_attrs if _inside(name))
        elif (part := _changed(node)) and self._foreign(part) and getattr(part, "id", "") not in self.modules:
            yield f"{ast.unparse(part)} is changed: a sampler leaves what it imports as it is, and changes a copy"
        if isinstance(node, ast.Attribute):
            private = node.attr.startswith("_") and node.attr not in DUNDERS and self._foreign(node)
            if private or _inside(node.attr):
                yield _refused(f".{node.attr}", node.attr)

    def _foreign(self, node: ast.AST) -> bool:
        """Whether it is a part of what is imported."""
        while isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        return isinstance(node, ast.Name) and node.id in self.imported

    def _module(self, module: str, name: str | None) -> Iterator[str]:
        whole = module if name is None else f"{module}.{name}"
        top, *rest = whole.split(".")
        known = top in {"dpmot", "baselines", self.package, *LIBRARIES, *sys.stdlib_module_names}
        if top in ("baselines", self.package):
            self.beside += rest[:1]
            allowed = bool(rest) and rest[0].startswith("_") and "*" not in rest
        else:
            allowed = top in (STANDARD if top in sys.stdlib_module_names else LIBRARIES | {"dpmot"})
            if top in ("dpmot", "torch"):
                allowed = bool(PARTS & {whole, module}) and whole not in NETWORKS
            allowed = allowed and not any(part.startswith("_") or part == "*" or _inside(part) for part in rest)
        if not allowed:
            shown = f"import {module}" if name is None else f"from {module} import {name}"
            yield _refused(shown, top if top in INSTEAD else whole.split(".")[-1], "" if known else ADD)


def _bound(imports: Iterable[ast.Import | ast.ImportFrom]) -> set[str]:
    """The names that imports give to a file."""
    return {(alias.asname or alias.name).split(".")[0] for node in imports for alias in node.names}


def _changed(node: ast.AST) -> ast.expr | None:
    """What a node assigns to, or adds something to; None if nothing."""
    if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        return node
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ADDS:
        return node.func.value
    return None


def _refused(shown: str, name: str, instead: str = "") -> str:
    instead = INSTEAD.get(name, instead)
    return f"{shown} is not for samplers{': ' * bool(instead)}{instead}"


def _inside(attribute: str) -> bool:
    dunder = attribute.startswith("__") and attribute.endswith("__") and attribute not in DUNDERS
    return dunder or attribute in ATTRIBUTES or (attribute.startswith("register_") and attribute.endswith("hook"))
