"""The contract of a page, checked on every file of ``paper_figures/``: a new table or figure is one file."""

import importlib.util
import shutil

import numpy as np
import pytest
from safetensors.numpy import save_file

from dpmot import plugins
from paper_figures._page import Page
from paper_figures._results import load

PAGES = plugins.names("pages")
FILES = {  # what READS may name -> files and folders of it
    "identity": ["identity.csv"],
    "replicates": ["replicates.csv"],
    "coupling": ["coupling.csv"],
    "star": ["star.json"],
    "ideal": ["ideal.csv"],
    "copies": ["copies.csv"],
    "mixed": ["mixed.csv"],
    "data": ["data.safetensors"],
    "strips": ["strips.safetensors"],
    "samples": ["samples"],
    "timings": ["timings", "timings.csv"],
    "reported": [],
    "fits": ["fits"],
    "trainings": ["trainings.csv"],
}


def module_of(path):
    """A test file of another folder, which pytest has not put on the path."""
    spec = importlib.util.spec_from_file_location(f"pages_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small results folder with everything that a page may read."""
    made = plugins.ROOT / "tests" / "paper_figures"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(made))
        writer = module_of(made / "conftest.py")
        edits = module_of(made / "edits.py")
        folder = writer.write_results(tmp_path_factory.mktemp("pages") / "smoke", "smoke")
        edits.with_replicates(folder)
    common = {"network": "ddpm", "start": "transport", "sampler": "ddim", "sigma_start": 1, "nfe_counted": 10}
    rows = [
        common
        | {"method": method, "quantity": quantity, "move": move, "value": 0.2, "low": 0.1, "high": 0.3}
        | {"num_noises": 400, "fingerprint": "17cafe"}
        for method in ("dpm_ot_ddim", "copy")
        for quantity, moves in (("transport_cost", [""]), ("cell_changes", [0.1, 1.0]), ("sample_distance", [0.1, 1.0]))
        for move in moves
    ]
    edits.write_csv(folder / "coupling.csv", rows)
    tested = {"seeds": 3, "mean_difference": 0.01, "low": 0.0, "high": 0.02, "margin": 0.1, "p_value": 0.01}
    tested |= {"pair": "dpm_ot_ddim - copy", "metric": "fd_classifier", "reference": "test", "nfe": 5}
    edits.write_csv(folder / "identity.csv", [tested | {"equivalent": True, "p_difference": 0.4}])
    edits.write_csv(folder / "timings.csv", [{"job": "solve", "arithmetic_s": 2.0}])
    ideal = {"num_images": 599, "num_latents": 200, "chance": 0.002, "value": 0.9, "low": 0.85, "high": 0.94}
    edits.write_csv(folder / "ideal.csv", [{"sigma": 0.14} | ideal])
    (folder / "star.json").write_text('{"sigma": 2.0, "reason": "smallest inside", "rows": []}')
    strips = np.zeros((2, 3, 1, 8, 8), np.uint8)
    save_file({f"{name}/images": strips for name in ("ddim", "dpm_ot_ddim")}, folder / "strips.safetensors")
    return folder


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_called_like_its_file_and_writes_files_of_its_own_name(name):
    page = plugins.find("pages", name).PAGE
    assert isinstance(page, Page) and page.name == name
    assert name.partition("_")[0] + "s" == page.folder
    assert page.outputs == tuple(f"{page.folder}/{name}{ending}" for ending in page.endings)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_says_in_reads_what_it_reads_and_reads_nothing_else(name, folder, tmp_path):
    reads = plugins.constant("pages", name, "READS") or ()
    assert set(reads) <= set(FILES)
    spared = [file for what, files in FILES.items() if what not in reads for file in files]
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare, ignore=lambda *_: spared)
    page = plugins.find("pages", name).PAGE
    made = page.produce(load(folder))
    assert tuple(made) == page.outputs and all(made.values())
    assert page.produce(load(bare)) == made
