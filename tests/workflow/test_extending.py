"""The diffs of docs/extending.md, applied to a copy of the project: new files only, which keep contracts and run."""

import re
import sys

import pandas as pd
import pytest

from dpmot.plugins import ROOT

pytestmark = [pytest.mark.workflow, pytest.mark.slow]
FILES = [
    *("baselines/midpoint.py", "dpmot/diffusion/networks/rectified.py", "dpmot/diffusion/networks/theirs.py"),
    *("dpmot/data/bars.py", "dpmot/starts/mirrored.py", "dpmot/features/levels.py", "dpmot/metrics/radius.py"),
    *("paper_figures/table_10_cost.py", "config/bars.yaml"),
]
NAMES = "midpoint or rectified or theirs or bars or mirrored or levels or radius or table_10_cost"


def test_the_document_adds_one_of_each_kind_by_new_files_only(extended):
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    assert re.findall(r"^--- (.*)$", text, re.M) == ["/dev/null"] * len(FILES)
    assert sorted(re.findall(r"^\+\+\+ b/(.*)$", text, re.M)) == sorted(FILES)
    assert all((extended.folder / file).is_file() for file in FILES)


def test_the_additions_keep_every_contract(extended):
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
