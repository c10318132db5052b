"""NaN or infinity in training, or in features: one line with the step, and the batch on disk."""

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dpmot import cli
from dpmot.plugins import ROOT
from dpmot.runtime import seals

SMOKE = ["--configfile", str(ROOT / "config" / "smoke.yaml")]


@pytest.fixture
def results(tmp_path):
    """A results folder with the data of the smoke experiment."""
    assert cli.main(["prepare", *SMOKE, "--results", str(tmp_path)]) == 0
    return tmp_path


def failed(capsys, *words):
    """Run a command that fails; its line, and the tensors of the file that the line names."""
    assert cli.main([*words]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dpmot ")]
    return line, load_file(Path(re.search(r"the batch is in (\S+)", line)[1]))


def test_a_loss_that_diverges_leaves_its_batch(results, capsys):
    override = "networks={edm: {kind: edm, unet: {channels: 8}, training: {steps: 50, batch: 16, lr: 1.0e+30}}}"
    line, batch = failed(
        capsys, "train", "edm", *SMOKE, "--results", str(results), "--config", override, "experiment=smoke"
    )
    assert re.search(r"edm: the loss is (nan|inf) at step \d+, sigma [\d.e+-]+; lower `lr`", line)
    assert batch["sigma"].shape == (16,)
    assert batch["x0"].shape == batch["noise"].shape == (16, 1, 8, 8) and torch.isfinite(batch["x0"]).all()
    assert not (results / "smoke" / "networks").exists()


def test_a_student_that_diverges_leaves_its_batch_too(results, capsys):
    short = "unet: {channels: 8}, training: {steps: 2, batch: 16}"
    student = (
        "{distillation: progressive, teacher: edm, step_counts: [2, 1], training: {steps: 9, batch: 16, lr: 1.0e+30}}"
    )
    plan = ["--config", f"networks={{edm: {{kind: edm, {short}}}, student: {student}}}"]
    words = [*SMOKE, "--results", str(results)]
    plan.append("experiment=smoke")
    methods = "methods={student: {network: student, sampler: ddim, nfe_budgets: [2]}}"
    assert cli.main(["train", "edm", *words, *plan, methods]) == 0
    capsys.readouterr()
    line, batch = failed(capsys, "train", "student", *words, *plan, methods)
    assert re.search(r"student.*: the loss is (nan|inf) at step \d+, sigma", line) and len(batch["x0"]) == 16


TINY = """
experiment: tiny
dataset: digits
nfe_budgets: [5]
num_samples: 200
sample_seeds: [0]
networks: {ddpm: {kind: ddpm, unet: {channels: 8}, training: {steps: 2, batch: 16}}}
classifier: {epochs: 1}
methods: {copy: {network: ddpm, start: copy, sampler: none}}
"""


def test_features_that_are_not_finite_name_their_samples(tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(TINY)
    words = ["--configfile", str(tmp_path / "tiny.yaml"), "--results", str(tmp_path)]
    for stage in (["prepare"], ["train", "ddpm"], ["classify"], ["sample", "copy"]):
        assert cli.main([*stage, *words]) == 0
    capsys.readouterr()
    file = tmp_path / "tiny" / "networks" / "classifier.safetensors"
    tensors, texts = seals.load(file)
    name = next(key for key in tensors if key.endswith("weight"))
    tensors[name][:] = float("nan")
    seals.save(file, tensors, texts)
    line, batch = failed(capsys, "measure", *words)
    assert "classifier: Feature values of" in line and "are NaN or infinite" in line
    assert batch["samples"].dtype == torch.uint8 and len(batch["row"]) == len(batch["samples"])
