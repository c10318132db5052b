"""Shards: ranges of samples that balance, jobs that draw and measure them, and parts that make up the whole."""

import json
import random
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from dpmot import seeds
from dpmot.experiment.cells import Cell
from dpmot.experiment.config import load
from dpmot.experiment.cost import cost
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.plan import Method
from dpmot.experiment.shards import STEP, even, numbered, shards_of
from dpmot.experiment.stages import _shards
from dpmot.experiment.stages import measure as measuring
from dpmot.experiment.stages import sample as sampling
from dpmot.experiment.stages._marks import mark
from dpmot.experiment.tasks import Merge, Sample
from dpmot.monitor.steps import QUICK, by_stage, steps
from dpmot.plugins import ROOT
from dpmot.runtime import seals
from dpmot.runtime.files import write_json
from dpmot.runtime.stopwatch import Stopwatch
from dpmot.tiles import TILE, rows_of

SMOKE = ROOT / "config" / "smoke.yaml"


def planned(*overrides):
    return load([SMOKE], overrides)


def jobs_of(root, *overrides):
    return Jobs(planned(*overrides), Layout(root))


def task(num_samples, *nfes, skipped=(), **options):
    cells = tuple(
        Cell(f"{k}-level-0", k, k, nfe=nfe, reason="none" if k in skipped else None) for k, nfe in enumerate(nfes)
    )
    return Sample("x", Method(network="edm", sampler="ddim", **options), cells, num_samples, 0, None)


@pytest.mark.parametrize("number", [1, 2, 3, 7, 40, 100])
def test_ranges_are_neighbours_and_none_is_empty_or_outweighs_its_share_by_more_than_one_weight(number):
    draw = random.Random(number)
    for count in (1, 2, 5, 40, 200):
        weights = [draw.choice([1, 2, 50]) for _ in range(count)]
        parts = even(weights, number)
        assert [i for part in parts for i in part] == list(range(count))
        assert len(parts) == min(number, count) and all(parts)
        share = sum(weights) / len(parts) + max(weights)
        assert all(sum(weights[i] for i in part) <= share for part in parts)


@pytest.mark.parametrize("num_samples", [20, 128, 200, 1000])
@pytest.mark.parametrize("number", [2, 3, 4, 9])
def test_every_sample_is_drawn_once_in_whole_tiles(num_samples, number):
    whole = task(num_samples, 10, 20, 5, skipped=[1])
    pieces = [piece for shard in shards_of(whole, number) for piece in shard.pieces]
    drawn = [(piece.cell.key, k) for piece in pieces for k in range(piece.first, piece.last)]
    assert drawn == [(cell.key, k) for cell in whole.cells if not cell.reason for k in range(num_samples)]
    assert all(piece.first % STEP == 0 for piece in pieces)
    assert all(piece.last % STEP == 0 or piece.last == num_samples for piece in pieces)


def test_the_steps_of_shards_hold_whole_tiles_of_images_of_any_size():
    assert STEP % TILE == 0 and all(STEP % rows_of(numbers) == 0 for numbers in (1, 64, 3072, 2**15, 196_608, 2**23))


def test_a_cell_of_the_balanced_prior_is_never_cut():
    whole = task(1000, 10, 10, 10, start_options={"balanced": True})
    shards = shards_of(whole, 8)
    assert [[(piece.first, piece.last) for piece in shard.pieces] for shard in shards] == 3 * [[(0, 1000)]]


def test_work_is_shared_by_evaluations_not_by_cells():
    shards = shards_of(task(12_800, 9, 9, 49), 2)
    work = [sum((p.last - p.first) * (p.cell.nfe + 1) for p in shard.pieces) for shard in shards]
    assert sum(work) == 12_800 * 70 and abs(work[0] - work[1]) <= 128 * 50


@pytest.mark.parametrize("given", ["0", "-1", "four", "1.5", "true", "null", "[2]"])
def test_what_is_no_number_of_shards_is_refused_in_one_line(given):
    with pytest.raises(ValueError, match=r"^shards: \S+ should be .*(integer|greater than or equal to 1)$"):
        planned(f"shards={given}")


def test_more_shards_than_samples_are_refused_also_of_a_smoke_run():
    assert planned("shards=200").shards == 200
    told = "shards: 201 are more than num_samples = 200, the samples of a cell; give at most as many"
    with pytest.raises(ValueError, match=told):
        planned("shards=201")
    with pytest.raises(ValueError, match="more than num_samples = 60"):
        load([ROOT / "config" / "mnist.yaml"], ["scale=smoke", "shards=61"])


def test_one_shard_is_the_workflow_as_it_was(tmp_path):
    one, none = jobs_of(tmp_path, "shards=1"), jobs_of(tmp_path)
    assert [(job.name, job.identity, job.inputs, job.outputs) for job in one.all()] == [
        (job.name, job.identity, job.inputs, job.outputs) for job in none.all()
    ]
    assert "shards" not in one.experiment.written() and not one.measure_shards() and not one.shards("edm")
    assert "shard" not in cost(one.experiment)


def test_shards_identify_no_result(tmp_path):
    four, one = jobs_of(tmp_path, "shards=4"), jobs_of(tmp_path)
    assert four.experiment.experiment == "smoke" and four.experiment.notes == one.experiment.notes
    assert four.experiment.scientific() == one.experiment.scientific()
    assert four.measure().identity == one.measure().identity  # the fingerprint is of its task,
    assert four.measure().task.all_code == one.measure().task.all_code  # and of this code
    assert four.experiment.written()["shards"] == 4  # a job reads it again


def test_a_shard_depends_on_its_own_cells_alone(tmp_path):
    small, large = (
        jobs_of(tmp_path, "shards=2", f"sample_seeds={seeds}", "experiment=x") for seeds in ([0, 1], [0, 2])
    )
    first, second = (
        [one.identity == other.identity for one, other in zip(small.shards(name), large.shards(name), strict=True)]
        for name in ("sweep", "edm")
    )
    assert first == [True, True] and second == [False, False]


def test_the_cost_says_how_many_jobs_there_are(tmp_path):
    jobs = jobs_of(tmp_path, "shards=4")
    assert "4 shards: 44 jobs draw or read samples and 4 measure them" in cost(jobs.experiment)  # 11 methods
    assert cost(jobs.experiment).split(", 4 shards")[0] == cost(planned()).split("; how long")[0]


def test_a_shard_that_there_is_not_is_refused_by_name(tmp_path):
    jobs = jobs_of(tmp_path, "shards=4")
    assert numbered(jobs.shards("edm"), 4, of="sample_edm") is jobs.shards("edm")[3]
    with pytest.raises(ValueError, match=r"--shard 5: sample_edm has 4 shards$"):
        numbered(jobs.shards("edm"), 5, of="sample_edm")
    with pytest.raises(
        ValueError, match="--shard 1: sample_edm is not split; `shards:` in the configuration splits it"
    ):
        numbered((), 1, of="sample_edm")


def test_status_counts_the_cells_of_shards_once_and_what_merges_them_as_quick(tmp_path):
    found = steps(planned("shards=4"), Layout(tmp_path))
    rules = by_stage(found)
    assert len(rules["sample"]) == 11 and len(rules["sample_shard"]) == 44 and len(rules["measure_shard"]) == 4
    assert not any(step.cells for step in rules["sample"]) and all(step.cells for step in rules["sample_shard"])
    assert {step.stage for step in (*rules["sample"], *rules["measure"])} <= set(QUICK)
    names = {step.name: step for step in found}
    assert set(names["sample_edm"].needs) >= {f"sample_edm-{k}-of-4" for k in (1, 2, 3, 4)}
    assert names["measure"].needs == tuple(f"measure_{k}-of-4" for k in (1, 2, 3, 4))
    assert all(job.outputs for job in jobs_of(tmp_path, "shards=4").measure_shards())


# --- parts that were written, put together -------------------------------------------------------------------


def _rows(cell, count):
    """What a drawing keeps of samples, (n, 1), each its seed."""
    rows = torch.tensor(seeds.sample_seeds(cell.sample_seed, count))[:, None]
    return {"images": rows, "source": rows[:, 0] % 7, "start": rows[:16], "prior": -rows[:16]}


def _write(layout, whole, number, inputs=()):
    for shard in shards_of(whole, number):
        tensors, cells = {}, []
        for piece in shard.pieces:
            rows = _rows(piece.cell, whole.num_samples)
            own = {**rows, "start": rows["images"], "prior": -rows["images"]}
            own = {name: one[piece.first : piece.last] for name, one in own.items()}
            own |= {name: own[name][:16] for name in ("start", "prior")}
            tensors |= {f"{piece.cell.key}/{name}": one for name, one in own.items()}
            cells.append(replace(piece.cell, nfe_counted=piece.cell.nfe))
        path = layout.shard(shard.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = {"cells": json.dumps([vars(cell) for cell in cells]), "notes": '["learned"]', **mark(shard, (), inputs)}
        seals.save(path, tensors, texts, name=path.name)
        row = {"startup_s": 1.0, "arithmetic_s": 2.0, "io_s": 0.5, "wall_s": 4.0, "peak_mb": 10.0 * shard.number}
        write_json(layout.timing(f"sample_{shard.name}"), row)


@pytest.mark.parametrize("number", [2, 3, 5])
def test_merged_samples_are_those_of_one_job_in_order(number, tmp_path):
    whole, layout, watch = task(300, 10, 20, 5, skipped=[1]), Layout(tmp_path), Stopwatch("x")
    _write(layout, whole, number)
    before = watch.spent()
    cells, tensors, texts = _shards.gathered(Merge(whole, number), layout, watch, shown=16)
    assert [cell.key for cell in cells] == [cell.key for cell in whole.cells] and texts == {"notes": '["learned"]'}
    assert cells[1] == whole.cells[1] and [cells[k].nfe_counted for k in (0, 2)] == [10, 5]
    expected = {f"{c.key}/{name}": one for c in (whole.cells[0], whole.cells[2]) for name, one in _rows(c, 300).items()}
    assert set(tensors) == set(expected) and all(torch.equal(tensors[name], one) for name, one in expected.items())
    spent = watch.spent()
    assert spent["arithmetic"] - before["arithmetic"] == 2.0 * number
    assert spent["peak_mb"] >= max(before["peak_mb"], 10.0 * number)


def test_a_shard_of_another_configuration_is_refused(tmp_path):
    whole, layout = task(300, 10, 20), Layout(tmp_path)
    _write(layout, whole, 2)
    with pytest.raises(ValueError, match=r"x-1-of-2.safetensors is damaged, or of another configuration; delete it"):
        _shards.gathered(Merge(replace(whole, atom_seed=1), 2), layout, Stopwatch("x"), shown=16)


def test_shards_of_networks_and_code_that_are_no_longer_there_are_refused(tmp_path):
    whole, layout, network = task(300, 10, 20), Layout(tmp_path), tmp_path / "network"
    network.write_bytes(b"one")
    _write(layout, whole, 2, inputs=[network])
    gather = partial(_shards.gathered, Merge(whole, 2), layout, Stopwatch("x"), shown=16)
    gather(inputs=[network])
    with pytest.raises(ValueError, match="made by other code, or of other files than are there now; delete it"):
        gather(inputs=[network], code=["dpmot.seeds"])
    network.write_bytes(b"another")
    with pytest.raises(ValueError, match="made by other code, or of other files than are there now; delete it"):
        gather(inputs=[network])


def test_a_damaged_or_foreign_part_of_the_measuring_is_refused(tmp_path):
    jobs = jobs_of(tmp_path, "shards=2")
    for path in (jobs.layout.data, *map(jobs.layout.samples, jobs.experiment.methods)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    for job in jobs.measure_shards():
        found = {name: {"rows": [{"value": 0.1}]} for name in job.task.names}
        made = mark(job.task, (), measuring._behind(job.task, jobs.layout, ()))
        whole = {**made, "content": measuring.digest(found), "found": found}
        write_json(jobs.layout.measured_shard(job.task.name), whole)
        row = dict.fromkeys(("startup_s", "arithmetic_s", "io_s", "wall_s", "peak_mb"), 1.0)
        write_json(jobs.layout.timing(job.name), row)
    measured, watch = jobs.measure().task, Stopwatch("measure")
    assert list(measuring._gathered(measured, jobs.layout, watch)) == [
        "real_train",
        "real_test",
        *jobs.experiment.methods,
    ]
    path = jobs.layout.measured_shard("measure_2-of-2")
    kept = path.read_text()
    for altered in (kept.replace("0.1", "0.2"), kept.replace(made["task"], "0")):
        path.write_text(altered)
        with pytest.raises(ValueError, match=r"measure_2-of-2.json is damaged, or of another configuration; delete it"):
            measuring._gathered(measured, jobs.layout, watch)


class Drawing:
    """A method that draws its seeds, and remembers which it was asked for."""

    network = SimpleNamespace(chain=None)

    def __init__(self):
        self.asked, self.learned = [], {}

    def draw(self, cell, some):
        self.asked.append((cell.key, some.start, some.stop))
        if len(self.asked) == 2:
            raise KeyboardInterrupt
        return {name: one[some] for name, one in _rows(cell, 300).items()}, cell.nfe

    def unsolved(self, cell):
        return None


def test_a_killed_shard_goes_on_with_its_own_cells_alone(tmp_path, monkeypatch):
    jobs, drawing = jobs_of(tmp_path, "shards=4"), Drawing()
    monkeypatch.setattr(sampling.LoadedMethod, "load", lambda *_: drawing)
    job = jobs.shards("edm")[0]  # of two cells
    for path in job.inputs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    with pytest.raises(KeyboardInterrupt):
        sampling.run(job, jobs.layout)
    assert not job.outputs[0].exists()
    sampling.run(job, jobs.layout)
    assert [key for key, *_ in drawing.asked] == ["5-level-0", "5-level-1", "5-level-1"]
    assert [path.name for path in job.outputs[0].parent.iterdir()] == ["edm-1-of-4.safetensors"]
    tensors, _ = seals.load(job.outputs[0], name="edm-1-of-4.safetensors")
    assert len(tensors["5-level-0/images"]) == 200 and len(tensors["5-level-1/images"]) == 128
