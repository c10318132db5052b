"""The commands that the documents promise: lint, help, and one clear line for a configuration that cannot run."""

import re
import subprocess
import sys

import pytest

from dpmot import cli
from dpmot.plugins import ROOT

pytestmark = pytest.mark.workflow

BAD = {
    "unknown sampler": ("methods={x: {network: edm, sampler: dimm}}", r'No sampler "dimm" in baselines/: found .*ddim'),
    "unknown network": ("methods={x: {network: vdm, sampler: ddim}}", r'no network "vdm".*found ddpm, edm'),
    "unknown start": (
        "methods={x: {network: edm, start: ot, sampler: ddim}}",
        r'No start "ot" in dpmot/starts/: found',
    ),
    "NFE 0": ("nfe_budgets=[0]", r"nfe_budgets.0"),
    "typo in a key": ("nfe_budget=[5]", r'unknown key "nfe_budget"; did you mean "nfe_budgets"'),
    "typo in an option": (
        "methods={x: {network: edm, sampler: ddim, options: {etta: 1}}}",
        r'unknown option "etta"; allowed: eta',
    ),
    "sigma_M above sigma_max": (
        "methods={x: {network: edm, start: transport, sampler: ddim, level: 100}}",
        r"sigma_M = 100 lies outside the levels of network edm, \[0.002, 80\]",
    ),
    "missing weights": ("networks={edm: {weights: nowhere.safetensors}}", r"networks.edm.weights: no file nowhere"),
    "missing data": ("dataset=fashion_mnist", r"data root|DPMOT_DATA"),
    "data root without the files": ("dataset=fashion_mnist data_root=config", r"fashion-mnist"),
    "unknown data set": ("dataset=imagenet", r'No data set "imagenet" in dpmot/data/: found'),
    "unknown figure": ("figures=[figure_99]", r'no "figure_99" in paper_figures/: found figure_1'),
    "unattainable": (
        "methods={x: {network: student, sampler: ddim, nfe_budgets: [2]}}",
        r"student was distilled for 5, 10",
    ),
    "missing Inception weights": ("inception_weights=nowhere.pth", r"inception_weights: no file nowhere.pth"),
    "identity of an unknown metric": (
        "identity={pairs: [[identity_ot, identity_copy]], margins: {fd_clasifier: 1, ffd_x: 1}}",
        r'identity: no metric "ffd_x"',
    ),
    "identity of unequal cells": ("identity={pairs: [[ddpm, identity_copy]]}", r"must have the same seeds"),
    "selection that no budget meets": (
        "selection={network: student, sampler: ddim, nfe: 2, sigmas: [1]}",
        r"selection: .*distilled for 5, 10 steps",
    ),
    "atoms of a prior start": (
        "methods={x: {network: edm, sampler: ddim, targets: as_code}}",
        r"a prior start has no atoms",
    ),
    "option that is no number": ("networks={edm: {options: {sigma_data: abc}}}", r"sigma_data: 'abc' is no number"),
    "too few samples": ("num_samples=40", r"num_samples: 40"),
    "selection seed reported": (
        "selection={network: edm, sampler: ddim, nfe: 10, sigmas: [1], sample_seed: 0}",
        r"selection.sample_seed: 0 is also a reported seed",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_configuration_that_cannot_run_stops_before_any_job_with_one_line(fresh, name, monkeypatch):
    monkeypatch.delenv("DPMOT_DATA", raising=False)
    overrides, message = BAD[name]
    pairs = re.split(r" (?=\w+=)", overrides)
    done = fresh.snakemake("--config", *pairs, check=False)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("config: ")]
    assert len(lines) == 1 and re.search(message, lines[0]), done.stderr
    assert "Traceback" not in done.stderr
    assert not (fresh.folder / "results").exists()


def test_the_same_mistake_reads_the_same_on_the_command_line(capsys):
    status = cli.main(["plan", "--configfile", str(ROOT / "config/smoke.yaml"), "--config", "nfe_budget=[5]"])
    assert status == 1
    assert 'unknown key "nfe_budget"; did you mean "nfe_budgets"' in capsys.readouterr().err


def test_a_configfile_on_the_command_line_replaces_the_default(fresh):
    (fresh.folder / "config" / "own.yaml").write_text(
        "experiment: own\ndataset: gaussians\nnfe_budgets: [5]\nnum_samples: 200\nsample_seeds: [0]\n"
        "networks: {exact: {kind: mixture}}\nmethods: {ddim: {network: exact, sampler: ddim}}\n"
    )
    command = [sys.executable, "-m", "snakemake", "-n", "--workflow-profile", "none", "--configfile", "config/own.yaml"]
    done = fresh.run(command)
    assert "results/own/samples/ddim.safetensors" in done.stdout + done.stderr
    assert "student" not in done.stdout + done.stderr


def test_the_workflow_is_clean_under_lint():
    command = [sys.executable, "-m", "snakemake", "--lint"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Congratulations" in done.stdout + done.stderr


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_of_every_verb_shows_a_runnable_example(verb, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([verb, "--help"])
    assert stopped.value.code == 0
    example = re.search(r"example: dpmot (.*)", " ".join(capsys.readouterr().out.split())).group(1)
    parsed = cli.parser().parse_args(example.split())
    assert parsed.verb == verb and (verb == "cards" or (ROOT / parsed.configfile[0]).is_file())


def test_published_weights_are_listed_with_address_licence_and_what_was_reported(capsys):
    assert cli.main(["cards"]) == 0
    shown = capsys.readouterr().out
    assert "ddpm_cifar10: DDPM, CIFAR-10" in shown and "https://huggingface.co/google/ddpm-cifar10-32" in shown
    assert "reported FID 3.17 at NFE 1000" in shown and "needs SongUNet of NVlabs/edm" in shown


def test_commands_in_the_readme_parse():
    text = (ROOT / "README.md").read_text()
    commands = re.findall(r"^ *\$? *dpmot (.+?)(?: *#.*)?$", text, re.M)
    assert commands
    for command in commands:
        cli.parser().parse_args(command.split())


def test_make_targets_in_the_readme_exist():
    targets = set(re.findall(r"(?:^|`)make (\w+)(?:`|  )", (ROOT / "README.md").read_text(), re.M))
    assert {"run", "test", "venv"} <= targets
    assert all(re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M) for target in targets)
