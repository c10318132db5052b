"""Digits, tiny, drawn and measured in four shards: the same files, byte for byte, as by one job each."""

import importlib
import shutil

import pytest

from dpmot.experiment.code import STAGES
from dpmot.experiment.config import load
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.plugins import ROOT
from dpmot.runtime.files import read_json

pytestmark = pytest.mark.slow
FEW = [
    "experiment=tiny",
    "num_samples=300",  # in tiles of 128, 128 and 44, which four shards cannot share evenly
    "only=[ddpm, dpm_ot_ddpm, dpm_ot_star, sweep, identity_ot, identity_copy]",
    "networks={ddpm: {training: {steps: 3}}, edm: {training: {steps: 3}}}",
    "classifier={epochs: 2}",
    "transport={chi2: 1.0}",
]


def run(job, layout):
    importlib.import_module(f"{STAGES}.{job.stage}").run(job, layout)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The jobs of one run by one job each, and of one in four shards, from the same networks and heights."""
    folder = tmp_path_factory.mktemp("shards")
    one = Jobs(load([ROOT / "config" / "smoke.yaml"], FEW), Layout(folder / "one"))
    before = [job for job in one.compute() if job.stage != "sample"]
    for job in before:
        run(job, one.layout)
    shutil.copytree(one.layout.root, folder / "four")
    four = Jobs(load([ROOT / "config" / "smoke.yaml"], [*FEW, "shards=4"]), Layout(folder / "four"))
    for jobs in (one, four):
        for name in jobs.experiment.methods:
            for shard in reversed(jobs.shards(name)):  # in whichever order
                run(shard, jobs.layout)
            run(jobs.sample(name), jobs.layout)
        for job in (*reversed(jobs.measure_shards()), jobs.measure()):
            run(job, jobs.layout)
    return one, four


def test_samples_in_four_shards_are_the_bytes_of_one_job(both):
    one, four = both
    for name in one.experiment.methods:
        assert len(four.shards(name)) == 4
        assert one.layout.samples(name).read_bytes() == four.layout.samples(name).read_bytes(), name


def test_all_that_is_measured_in_four_shards_is_the_bytes_of_one_job_the_fingerprint_too(both):
    one, four = both
    assert len(four.measure_shards()) == 4
    for file, other in zip(one.layout.measured, four.layout.measured, strict=True):
        assert file.read_bytes() == other.read_bytes(), file.name


def test_a_shard_that_is_missing_is_named_and_the_others_are_kept(both):
    _, four = both
    gone, *others = four.shards("sweep")
    gone.outputs[0].rename(gone.outputs[0].with_suffix(".aside"))
    times = [job.outputs[0].stat().st_mtime_ns for job in others]
    with pytest.raises(FileNotFoundError, match=r"sweep-1-of-4.safetensors is not there: run the stage that writes it"):
        run(four.sample("sweep"), four.layout)
    run(gone, four.layout)
    assert gone.outputs[0].read_bytes() == gone.outputs[0].with_suffix(".aside").read_bytes()
    assert [job.outputs[0].stat().st_mtime_ns for job in others] == times


def test_the_time_of_a_merge_holds_that_of_its_shards(both):
    _, four = both
    rows = [read_json(job.outputs[-1]) for job in four.shards("ddpm")]
    merged = read_json(four.layout.timing("sample_ddpm"))
    assert merged["arithmetic_s"] >= sum(row["arithmetic_s"] for row in rows) - 0.01  # milliseconds are written
