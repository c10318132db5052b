"""What holds for every test: one thread a worker, and fixtures that any test may ask for."""

import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from project import Project, copy_project
from threadpoolctl import threadpool_limits


def pytest_configure(config: pytest.Config) -> None:
    """A worker of pytest-xdist computes on one thread: the other core is its neighbour's."""
    if hasattr(config, "workerinput"):
        torch.set_num_threads(1)
        threadpool_limits(1)


@pytest.fixture
def one_thread():
    """One torch thread: networks as small as those of the tests are slower on two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def altered():
    """A function whose context is one in which a caller has set whatever torch and numpy let it set for all code."""

    @contextmanager
    def states():
        dtype, precision = torch.get_default_dtype(), torch.get_float32_matmul_precision()
        deterministic = torch.are_deterministic_algorithms_enabled()
        torch.set_default_dtype(torch.float64)
        torch.set_float32_matmul_precision("medium")
        torch.use_deterministic_algorithms(True)
        try:
            reduced, elsewhere = torch.autocast("cpu", dtype=torch.bfloat16), torch.device("meta")
            with reduced, elsewhere, torch.inference_mode(), np.errstate(all="raise"):
                yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_float32_matmul_precision(precision)
            torch.use_deterministic_algorithms(deterministic)

    return states


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Project:
    """A project whose smoke experiment has run, once for all workers; tests leave it as it is."""
    common = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):
        common = common.parent  # of all workers
    where = common / "finished.txt"
    with FileLock(common / "finished.lock"):
        if not where.exists():
            project = copy_project(tmp_path_factory.mktemp("run"))
            project.snakemake()
            where.write_text(str(project.folder), encoding="utf-8")
    return _copied(Path(where.read_text(encoding="utf-8")), tmp_path_factory.mktemp("finished"))


@pytest.fixture
def finished_copy(finished: Project, tmp_path: Path) -> Project:
    """The same for one test, which may change it."""
    return _copied(finished.folder, tmp_path)


def _copied(folder: Path, parent: Path) -> Project:
    return Project(shutil.copytree(folder, parent / "project", symlinks=True))
