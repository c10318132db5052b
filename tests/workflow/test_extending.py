"""docs/extending.md as a reader follows it: `dpmot new` and the diffs of the page in a copy of the project."""

import re
import sys

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from dpmot.data import digits
from dpmot.plugins import ROOT

pytestmark = [pytest.mark.workflow, pytest.mark.slow]
WRITTEN = {  # by `dpmot new`, as the page names them
    "sampler": "midpoint",
    "network": "rectified",
    "dataset": "bars",
    "start": "mirrored",
    "feature": "levels",
    "metric": "radius",
}
FILES = [
    *("dpmot/diffusion/networks/theirs.py", "config/theirs.yaml"),
    *("dpmot/diffusion/networks/their_ddpm.py", "config/their_ddpm.yaml"),
    *("paper_figures/table_10_cost.py", "config/bars.yaml"),
]
NAMES = f"theirs or their_ddpm or their_labelled or table_10_cost or {' or '.join(WRITTEN.values())}"


def test_the_page_adds_new_files_only_and_names_what_is_written(extended):
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    assert re.findall(r"^--- (.*)$", text, re.M) == ["/dev/null"] * len(FILES)
    assert sorted(re.findall(r"^\+\+\+ b/(.*)$", text, re.M)) == sorted(FILES)
    assert all((extended.folder / file).is_file() for file in FILES)
    assert all(f"dpmot new {kind} {name}" in text for kind, name in WRITTEN.items())


def test_the_additions_keep_every_contract(extended):
    """Those of a network that is only loaded too: without labels, and with them at a shape of its own."""
    done = extended.run([sys.executable, "-m", "pytest", "tests/contracts", "-k", NAMES], check=False)
    assert "failed" not in done.stdout, done.stdout[-6000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 50
    assert done.returncode == 0


def test_the_additions_run_together_from_data_to_table(extended):
    shown = extended.run([sys.executable, "-m", "dpmot", "plan", "--configfile", "config/bars.yaml"]).stdout
    assert "NFE 9: 9 evaluations from sigma 80" in shown
    extended.run([sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "config/bars.yaml"])
    results = extended.folder / "results" / "bars"
    metrics = pd.read_csv(results / "metrics.csv")
    assert {"radius_levels", "fd_levels", "radius_classifier"} <= set(metrics.metric)
    assert {"midpoint", "mirrored", "dpm_ot"} <= set(metrics.method[metrics.value.notna()])
    assert "Table 10. What each method spent" in (results / "tables" / "table_10_cost.md").read_text()


def flow_of_noise(images, noise, t):
    """What the page's flow network sees and answers: t = 1 is the data, in [0, 1]."""
    u = (images + 1) / 2
    return (1 - t) * noise + t * u, t, u - noise


def noise_of_ddpm(images, noise, t):
    """What the page's DDPM sees, at one of its 1000 levels, and what its layers add to that for the noise."""
    step = (999 * t).round()
    bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0)[step.long()]
    seen = bar.sqrt() * images + (1 - bar).sqrt() * noise
    return seen, step / 1000, noise - seen


def trained_elsewhere(example, steps=2000):
    """Weights of one of the page's pretrained examples, as their project makes them: plain PyTorch."""
    torch.manual_seed(0)
    images, _ = digits.load().part("A")
    images = torch.from_numpy(images).float().flatten(1) / 127.5 - 1
    body = torch.nn.Sequential(
        *(torch.nn.Linear(65, 256), torch.nn.SiLU(), torch.nn.Linear(256, 256), torch.nn.SiLU()),
    )
    last = torch.nn.Linear(256, 64)
    parameters = [*body.parameters(), *last.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=2e-3)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * (1 - step / steps)
        x0 = images[torch.randint(len(images), (256,))]
        seen, told, target = example(x0, torch.randn_like(x0), torch.rand(256, 1))
        loss = (last(body(torch.cat([seen, told], dim=1))) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    named = {"body": body, "last": last}
    return {f"{part}.{name}": p.detach() for part, layer in named.items() for name, p in layer.named_parameters()}


@pytest.fixture(scope="module")
def pretrained(extended):
    (extended.folder / "downloads").mkdir(exist_ok=True)
    for name, example in {"theirs": flow_of_noise, "their_ddpm": noise_of_ddpm}.items():
        save_file(trained_elsewhere(example), extended.folder / "downloads" / f"{name}.safetensors")
    return extended


def test_a_network_of_a_known_kind_is_its_architecture_alone(pretrained):
    """The shorter road of the page: the doctor finds no mistake, and DPM-OT starts it."""
    config = ["--configfile", "config/their_ddpm.yaml"]
    said = pretrained.run([sys.executable, "-m", "dpmot", "doctor", "theirs", *config], check=False)
    assert said.returncode == 0 and "wrong" not in said.stdout, said.stdout + said.stderr
    pretrained.run([sys.executable, "-m", "snakemake", "--cores", "2", *config])
    assert "DPM-OT (DDIM)" in (pretrained.folder / "results/their_ddpm/tables/table_1_quality.md").read_text()


def test_the_pretrained_network_is_checked_first_and_then_runs_with_dpm_ot(pretrained):
    config = ["--configfile", "config/theirs.yaml"]
    plan = [sys.executable, "-m", "dpmot", "plan", *config]
    assert "theirs never checked: `dpmot doctor theirs --configfile config/theirs.yaml`" in pretrained.run(plan).stdout
    said = pretrained.run([sys.executable, "-m", "dpmot", "doctor", "theirs", *config], check=False)
    assert said.returncode == 0 and "verdict: " in said.stdout, said.stdout + said.stderr
    assert "never checked" not in pretrained.run(plan).stdout
    pretrained.run([sys.executable, "-m", "snakemake", "--cores", "2", *config])
    metrics = pd.read_csv(pretrained.folder / "results" / "theirs" / "metrics.csv")
    fd = metrics[(metrics.metric == "fd_classifier") & (metrics.reference == "test")].set_index("method").value
    assert {"ddim", "dpm_ot"} <= set(fd.dropna().index)


def test_a_wrong_sigma_in_the_pretrained_network_is_named(pretrained):
    """Sigma for sigma / 2, the mistake that ran through everything without a word."""
    file = pretrained.folder / "dpmot/diffusion/networks/theirs.py"
    right = file.read_text(encoding="utf-8")
    try:
        file.write_text(right.replace("half = sigma / 2", "half = sigma"), encoding="utf-8")
        command = [sys.executable, "-m", "dpmot", "doctor", "theirs", "--configfile", "config/theirs.yaml"]
        said = pretrained.run(command, check=False)
    finally:
        file.write_text(right, encoding="utf-8")
    assert said.returncode == 1 and "wrong: level" in said.stdout, said.stdout
