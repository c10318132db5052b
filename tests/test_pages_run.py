"""The Python of README and docs/ runs as it stands, but for smaller sizes; what cannot says why.

docs/api.md is run by tests/api/test_page_and_examples.py, docs/extending.md by tests/workflow/test_extending.py.
"""

import re
import subprocess
import sys

import pytest
import torch
from sklearn.datasets import load_digits

from dpmot.diffusion.denoiser import IdealDenoiser
from dpmot.plugins import ROOT
from dpmot.runtime import seals

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
ELSEWHERE = {"api.md"}
SMALLER = {"10_000": "200"}  # atoms
CANNOT = {"from_pretrained": "it fetches a network from the hub"}


def blocks(name):
    """The blocks of a page, with fewer atoms, without those that cannot run."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for large, small in SMALLER.items():
        text = text.replace(large, small)
    found = re.findall(r"```python\n(.*?)```", text, re.S)
    return [block for block in found if not any(word in block for word in CANNOT)]


def run(name, **names):
    """Run the blocks of a page one after the other; what they have named in the end."""
    for block in blocks(name):
        exec(compile(block, name, "exec"), names)
    return names


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder for what the blocks write, and torch's seed: what they draw is theirs."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)


def test_every_page_with_python_is_run():
    pages = [ROOT / "README.md", *(page for page in (ROOT / "docs").rglob("*.md") if "templates" not in page.parts)]
    texts = {page.name: text for page in pages if "```python" in (text := page.read_text(encoding="utf-8"))}
    told = (ROOT / "tests/test_pages_run.py").read_text(encoding="utf-8")
    assert all(name in ELSEWHERE or f'{name}")' in told or f'{name}",' in told for name in texts), list(texts)
    assert all(word in "".join(texts.values()) for word in CANNOT)


def test_the_solver_of_the_readme(capsys):
    names = run("README.md")
    assert names["solution"].converged and names["atoms"].shape == (5,)


def test_transport(capsys):
    images = torch.randint(0, 256, (40, 1, 4, 4), dtype=torch.uint8).numpy()
    names = run("docs/transport.md", images=images)
    assert names["solution"].converged and len(names["atoms"]) == 40


def test_bring_your_own(capsys):
    images = torch.tensor(load_digits().images / 8 - 1, dtype=torch.float32)[:, None]
    abar, ideal = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000), 0), IdealDenoiser(images[:300])

    def network(x, t):
        signal = abar[t.round().long()].sqrt()
        noise = (1 - signal**2).sqrt()
        scaled = (*x.shape[:1], 1, 1, 1)
        mean = ideal(x / signal.reshape(scaled), noise / signal)
        return (x - signal.reshape(scaled) * mean) / noise.reshape(scaled)

    names = run("docs/bring-your-own.md", network=network, images=images[:300], others=images[300:600])
    assert names["way"].converged and "sound" in capsys.readouterr().out and names["samples"].nfe == 5


def test_a_fit_over_several_processes(tmp_path):
    (script,) = blocks("docs/scaling.md")
    (tmp_path / "fit.py").write_text(script, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "fit.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "solution.safetensors").is_file()


def test_weights_become_half_as_large(tmp_path):
    stored = tmp_path / "results/digits/networks/student.safetensors"
    stored.parent.mkdir(parents=True)
    seals.save(stored, {"weight": torch.ones(64, 64)}, {"told": "text"})
    run("docs/running.md")
    tensors, texts = seals.load("student.safetensors")
    assert tensors["weight"].dtype == torch.float16 and texts["told"] == "text"
