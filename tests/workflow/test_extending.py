"""The diffs of docs/extending.md, applied to a copy of the project: they keep the contracts and run."""

import re
import sys

import pytest

from dpmot.plugins import ROOT

pytestmark = pytest.mark.workflow
FILES = ["baselines/midpoint.py", "dpmot/diffusion/networks/flow.py", "dpmot/data/bars.py", "config/bars.yaml"]


def test_the_document_adds_a_sampler_a_network_a_data_set_and_an_experiment(extended):
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    assert text.count("```diff") == len(FILES) and all((extended.folder / file).is_file() for file in FILES)


def test_the_additions_keep_every_contract(extended):
    done = extended.run([sys.executable, "-m", "pytest", "tests/contracts", "-k", "midpoint or flow or bars"])
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 30 and "failed" not in done.stdout


def test_the_additions_run_together_from_data_to_samples(extended):
    for words in (["plan"], ["prepare"], ["train", "flow"], ["solve"], ["sample", "dpm_ot"], ["sample", "midpoint"]):
        done = extended.run([sys.executable, "-m", "dpmot", *words, "--configfile", "config/bars.yaml"])
        assert words != ["plan"] or "NFE 9: 9 evaluations from sigma 80" in done.stdout
    assert (extended.folder / "results" / "bars" / "samples" / "dpm_ot.safetensors").stat().st_size > 10_000
