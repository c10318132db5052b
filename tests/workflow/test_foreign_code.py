"""A plug-in's code outside the project counts as that of its jobs."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from project import Project, copy_project

CONFIG = """
experiment: mine
dataset: mine
nfe_budgets: [5]
num_samples: 20
sample_seeds: [0]
networks: {edm: {kind: edm, training: {steps: 1}}}
methods: {m: {network: edm, sampler: ddim}}
"""


@dataclass(frozen=True)
class Beside(Project):
    """A project beside which a folder lies on PYTHONPATH."""

    folder: Path

    @property
    def environment(self):
        return {**super().environment, "PYTHONPATH": f"{self.folder}:{self.folder.parent / 'elsewhere'}"}

    def prepare(self, *arguments):
        target = "results/mine/data.safetensors"
        command = [sys.executable, "-m", "snakemake", target, "--cores", "1", *arguments]
        done = self.run([*command, "--configfile", "mine.yaml"])
        return done.stdout + done.stderr


@pytest.mark.slow
def test_an_edit_of_foreign_code_reruns_the_job_that_uses_it(tmp_path):
    foreign = tmp_path / "elsewhere" / "foreign_images.py"
    foreign.parent.mkdir()
    foreign.write_text("HALF = 1\n")
    (tmp_path / "project").mkdir()
    project = Beside(copy_project(tmp_path / "project").folder)
    digits = (project.folder / "dpmot" / "data" / "digits.py").read_text(encoding="utf-8")
    (project.folder / "dpmot" / "data" / "mine.py").write_text(
        digits.replace("import numpy", "import foreign_images\nimport numpy")
    )
    (project.folder / "mine.yaml").write_text(CONFIG)
    project.prepare()
    assert "Nothing to be done" in project.prepare("--dry-run")
    foreign.write_text("HALF = 2\n")
    planned = project.prepare("--dry-run")
    assert "Nothing to be done" not in planned and "foreign_images.py" in planned


@pytest.mark.slow
def test_snakemake_reads_a_value_with_a_hash_whole(tmp_path):
    project = copy_project(tmp_path)
    where = f"{tmp_path}/set #2"
    done = project.run(
        [
            *project.command("--dry-run", cores=None),
            "--config",
            "dataset=folder",
            f"data_root={where}",
        ],
        check=False,
    )
    assert f"The data root {where} is no folder" in done.stderr
