"""Damaged state: resume points go back to what is whole and say so; damaged results are refused by name."""

import shutil

import pytest
import torch

from dpmot import cli
from dpmot.experiment.jobs import Job
from dpmot.experiment.layout import Layout
from dpmot.plugins import ROOT
from dpmot.runtime.session import Fault, session

SMOKE = ["--configfile", str(ROOT / "config" / "smoke.yaml")]
JOB = Job("train", "train_x", None)


class Stopped(Exception):
    """An interruption."""


def kept_after(folder, *values):
    """A stage that keeps a state again and again and is interrupted; the paths of the last and the one before."""
    layout = Layout(folder)
    with pytest.raises(Stopped), session(JOB, layout) as stage:
        for value in values:
            stage.checkpoint("training").save({"w": torch.full((1000,), float(value))}, {"step": value})
            stage.keep_json("row", {"value": value})
        raise Stopped
    last = layout.resume("train_x") / "training.safetensors"
    return layout, last, last.with_name(last.name + ".1")


def flip(path, place=-100):
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-50])


def found(layout):
    with pytest.raises(Stopped), session(JOB, layout) as stage:
        state = stage.checkpoint("training").load()
        found.value = None if state is None else (state[1]["step"], float(state[0]["w"][7]))
        raise Stopped
    return found.value


def test_the_last_state_is_found_where_it_is_whole(tmp_path):
    layout, *_ = kept_after(tmp_path, 1, 2, 3)
    assert found(layout) == (3, 3.0)


@pytest.mark.parametrize("damage", [flip, cut])
def test_a_damaged_state_gives_way_to_the_one_before_and_says_so(tmp_path, damage, capsys):
    layout, last, _ = kept_after(tmp_path, 1, 2)
    damage(last)
    assert found(layout) == (1, 1.0)
    assert "training.safetensors is damaged" in capsys.readouterr().out


def test_a_state_that_was_being_replaced_is_still_there(tmp_path):
    layout, last, before = kept_after(tmp_path, 1, 2)
    last.unlink()  # killed between the two renames
    assert before.exists() and found(layout) == (1, 1.0)


def test_without_a_whole_state_the_stage_starts_afresh(tmp_path, capsys):
    layout, last, before = kept_after(tmp_path, 1, 2)
    flip(last)
    cut(before)
    assert found(layout) is None and capsys.readouterr().out.count("is damaged") == 2


def test_the_state_of_another_piece_is_refused(tmp_path, capsys):
    layout, last, before = kept_after(tmp_path, 1)
    shutil.copy(last, last.with_name("other.safetensors"))
    with pytest.raises(Stopped), session(JOB, layout) as stage:
        assert stage.kept("other") is None
        raise Stopped
    assert "it was written as training.safetensors" in capsys.readouterr().out and not before.exists()


def test_a_damaged_value_in_json_is_measured_again(tmp_path, capsys):
    layout, last, _ = kept_after(tmp_path, 5)
    row = last.with_name("row.json")
    row.write_text(row.read_text().replace("5", "6"))
    with pytest.raises(Stopped), session(JOB, layout) as stage:
        assert stage.kept_json("row") is None and stage.kept_json("none") is None
        raise Stopped
    assert "row.json is damaged" in capsys.readouterr().out


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Data and two networks of the smoke experiment, briefly trained."""
    folder = tmp_path_factory.mktemp("trained")
    short = "{channels: 8}, training: {steps: 2, batch: 16}}"
    edm = f"{{kind: edm, options: {{sigma_data: 0.75}}, unet: {short}"
    plan = f"networks={{ddpm: {{kind: ddpm, unet: {short}, edm: {edm}}}"
    words = [*SMOKE, "--results", str(folder), "--config", plan, "experiment=smoke"]
    for stage in (["prepare"], ["train", "ddpm"], ["train", "edm"]):
        assert cli.main([*stage, *words]) == 0
    return folder, words


@pytest.mark.parametrize("damage", [flip, cut])
@pytest.mark.parametrize("name", ["networks/edm.safetensors", "data.safetensors"])
def test_a_damaged_result_is_refused_by_name_in_one_line(trained, tmp_path, name, damage, capsys):
    folder, words = trained
    shutil.copytree(folder / "smoke", tmp_path / "smoke")
    damage(tmp_path / "smoke" / name)
    capsys.readouterr()
    assert cli.main(["sample", "edm", *[str(tmp_path) if word == str(folder) else word for word in words]]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("dpmot ")]
    assert f"{name} is damaged: " in line and "delete it and run again" in line
    assert not (tmp_path / "smoke" / "samples").exists()


def test_networks_that_changed_places_are_refused(trained, tmp_path, capsys):
    folder, words = trained
    shutil.copytree(folder / "smoke", tmp_path / "smoke")
    shutil.copy(folder / "smoke/networks/ddpm.safetensors", tmp_path / "smoke/networks/edm.safetensors")
    assert cli.main(["sample", "edm", *[str(tmp_path) if word == str(folder) else word for word in words]]) == 1
    assert "networks/edm.safetensors was written as ddpm: delete it and run again" in capsys.readouterr().err


def test_after_damage_the_next_interruption_still_finds_a_whole_state(tmp_path):
    layout, last, _ = kept_after(tmp_path, 1, 2)
    flip(last)
    with pytest.raises(Stopped), session(JOB, layout) as stage:
        assert stage.checkpoint("training").load()[1]["step"] == 1
        stage.checkpoint("training").save({"w": torch.full((1000,), 5.0)}, {"step": 5})
        raise Stopped
    flip(last)
    assert found(layout) == (1, 1.0)


def test_a_fault_whose_batch_cannot_be_kept_still_tells_its_cause(tmp_path):
    layout = Layout(tmp_path)
    (tmp_path / "faults").write_text("a file in the way")
    with pytest.raises(ArithmeticError, match="the loss is nan; the batch could not be kept"), session(JOB, layout):
        raise Fault("the loss is nan", {"x": torch.zeros(1)})
