"""pyproject.toml lists every package: an editable install would hide a missing one."""

import tomllib

from dpmot.plugins import ROOT


def test_every_folder_with_an_init_file_is_packaged():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = (
        path.parent for top in ("baselines", "dpmot", "paper_figures") for path in (ROOT / top).rglob("__init__.py")
    )
    assert sorted(listed) == sorted(".".join(folder.relative_to(ROOT).parts) for folder in folders)
