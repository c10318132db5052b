"""pyproject.toml lists every package: an editable install would hide a missing one."""

import tomllib

from dpmot.plugins import ROOT


def test_every_folder_with_an_init_file_is_packaged():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    tops = ("baselines", "dpmot", "paper_figures", "snakemake_logger_plugin_dpmot")
    folders = (path.parent for top in tops for path in (ROOT / top).rglob("__init__.py"))
    assert sorted(listed) == sorted(".".join(folder.relative_to(ROOT).parts) for folder in folders)
