"""The commands that the documents promise: lint, help, and one clear line for a configuration that cannot run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dpmot import cli, plugins
from dpmot.plugins import ROOT

pytestmark = pytest.mark.workflow
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "templates" not in page.parts]

BAD = {  # more of them, through dpmot itself: tests/faults/bad_inputs.py
    "methods={x: {network: edm, sampler: dimm}}": r'No sampler "dimm" in baselines/: did you mean "ddim"',
    "nfe_budget=[5]": r'unknown key "nfe_budget"; did you mean "nfe_budgets"',
    "dataset=fashion_mnist": r"data root|DPMOT_DATA",
}


@pytest.mark.parametrize(("override", "message"), BAD.items())
def test_a_configuration_that_cannot_run_stops_before_any_job_with_one_line(fresh, override, message, monkeypatch):
    monkeypatch.delenv("DPMOT_DATA", raising=False)
    done = fresh.snakemake("--config", override, check=False)
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


@pytest.mark.parametrize("name", ["mnist", "cifar10", "celeba", "ffhq"])
def test_the_papers_experiments_are_planned_without_their_data(fresh, name, monkeypatch):
    monkeypatch.delenv("DPMOT_DATA", raising=False)
    command = [sys.executable, "-m", "snakemake", "-n", "--workflow-profile", "none"]
    done = fresh.run([*command, "--configfile", f"config/{name}.yaml"])
    assert f"results/{name}/samples/dpm_ot_ncsnv2.safetensors" in done.stdout + done.stderr
    assert "data: No data root is given: set DPMOT_DATA" in done.stderr


@pytest.mark.parametrize(("device", "shared"), [("cpu", False), ("cuda", True), ("auto", torch.cuda.is_available())])
def test_jobs_wait_for_one_another_only_where_they_share_a_gpu(fresh, device, shared):
    done = fresh.snakemake("-n", "--workflow-profile", "none", "--config", f"device={device}")
    shown = done.stdout + done.stderr
    assert "rule train:" in shown and ("gpu=1" in shown) == shared


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
    parsed = cli.parser().parse_args(example.split(" > ")[0].split())
    assert parsed.verb == verb and (verb in cli.UNCONFIGURED or (ROOT / parsed.configfile[0]).is_file())


@pytest.mark.parametrize("kind", plugins.LISTED)
def test_every_kind_of_plugin_is_listed_with_one_line_each(kind, capsys):
    assert cli.main(["list", kind]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == plugins.names(plugins.LISTED[kind])
    assert all(len(line.split()) > 2 for line in lines)


def test_the_rules_are_listed_in_the_order_of_the_paper(capsys):
    assert cli.main(["plan", "--rules"]) == 0
    rules = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    expected = ["prepare", "pair", "train", "classify", "solve", "fit", "select", "learn", "sample"]
    assert rules[:9] == expected and rules[-2:] == ["timings", "html"]
    text = "".join(path.read_text() for path in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")])
    assert set(re.findall(r"^ *rule (\w+):", text, re.M)) == {"all", *rules}


def test_an_override_says_where_its_results_go(fresh, capsys):
    done = fresh.snakemake("-n", "--workflow-profile", "none", "--config", "num_samples=400")
    assert "results/smoke_num_samples_400/metrics.csv" in done.stdout + done.stderr
    assert "note: num_samples overridden: results go to smoke_num_samples_400" in done.stderr
    assert cli.main(["plan", "--configfile", str(ROOT / "config/smoke.yaml"), "--config", "num_samples=400"]) == 0
    assert "results go to smoke_num_samples_400; experiment=smoke writes over smoke" in capsys.readouterr().out


def test_published_weights_are_listed_with_address_licence_and_what_was_reported(capsys):
    assert cli.main(["cards"]) == 0
    shown = capsys.readouterr().out
    assert "ddpm_cifar10: DDPM, CIFAR-10" in shown and "https://huggingface.co/google/ddpm-cifar10-32" in shown
    assert "reported FID 3.17 at NFE 1000" in shown and "needs SongUNet of NVlabs/edm" in shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_documents_parse(page):
    for command in re.findall(r"^ *\$? *dpmot (.+?)(?: +#.*)?$", _blocks(page), re.M):
        cli.parser().parse_args(shlex.split(command.split(" > ")[0]))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_in_the_documents_exist(page):
    makefile = (ROOT / "Makefile").read_text()
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:^|`)make (?:PYTHON=\S+ )?([a-z_-]+)", text, re.M))
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets)


def test_configurations_in_the_documents_are_there():
    pages = [page for page in PAGES if page.name != "extending.md"]  # whose reader writes one
    told = {name for page in pages for name in re.findall(r"\bconfig/\w+\.yaml", _blocks(page))}
    assert {"config/digits.yaml", "config/fashion_mnist.yaml"} <= told
    assert all((ROOT / name).is_file() for name in told), told


def test_the_readme_shows_the_two_commands_and_the_workflow():
    text = _blocks(ROOT / "README.md")
    assert {"make run", "make test"} <= {line.split("#")[0].strip() for line in text.splitlines()}
    assert text.count("\nsnakemake ") == 3


def _blocks(page: Path) -> str:
    """What stands in blocks of code, which a reader copies, and in `code` that begins with a command."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.M | re.S)
    return "\n".join([*blocks, *re.findall(r"`(dpmot [a-z]+ (?=\S*[./:_])[^`A-Z]+)`", text)])
