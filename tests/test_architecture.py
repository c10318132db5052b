"""Imports point back along the flow of the data, and what plans, tables and statistics need costs no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from dpmot.plugins import ROOT

BASE = {"plugins", "seeds", "images", "tiles", "runtime", "device", "warned", "graphs"}
ALLOWED = {  # part -> the other parts it may import
    **{part: set() for part in BASE},
    "runtime": {"plugins", "device"},
    "tiles": {"device"},
    "images": {"warned"},
    "data": BASE,
    "_torchvision": set(),
    "diffusion": BASE | {"_torchvision"},
    "diffusers": BASE | {"_torchvision", "diffusion", "expressways"},
    "transport": BASE,
    "mixtures": BASE | {"transport"},
    "starts": BASE | {"data", "diffusion", "mixtures", "transport"},
    "baselines": BASE | {"data", "diffusion", "transport"},
    "features": BASE | {"_torchvision", "data"},
    "metrics": BASE | {"features", "statistics"},
    "statistics": set(),
    "results": {"plugins", "metrics", "runtime", "statistics"},
    "evaluation": BASE | {"data", "features", "metrics", "statistics", "results"},
    "couplings": BASE | {"diffusion", "starts", "transport"},
    "experiment": BASE
    | {
        "couplings",
        "data",
        "diffusion",
        "transport",
        "starts",
        "features",
        "metrics",
        "statistics",
        "results",
        "evaluation",
        "theory",
    },
    "expressways": BASE | {"starts", "transport"},
    "mixing": BASE | {"expressways", "mixtures", "starts", "transport"},
    "solving": BASE | {"expressways", "transport"},
    "callables": BASE | {"diffusion", "transport"},
    "samplers": BASE | {"diffusion", "transport"},
    "sampling": BASE | {"callables", "diffusion", "expressways", "mixing", "samplers", "starts", "transport"},
    "monitor": {"plugins", "runtime", "diffusion", "experiment", "results"},
    "gate": {"runtime", "statistics", "results"},
    "theory": BASE | {"data", "diffusion", "mixtures", "statistics"},
    "cli": BASE | {"diffusion", "experiment", "evaluation", "monitor", "templates", "theory"},
    "templates": BASE | {"data", "diffusion", "features", "metrics", "starts", "experiment"},
    "__main__": {"cli"},
    "paper_figures": BASE | {"experiment", "statistics", "results"},
}
TOP = ("dpmot", "baselines", "paper_figures")
FILES = sorted(path.relative_to(ROOT).as_posix() for top in TOP for path in (ROOT / top).rglob("*.py"))
WITHOUT_TORCH = [
    name
    for name in FILES
    if name.startswith(
        (
            "paper_figures/",
            "dpmot/statistics/",
            "dpmot/diffusion/networks/",
            "dpmot/data/",
            "dpmot/metrics/",
            "dpmot/gate/",
            "dpmot/monitor/",
        )
    )
    or (name.startswith("baselines/") and name.count("/") == 1)
    or name
    in (
        "dpmot/cli.py",
        "dpmot/graphs.py",
        "dpmot/plugins.py",
        "dpmot/results.py",
        "dpmot/seeds.py",
        "dpmot/runtime/seals.py",
        "dpmot/runtime/files.py",
        "dpmot/runtime/packed.py",
        "dpmot/diffusion/schedule.py",
        "dpmot/diffusion/sigmas.py",
    )
    or (name.startswith("dpmot/experiment/") and "/stages/" not in name)
]


@pytest.fixture(scope="module")
def graph():
    """Who imports whom, for type checkers and inside functions too."""
    return grimp.build_graph(*TOP, cache_dir=None)


def module_of(name):
    """The module of a file, by its path inside the repository."""
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def part_of(module):
    """The part a module belongs to."""
    first, *rest = module.split(".")
    return rest[0] if first == "dpmot" and rest else first


@pytest.mark.parametrize("name", FILES)
def test_imports_point_back_along_the_flow_of_the_data(graph, name):
    part = part_of(module_of(name))
    others = graph.find_modules_directly_imported_by(module_of(name)) - {"dpmot"}
    if name == "dpmot/__init__.py":
        assert not others
        return
    assert part in ALLOWED, f"{name} is a new part: say in ALLOWED what it may import"
    assert not {other for other in others if part_of(other) not in ALLOWED[part] | {part}}


def test_dpmot_reaches_the_baselines_only_through_plugins(graph):
    inside = [module for module in graph.modules if module.split(".")[0] == "dpmot"]
    assert len(inside) > 100 and "dpmot.diffusion.sigmas" in graph.find_modules_directly_imported_by("baselines.edm")
    for module in inside:
        assert all(other.startswith("dpmot") for other in graph.find_modules_directly_imported_by(module))


def test_imports_are_absolute_so_that_the_code_closure_sees_them():
    for name in FILES:
        nodes = ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8")))
        assert not [node.lineno for node in nodes if isinstance(node, ast.ImportFrom) and node.level], name


def test_what_plans_and_draws_imports_no_torch():
    """Asked of the interpreter: a graph of imports cannot tell those inside functions, which cost nothing here."""
    code = (
        "import sys, importlib\nfor name in sys.argv[1:]: importlib.import_module(name); print('torch' in sys.modules)"
    )
    modules = [*map(module_of, WITHOUT_TORCH), "dpmot.tiles"]
    out = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = dict(zip(modules, out.stdout.split(), strict=True))
    assert loaded.pop("dpmot.tiles") == "True"  # the last one needs it
    assert not [module for module, torch in loaded.items() if torch == "True"][:1]


def test_no_file_calls_itself_a_helper():
    banned = {"util", "utils", "helper", "helpers", "misc", "common"}
    assert not [name for name in FILES if set(Path(name).with_suffix("").parts) & banned]


def test_no_two_files_of_tests_share_a_name():
    """Pytest imports them by their names alone, and collects only the first of two."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert not {name for name in names if names.count(name) > 1}
