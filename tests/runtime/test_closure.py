"""The import closure decides what re-runs: it must reach everything a stage uses and nothing else."""

from dpmot.plugins import ROOT
from dpmot.runtime import closure


def _names(*modules: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in closure.closure(modules)}


def test_a_sampler_depends_on_the_noise_levels_and_not_on_metrics():
    found = _names("baselines.edm")
    assert {"baselines/edm.py", "dpmot/diffusion/sigmas.py", "baselines/__init__.py"} <= found
    assert not any("metrics" in name or "transport" in name for name in found)


def test_training_depends_on_no_metric_sampler_or_transport():
    found = _names("dpmot.experiment.stages.train", "dpmot.diffusion.networks.edm")
    assert "dpmot/diffusion/training.py" in found
    assert not any(part in name for name in found for part in ("metrics", "transport", "baselines", "starts"))


def test_measuring_depends_on_no_network_and_no_sampler():
    found = _names("dpmot.experiment.stages.measure")
    assert "dpmot/metrics/copies.py" in found
    assert not any(part in name for name in found for part in ("baselines", "transport", "unet"))


def test_the_code_digest_changes_with_one_byte_of_an_imported_file(tmp_path, monkeypatch):
    package = tmp_path / "dpmot"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("from dpmot import b\n")
    (package / "b.py").write_text("x = 1\n")
    monkeypatch.setattr(closure, "ROOT", tmp_path)
    before = closure.code_digest(["dpmot.a"])
    (package / "b.py").write_text("x = 2\n")
    assert closure.code_digest(["dpmot.a"]) != before


def _foreign(folder, monkeypatch):
    """A module and a package outside the project, on the path, that a plug-in imports."""
    (folder / "net_pkg").mkdir()
    (folder / "net_pkg" / "__init__.py").write_text("from . import layers\n")
    (folder / "net_pkg" / "layers.py").write_text("from .. import nothing\nimport importlib\nhalf = 1\n")
    (folder / "by_name.py").write_text("import torch, json, PIL\n")
    (folder / "foreign_net.py").write_text(
        "import importlib\nimport net_pkg.layers\nimportlib.import_module('by_name')\n"
    )
    (folder / "dpmot").mkdir()
    (folder / "dpmot" / "plugin.py").write_text("import foreign_net\n")
    monkeypatch.setattr(closure, "ROOT", folder)
    monkeypatch.syspath_prepend(str(folder))
    closure._spec.cache_clear()


def test_code_outside_the_project_is_followed_like_the_projects_own(tmp_path, monkeypatch):
    _foreign(tmp_path, monkeypatch)
    names = {path.relative_to(tmp_path).as_posix() for path in closure.closure(["dpmot.plugin"])}
    assert names == {
        *("dpmot/plugin.py", "foreign_net.py", "by_name.py", "net_pkg/__init__.py", "net_pkg/layers.py"),
    }  # torch and PIL are installed, json and importlib are Python's


def test_the_code_digest_changes_with_foreign_code_and_with_versions_of_packages(tmp_path, monkeypatch):
    _foreign(tmp_path, monkeypatch)
    before = closure.code_digest(["dpmot.plugin"])
    (tmp_path / "net_pkg" / "layers.py").write_text("half = 2\n")
    after = closure.code_digest(["dpmot.plugin"])
    monkeypatch.setattr(closure, "_version", lambda package: f"{package} 99")
    assert len({before, after, closure.code_digest(["dpmot.plugin"])}) == 3


def test_a_reading_answers_for_many_jobs_what_a_fresh_look_at_each_says():
    reading = closure.Code()
    for modules in (["baselines.edm"], ["dpmot.experiment.stages.train"], ["baselines.edm", "dpmot.starts.prior"]):
        files, packages = reading.followed(modules)
        assert sorted(files) == closure.closure(modules)
        assert reading.digest(modules, packages=packages) == closure.code_digest(modules)
    assert {"baselines/edm.py", "dpmot/starts/prior.py"} <= reading.files().keys()


def test_files_are_read_once_so_that_an_edit_during_a_run_is_seen_by_the_next(tmp_path, monkeypatch):
    _foreign(tmp_path, monkeypatch)
    reading, page = closure.Code(), tmp_path / "page.css"
    page.write_text("a {}")
    before = reading.digest(["dpmot.plugin"], [page])
    (tmp_path / "net_pkg" / "layers.py").write_text("half = 2\n")
    assert reading.digest(["dpmot.plugin"], [page]) == before != closure.Code().digest(["dpmot.plugin"], [page])
    assert reading.digest(["dpmot.plugin"]) != before  # what no import names counts too
