"""The rule ``learn``: planned where something is learned, resumable, on seeds of its own, and told in the rows."""

import json
from pathlib import Path

import pytest

from dpmot import cli
from dpmot.experiment import learning
from dpmot.experiment.cells import Cell
from dpmot.experiment.config import ConfigError, validate
from dpmot.experiment.cost import cost
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.runtime import seals

CONFIG = {
    **{"experiment": "x", "dataset": "gaussians", "num_samples": 300, "sample_seeds": [0], "nfe_budgets": [3, 5]},
    **{"networks": {"exact": {"kind": "mixture"}}, "metrics": ["frechet"], "tables": []},
}
METHODS = {
    "ddim": {"network": "exact", "sampler": "ddim"},
    "pas": {"network": "exact", "sampler": "pas"},
    "gits": {"network": "exact", "sampler": "ddim", "grid": "gits"},
    "given": {"network": "exact", "sampler": "pas", "options": {"coordinates": [0.0] * 12}, "nfe_budgets": [3]},
}


def of(methods, **changes):
    return validate({**CONFIG, "methods": methods, **changes})


def test_only_what_is_left_open_is_learned_and_drawing_reads_it(tmp_path):
    jobs = Jobs(of(METHODS), Layout(tmp_path))
    assert [job.name for job in jobs.compute() if job.stage == "learn"] == ["learn_pas", "learn_gits"]
    assert jobs.layout.learned("pas") in jobs.sample("pas").inputs
    assert not any("learned" in str(file) for name in ("ddim", "given") for file in jobs.sample(name).inputs)
    task = jobs.learn("pas").task
    assert [cell.key for cell in task.cells] == [f"{nfe}-level-{learning.LEARNING_SEED}" for nfe in (3, 5)]
    assert task.num_samples == 256 and {cell.sample_seed for cell in task.cells} == {learning.LEARNING_SEED}
    with pytest.raises(ConfigError, match="nothing of it is learned"):
        jobs.learn("ddim")


def test_each_training_seed_learns_from_starts_of_its_own():
    networks = {"edm": {"kind": "edm", "training": {"steps": 4}}}
    methods = {"pas": {"network": "edm", "sampler": "pas"}}
    experiment = of(methods, dataset="digits", networks=networks, training_seeds=[0, 7])
    jobs = Jobs(experiment, Layout(Path("x")))
    seeds = {name: {cell.sample_seed for cell in jobs.learn(name).task.cells} for name in ("pas_t0", "pas_t7")}
    assert seeds == {"pas_t0": {learning.LEARNING_SEED}, "pas_t7": {learning.LEARNING_SEED - 7}}


def test_a_plan_says_what_learning_takes():
    assert "learning" not in cost(of({"ddim": METHODS["ddim"]}))
    told = 256 * sum(2 * round(50 / n) * (n - 1) + 1 + n for n in (3, 5)) + 256 * 60 * 2
    assert f"learning what is left open about {told:,} more" in cost(of(METHODS))


@pytest.mark.parametrize(
    ("methods", "changes", "said"),
    [
        ({"pas": METHODS["pas"]}, {"sample_seeds": [2**31 - 9]}, "2147383647 are of what methods learn from"),
        (
            {"pas": {**METHODS["pas"], "start": "transport", "targets": "as_code", "level": 1}},
            {},
            "held-out images, from which nothing may be learned",
        ),
        ({"gits": {**METHODS["gits"], "start": "copy"}}, {}, "grid: gits is learned below a level; level as_paper"),
        ({"pas": {**METHODS["pas"], "options": {"coordinates": []}}}, {}, "coordinates are stated, but empty"),
        ({"ddim": METHODS["ddim"]}, {"selection": {"sampler": "pas"}}, "selection.sampler: pas is learned"),
        ({"pas": METHODS["pas"]}, {"coupling": {"methods": ["pas"], "nfe": 5}}, "pas is learned for its own budgets"),
    ],
)
def test_nothing_is_learned_from_what_is_reported_nor_for_what_has_no_rule(methods, changes, said):
    if "selection" in changes:
        changes = {"selection": {"network": "exact", "nfe": 5, "sigmas": [1.0], **changes["selection"]}}
    with pytest.raises(ConfigError, match=said):
        of(methods, **changes)


def test_what_was_learned_is_read_whole_or_not_at_all(tmp_path):
    path = tmp_path / "pas.json"
    one = learning.Learned({"coordinates": [0.5]}, (2.0, 1.0, 0.0), 8, 1234, 56)
    with pytest.raises(ValueError, match="dpmot learn pas"):
        learning.read(path)
    learning.write(path, {"5-level": one})
    assert learning.read(path) == {"5-level": one}
    assert learning.of({"5-level": one}, Cell("5-level-0", 5, 0), "pas") is one
    with pytest.raises(ValueError, match="Nothing was learned for pas at 6-level"):
        learning.of({"5-level": one}, Cell("6-level-0", 6, 0), "pas")
    told = "learned from 8 starts by 1,234 network evaluations, 56 of them with gradients"
    assert learning.notes({"5-level": one}) == [told] and learning.notes({}) == []
    path.write_text(path.read_text().replace("0.5", "0.6"))
    with pytest.raises(ValueError, match="damaged"):
        learning.read(path)


def test_it_runs_is_told_and_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    methods = {name: METHODS[name] for name in ("pas", "gits")}
    (tmp_path / "x.json").write_text(json.dumps({**CONFIG, "methods": methods}))
    given, layout = ["--configfile", "x.json"], Layout(tmp_path / "results" / "x")
    for verb in ("prepare", "train exact", "learn gits", "learn pas", "sample pas", "sample gits"):
        assert cli.main([*verb.split(), *given]) == 0, capsys.readouterr().err
    found = learning.read(layout.learned("pas"))
    assert list(found) == ["3-level", "5-level"] and len(found["5-level"].options["coordinates"]) == 20
    assert found["3-level"].evaluations == 256 * (2 * 17 * 2 + 1 + 3)  # 17 Heun steps to each level, Euler's; its own
    planned = Jobs(of(methods), layout)
    for name in methods:  # the plan counts them to the last one, on a grid that ends at the finest level
        cells = {learning.key(cell): cell for cell in planned.learn(name).task.cells}
        spent = {key: one.evaluations for key, one in learning.read(layout.learned(name)).items()}
        method = planned.experiment.drawn[name]
        assert spent == {key: 256 * learning.evaluations(method, cell) for key, cell in cells.items()}
    levels = learning.read(layout.learned("gits"))["5-level"].sigmas
    assert len(levels) == 6 and levels[0] == 80 and levels[-1] == 0
    notes = json.loads(seals.load(layout.samples("pas"))[1]["notes"])
    assert notes[0].startswith("learned from 256 starts by ")
    layout.learned("pas").unlink()
    assert cli.main(["sample", "pas", *given]) == 1
    assert "pas.json is not there" in capsys.readouterr().err
    assert cli.main(["learn", "pas", *given]) == 0
    assert learning.read(layout.learned("pas")) == found
