"""Copies of the project that hold no results."""

import re
import shutil
import sys

import pytest
from project import Project, copy_project

from dpmot.plugins import ROOT

LABELLED = '''"""A network that is only loaded, colour images of 16 x 16, five classes; it predicts x0."""

from dataclasses import dataclass
from functools import cached_property

from dpmot.diffusion.sigmas import edm_chain

SHAPE = (3, 16, 16)
CLASSES = 5


@dataclass(frozen=True)
class Parametrisation:
    """No options."""

    @cached_property
    def chain(self):
        """The Karras grid."""
        return edm_chain()

    def model(self, tensors):
        """The raw network with these weights, freshly drawn for None."""
        from torch import nn

        class Theirs(nn.Module):
            def __init__(self):
                super().__init__()
                self.image, self.label = nn.Conv2d(3, 3, 3, padding=1), nn.Embedding(5, 3)

            def forward(self, x, condition, labels):
                return (self.image(x) + self.label(labels)[:, :, None, None]).tanh()

        network = Theirs()
        if tensors is not None:
            network.load_state_dict(tensors)
        return network

    def denoise(self, model, x, sigma):
        """x (B, *S), sigma (B,) -> D(x, sigma), (B, *S)."""
        skip = (1 / (1 + sigma**2)).reshape(-1, 1, 1, 1)
        return skip * x + (1 - skip) * model(x * skip.sqrt(), sigma.log() / 4)
'''


@pytest.fixture
def fresh(tmp_path) -> Project:
    """A project without results."""
    return copy_project(tmp_path)


@pytest.fixture(scope="session")
def extended(tmp_path_factory) -> Project:
    """A project with tests, in which `dpmot new` and the diffs of docs/extending.md have written their files."""
    project = copy_project(tmp_path_factory.mktemp("extended"))
    shutil.copytree(ROOT / "tests", project.folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", project.folder)
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    for kind, name in re.findall(r"^`dpmot new (\w+) (\w+)` writes", text, re.M):
        project.run([sys.executable, "-m", "dpmot", "new", kind, name])
    (project.folder / "dpmot/diffusion/networks/their_labelled.py").write_text(LABELLED, encoding="utf-8")
    for diff in re.findall(r"```diff\n(.*?)```", text, re.DOTALL):
        (project.folder / "change.diff").write_text(diff, encoding="utf-8")
        project.run(["git", "apply", "change.diff"])
    return project
