"""An ONNX network in the workflow: planned, loaded, sampled from, and what is said where it cannot be."""

from hashlib import sha256

import onnx
import pytest
import yaml
from onnx import TensorProto, helper
from onnx_graphs import graph
from safetensors.torch import load_file

from dpmot.diffusion import network
from dpmot.diffusion.networks import onnx as kind
from dpmot.diffusion.onnx_network import GRAPH
from dpmot.experiment import checks_networks
from dpmot.experiment.config import ConfigError, load
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.stages import prepare, sample, solve, train

pytestmark = pytest.mark.usefixtures("one_thread")
METHODS = {
    "jumps": {"network": "theirs", "sampler": "consistency", "nfe_budgets": [1, 2]},
    "dpm_ot": {"network": "theirs", "sampler": "ddim", "start": "transport", "level": 1.0},
}


@pytest.fixture
def ideal(tmp_path):
    """The ideal denoiser of pixels of variance 1/4, as a file."""
    (tmp_path / "net.onnx").write_bytes(kind.example()[0][GRAPH].numpy().tobytes())
    return tmp_path / "net.onnx"


def planned(folder, weights, methods=METHODS, **card):
    theirs = {"kind": "onnx", "weights": str(weights), "options": {"parametrisation": "consistency"}, **card}
    config = {"experiment": "x", "dataset": "digits", "nfe_budgets": [5], "num_samples": 200, "sample_seeds": [0]}
    config |= {"networks": {"theirs": theirs}, "methods": methods, "transport": {"chi2": 1.0}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return load([folder / "config.yaml"])


def test_it_is_loaded_and_sampled_from_as_any_network_and_its_evaluations_are_counted(ideal, tmp_path, capsys):
    jobs, layout = Jobs(planned(tmp_path, ideal), Layout(tmp_path)), Layout(tmp_path)
    assert ideal in jobs.train("theirs").inputs
    prepare.run(jobs.prepare(), layout)
    train.run(jobs.train("theirs"), layout)
    assert f"sha256: {sha256(ideal.read_bytes()).hexdigest()}" in capsys.readouterr().out  # which pins it
    loaded = network.load(layout.network("theirs"))
    assert loaded.card["published"]["verified"] is False and loaded.card["shape"] == [1, 8, 8]
    solve.run(jobs.solve(), layout)
    for name in METHODS:
        sample.run(jobs.sample(name), layout)
        assert load_file(layout.samples(name))


def test_a_file_of_ours_that_holds_one_is_loaded_again(ideal, tmp_path):
    network.save(
        tmp_path / "ours.safetensors",
        {"kind": "onnx", "options": {"parametrisation": "consistency"}, "shape": [1, 8, 8], "unet": {}},
        {None: kind.read(ideal)},
    )
    jobs, layout = Jobs(planned(tmp_path, tmp_path / "ours.safetensors"), Layout(tmp_path)), Layout(tmp_path)
    prepare.run(jobs.prepare(), layout)
    train.run(jobs.train("theirs"), layout)
    assert network.load(layout.network("theirs")).denoisers[None].sigma_max == 80


@pytest.mark.parametrize(
    ("made", "card", "said"),
    [
        ({"label": TensorProto.INT64}, {}, "networks.theirs: .*net.onnx takes .*nothing is said of label"),
        ({}, {"training": {"steps": 2}}, "networks.theirs: kind onnx is only loaded: give `weights: FILE`"),
        ({}, {"weights": None}, "networks.theirs: kind onnx is only loaded: give `weights: FILE`"),
        ({}, {"weights": "nowhere.onnx"}, "networks.theirs.weights: no file nowhere.onnx"),
        (
            {},
            {"options": {"inputs": {"x": 3}}},
            r"options.inputs: {'x': 3} is no mapping of text to text",
        ),
        ({}, {"options": {"no_such": 3}}, 'networks.theirs.options: unknown option "no_such"'),
        ({}, {"sha256": "0" * 63}, "networks.theirs.sha256"),
    ],
)
def test_a_plan_refuses_what_cannot_run(tmp_path, made, card, said):
    (tmp_path / "net.onnx").write_bytes(graph(**made))
    with pytest.raises(ConfigError, match=said):
        planned(tmp_path, card.pop("weights", tmp_path / "net.onnx") or "", **card)


def test_a_plan_says_how_to_install_what_is_missing(ideal, tmp_path, monkeypatch):
    monkeypatch.setattr(checks_networks, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"theirs: kind onnx needs onnxruntime: pip install 'dpmot\[onnx\]'$"):
        planned(tmp_path, ideal)


def test_a_file_with_another_hash_is_refused(ideal, tmp_path):
    jobs, layout = Jobs(planned(tmp_path, ideal, sha256="0" * 64), Layout(tmp_path)), Layout(tmp_path)
    prepare.run(jobs.prepare(), layout)
    with pytest.raises(ValueError, match=r"net.onnx has sha256 [0-9a-f]{64}, its card says 0{64}"):
        train.run(jobs.train("theirs"), layout)


def told_its_logarithm(content):
    """The same network whose input, under a name that tells nothing, is ln(sigma) / 4."""
    model = onnx.load_from_string(content)
    model.graph.input[1].name = "level"
    model.graph.initializer.append(helper.make_tensor("quarter", TensorProto.FLOAT, [], [4.0]))
    before = [helper.make_node("Mul", ["level", "quarter"], ["log"]), helper.make_node("Exp", ["log"], ["sigma"])]
    nodes = [*before, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()


def test_a_default_that_denoises_far_worse_than_another_way_is_refused_and_a_stated_one_is_said(
    ideal, tmp_path, capsys
):
    ideal.write_bytes(told_its_logarithm(ideal.read_bytes()))
    for conditioning in ("", "sigma", "log_sigma"):
        options = {"parametrisation": "denoiser", **({"conditioning": conditioning} if conditioning else {})}
        jobs, layout = Jobs(planned(tmp_path, ideal, options=options), Layout(tmp_path)), Layout(tmp_path)
        prepare.run(jobs.prepare(), layout)
        if not conditioning:
            with pytest.raises(ValueError, match=r"with options {conditioning: sigma} .* {conditioning: log_s"):
                train.run(jobs.train("theirs"), layout)
            continue
        train.run(jobs.train("theirs"), layout)
        assert ("with options {conditioning: sigma}" in capsys.readouterr().out) == (conditioning == "sigma")
