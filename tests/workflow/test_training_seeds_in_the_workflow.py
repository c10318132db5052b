"""Two training seeds through the whole workflow: what is written, and what one more seed runs."""

import pandas as pd
import pytest
from project import copy_project
from safetensors.numpy import load_file

from dpmot.results import METRICS

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

# A job is mostly the import of torch: as few jobs as show what the workflow adds (tests/experiment has the rest).
TABLE = "results/smoke/metrics.csv"
CHANGES = (
    *("experiment=smoke", "only=[edm]", "nfe_budgets=[5]", "num_samples=60", "features=[pixels]"),
    *("metrics=[distinct, pixel_statistics]", "tables=[]", "figures=[]"),
    "networks={edm: {training: {steps: 20, batch: 16}}}",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A project in which the workflow has run with training seeds 0 and 3."""
    project = copy_project(tmp_path_factory.mktemp("trainings"))
    project.snakemake(TABLE, "--config", *CHANGES, "training_seeds=[0, 3]", cores=1)
    return project


def test_every_seed_has_its_network_its_samples_and_its_rows(trained):
    networks = [load_file(trained.results(f"networks/edm_t{seed}.safetensors")) for seed in (0, 3)]
    name = next(iter(networks[0]))
    assert (networks[0][name] != networks[1][name]).any()
    metrics = pd.read_csv(trained.results("metrics.csv"), dtype={"training_seed": str}, keep_default_na=False)
    assert tuple(metrics.columns) == METRICS.columns
    seeds = metrics.groupby("method").training_seed.agg(set)
    assert (seeds["edm_t0"], seeds["edm_t3"], seeds["edm"], seeds["real_test"]) == ({"0"}, {"3"}, {"all"}, {"none"})
    assert {*metrics[metrics.method == "edm_t3"].sample_seed} == {"300000", "300001", "pooled"}
    audited = {*pd.read_csv(trained.results("audit.csv")).method}
    assert audited == {"edm", "edm_t0", "edm_t3"}


def test_one_more_seed_trains_and_draws_itself_alone(trained):
    planned = trained.planned(TABLE, "--config", *CHANGES, "training_seeds=[0, 3, 5]")
    ran = {job for job in planned if job.startswith(("prepare", "train", "classify", "solve", "sample", "measure"))}
    assert ran == {"train_edm_t5", "sample_edm_t5", "measure"}


def test_the_gate_passes_the_run_against_itself(trained):
    from dpmot.gate.compare import compare
    from dpmot.gate.runs import Run

    run = Run.read(trained.results("metrics.csv").parent)
    assert compare(run, run).status == 0 and run.members["edm"] == ["edm_t0", "edm_t3"]


def test_weights_that_are_kept_by_seed_are_planned_by_seed(trained):
    weights = str(trained.results("networks")) + "/edm_t{training_seed}.safetensors"
    changes = ("experiment=loaded", *CHANGES[1:-1], f"networks={{edm: {{weights: '{weights}'}}}}")
    planned = trained.planned("results/loaded/metrics.csv", "--config", *changes, "training_seeds=[0, 3]")
    assert {"train_edm_t0", "train_edm_t3", "sample_edm_t0", "sample_edm_t3"} <= {*planned}
