"""Imports point back along the flow of the data, and what plans, tables and statistics need costs no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from dpmot.plugins import ROOT

BASE = {"plugins", "seeds", "images", "tiles", "runtime", "device"}
ALLOWED = {  # part -> the other parts it may import
    **{part: set() for part in BASE},
    "runtime": {"plugins", "device"},
    "data": BASE,
    "_torchvision": set(),
    "diffusion": BASE | {"_torchvision"},
    "transport": BASE,
    "starts": BASE | {"data", "diffusion", "transport"},
    "baselines": BASE | {"data", "diffusion", "transport"},
    "features": BASE | {"_torchvision", "data"},
    "metrics": BASE | {"features"},
    "statistics": set(),
    "experiment": BASE | {"data", "diffusion", "transport", "starts", "features", "metrics", "statistics"},
    "gate": {"plugins", "runtime", "experiment", "statistics"},
    "cli": BASE | {"diffusion", "experiment"},
    "__main__": {"cli"},
    "paper_figures": BASE | {"experiment", "statistics"},
}
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for top in ("dpmot", "baselines", "paper_figures")
    for path in (ROOT / top).rglob("*.py")
)
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
        )
    )
    or (name.startswith("baselines/") and name.count("/") == 1)
    or name
    in (
        "dpmot/cli.py",
        "dpmot/plugins.py",
        "dpmot/seeds.py",
        "dpmot/runtime/seals.py",
        "dpmot/runtime/files.py",
        "dpmot/diffusion/sigmas.py",
    )
    or (name.startswith("dpmot/experiment/") and "/stages/" not in name)
]


def part_of(name):
    """The part a file or module belongs to, by its path inside the repository."""
    first, *rest = Path(name).with_suffix("").parts
    return rest[0] if first == "dpmot" and rest else first


def imported(name, *, on_import=False):
    """Modules a file imports, as paths; with ``on_import`` only those loaded as soon as the file itself is."""
    found, waiting = set(), [ast.parse((ROOT / name).read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative imports are not used here"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        typing_only = isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        if on_import and (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or typing_only):
            continue
        waiting.extend(ast.iter_child_nodes(node))
    return {module.replace(".", "/") for module in found}


def file_of(module):
    """The file of this repository behind an imported path: the module itself, or the one that holds the name."""
    for path in (Path(module), Path(module).parent):
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if path.parts and (ROOT / candidate).is_file():
                return candidate.as_posix()
    return None


def loaded(name):
    """Top-level names of the other packages that importing a file loads, directly or through this repository."""
    waiting, files, packages = [name], set(), set()
    while waiting:
        current = waiting.pop()
        if current in files:
            continue
        files.add(current)
        for module in imported(current, on_import=True):
            mine = file_of(module) if module.split("/")[0] in ("dpmot", "baselines", "paper_figures") else None
            if mine is None:
                packages.add(module.split("/")[0])
                continue
            waiting.append(mine)
            parents = [f"{parent.as_posix()}/__init__.py" for parent in Path(mine).parents if parent.parts]
            waiting.extend(parent for parent in parents if (ROOT / parent).is_file())
    return packages


def test_the_walk_over_imports_sees_what_a_file_imports():
    assert "torch" in loaded("dpmot/tiles.py") and "torch" in loaded("dpmot/starts/prior.py")
    assert "numpy" in loaded("baselines/edm.py")  # two steps away, through the noise levels


@pytest.mark.parametrize("name", FILES)
def test_imports_point_back_along_the_flow_of_the_data(name):
    part = part_of(name)
    if name == "dpmot/__init__.py":
        assert imported(name) == set()
        return
    assert part in ALLOWED, f"{name} is a new part: say in ALLOWED what it may import"
    for module in imported(name):
        top = module.split("/")[0]
        if top not in ("dpmot", "baselines", "paper_figures") or module in ("dpmot", "dpmot/__version__"):
            continue
        other = part_of(module)
        assert other == part or other in ALLOWED[part], f"{name} imports {module}"


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("dpmot/")])
def test_dpmot_reaches_the_baselines_only_through_plugins(name):
    assert not [module for module in imported(name) if module.split("/")[0] in ("baselines", "paper_figures")]


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_what_plans_and_draws_imports_no_torch(name):
    assert "torch" not in loaded(name)


def test_the_command_line_and_every_sampler_load_without_torch():
    code = (
        "import sys, dpmot.cli, dpmot.experiment.config, dpmot.experiment.jobs, baselines.ddim; "
        "from dpmot import plugins; "
        "[plugins.find(kind, name) for kind in ('baselines', 'networks') for name in plugins.names(kind)]; "
        "print('torch' in sys.modules, 'baselines.edm' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.split() == ["False", "True"]


def test_no_file_calls_itself_a_helper():
    banned = {"util", "utils", "helper", "helpers", "misc", "common"}
    assert not [name for name in FILES if set(Path(name).with_suffix("").parts) & banned]
