"""Networks in ONNX files against the same arithmetic in torch, and what is refused of them."""

import hashlib
import runpy
import subprocess
import sys
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from onnx import TensorProto, parser
from onnx_graphs import SHAPE, graph, network

import dpmot
from dpmot import graphs
from dpmot.diffusion import network as networks
from dpmot.diffusion import onnx_network, weights
from dpmot.diffusion.conditioning import compare
from dpmot.diffusion.denoiser import NonFiniteOutput, TiledDenoiser
from dpmot.diffusion.networks import ddpm, edm, flow
from dpmot.diffusion.networks import onnx as kind
from dpmot.plugins import ROOT

pytestmark = pytest.mark.usefixtures("one_thread")
X = torch.linspace(-1.5, 1.5, 5 * 64).reshape(5, *SHAPE)
ROUNDING = 1e-5  # of float32, in two libraries, times numbers of order one; times sigma where the answer is


def written(folder, content, name="net.onnx"):
    (folder / name).write_bytes(content)
    return folder / name


def card(options, classes=0):
    return {"kind": "onnx", "options": options, "shape": list(SHAPE), "unet": {}}


def denoiser(file, **options):
    """As the workflow makes it: checked, read, written to a file of ours, and loaded from it."""
    kind.check(file, options=options, shape=SHAPE)
    networks.save(file.with_suffix(".safetensors"), card(options), {None: kind.read(file)})
    return networks.load(file.with_suffix(".safetensors")).denoisers[None]


def column(value):
    return torch.as_tensor(value).reshape(-1, 1, 1, 1)


FORMS = {  # options -> D(x, sigma) written down from the table of the file, in torch
    "denoiser": lambda x, s: network(x, s),
    "consistency": lambda x, s: network(x, s),
    "score": lambda x, s: x + column(s) ** 2 * network(x, s),
    "edm": lambda x, s: edm.Parametrisation().denoise(network, x, s),
    "epsilon": lambda x, s: ddpm.Parametrisation().denoise(lambda y, t: network(y, 1000 * t - 1), x, s),
    "v_prediction": lambda x, s: ddpm.Parametrisation(prediction="v_prediction").denoise(
        lambda y, t: network(y, 1000 * t - 1), x, s
    ),
    "sample": lambda x, s: ddpm.Parametrisation(prediction="sample").denoise(
        lambda y, t: network(y, 1000 * t - 1), x, s
    ),
    "velocity": lambda x, s: flow.Parametrisation().denoise(network, x, s),
    "velocity_to_data": lambda x, s: flow.Parametrisation().denoise(lambda y, t: -network(y, 1 - t), x, s),
}


def test_every_parametrisation_is_tested_here():
    assert set(FORMS) == set(kind.USUAL)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("sigma", [0.05, 1.0, 20.0])
def test_a_graph_denoises_as_the_same_network_in_torch(tmp_path, name, sigma):
    file = written(tmp_path, graph(names=("x", "c")))
    found = denoiser(file, parametrisation=name, inputs={"sigma": "c"})(X, torch.tensor(sigma))
    # the timestep of a level is a real number of order 1,000, whose cosine errs by its rounding, 6e-5
    rounding = 1e-4 if "timestep" in kind.USUAL[name] else ROUNDING
    assert (found - FORMS[name](X, torch.full((5,), sigma))).abs().max() < rounding * max(1, sigma, sigma**2)


@pytest.mark.parametrize("sigma", [(), (1,), ("batch",), ("batch", 1), ("batch", 1, 1, 1)])
@pytest.mark.parametrize("batch", ["batch", 3, 1])
def test_a_level_for_all_or_one_for_each_and_a_fixed_batch_give_the_same(tmp_path, sigma, batch):
    content = graph(batch=batch, sigma=tuple(batch if side == "batch" else side for side in sigma))
    levels = torch.tensor([0.5, 0.5, 2.0, 0.5, 3.0])
    found = denoiser(written(tmp_path, content), parametrisation="denoiser")(X, levels)
    assert (found - network(X, levels)).abs().max() < ROUNDING


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_graphs_of_other_precisions_take_and_give_what_we_compute_with(tmp_path, dtype):
    found = denoiser(written(tmp_path, graph(kind=dtype)))(X, torch.tensor(0.5))
    assert found.dtype == X.dtype
    # half precision: 11 bits, a few operations
    assert (found - network(X, torch.full((5,), 0.5))).abs().max() < {"float16": 4e-3, "float64": ROUNDING}[dtype]


@pytest.mark.parametrize("number", [TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT])
def test_labels_are_given_in_the_type_of_the_graph(tmp_path, number):
    file, labels = written(tmp_path, graph(label=number)), torch.tensor([0, 4, 2, 1, 3])
    made = denoiser(file, classes=5)
    assert (made(X, torch.tensor(0.5), labels) - network(X, torch.full((5,), 0.5), labels)).abs().max() < ROUNDING
    assert networks.classes(card({"classes": 5})) == 5
    with pytest.raises(ValueError, match="needs labels: its classes are 5"):
        made(X, torch.tensor(0.5))
    with pytest.raises(ValueError, match="labels are 0 to 4, got 0 to 5"):
        made(X, torch.tensor(0.5), labels + 1 - (labels == 0).long())
    with pytest.raises(ValueError, match="takes no labels"):
        denoiser(written(tmp_path, graph(), "b.onnx"))(X, torch.tensor(0.5), labels)


def test_other_inputs_are_constants_that_are_stated(tmp_path):
    file = written(tmp_path, graph(extra="difficulty"))
    found = denoiser(file, constants={"difficulty": 0.5})(X, torch.tensor(0.5))
    assert (found - network(X, torch.full((5,), 0.5)) - 0.05).abs().max() < ROUNDING
    told = (
        r"x \(float32 batch x 1 x 8 x 8\), sigma \(float32 batch\), difficulty \(float32 batch\); nothing is said of "
    )
    with pytest.raises(ValueError, match=told + r"difficulty: .*constants: {difficulty: NUMBER}"):
        kind.check(file, options={})


def test_integer_times_are_the_nearest_level(tmp_path):
    file = written(tmp_path, graph(names=("sample", "timestep"), sigma_kind=TensorProto.INT64))
    level = ddpm.Parametrisation().chain.levels[700]
    found = denoiser(file, parametrisation="epsilon")(X, torch.tensor(level))
    expected = X - level * network(X / (1 + level**2) ** 0.5, torch.full((5,), 700.0))
    assert (found - expected).abs().max() < ROUNDING * level
    with pytest.raises(ValueError, match="holds integers, which no time is"):
        kind.check(file, options={"parametrisation": "velocity"})


def test_images_of_another_range_are_shifted_and_so_are_their_levels(tmp_path):
    options = {"parametrisation": "velocity", "low": 0.0, "high": 1.0, "inputs": {"sigma": "c"}}
    made = denoiser(written(tmp_path, graph(names=("x", "c"))), **options)
    inside = flow.Parametrisation().denoise(network, (X + 1) / 2, torch.full((5,), 1.0))
    assert (made(X, torch.tensor(2.0)) - (2 * inside - 1)).abs().max() < ROUNDING
    assert made.sigma_max == pytest.approx(2 * 999) and made.sigma_min == pytest.approx(2 / 999)


def test_a_learned_variance_is_left_out_where_one_may_be(tmp_path):
    file = written(tmp_path, graph(names=("x", "t"), channels=2))
    assert denoiser(file, parametrisation="epsilon")(X, torch.tensor(1.0)).shape == X.shape
    with pytest.raises(ValueError, match=r"answer \(float32 batch x 2 x 8 x 8\) does not fit images of shape \[1, 8"):
        kind.check(file, options={"parametrisation": "velocity"}, shape=SHAPE)


def test_two_calls_and_two_batches_give_the_same_bits(tmp_path):
    made = TiledDenoiser(denoiser(written(tmp_path, graph())))
    whole = made(X, torch.tensor(0.5))
    assert torch.equal(whole, made(X, torch.tensor(0.5))) and torch.equal(whole[1:3], made(X[1:3], torch.tensor(0.5)))


def test_nan_of_a_graph_is_found_in_sampling_and_refused_at_loading(tmp_path):
    file = written(tmp_path, graph(last=[("Sub", ["_b"]), ("Log", [])]))
    with pytest.raises(NonFiniteOutput, match=r"NaN or infinity at sigma 0\.5"):
        TiledDenoiser(denoiser(file))(X, torch.tensor(0.5))
    with pytest.raises(ValueError, match=r"the network gives NaN or infinity"):
        networks.try_out(card({}), networks.build(card({}), kind.read(file)), file)


def test_a_graph_that_draws_random_numbers_is_refused(tmp_path):
    file = written(tmp_path, graph(last=[("RandomNormalLike", [])]))
    with pytest.raises(ValueError, match="two answers to one question"):
        networks.try_out(card({}), networks.build(card({}), kind.read(file)), file)


WRONG = [
    (
        {"names": ("a", "b"), "sigma": ("batch", 1), "extra": "d"},
        {},
        r"say which is which, .*{inputs: {x: a, sigma: b}, constants: {d: NUMBER}}",
    ),
    ({"names": ("p", "q")}, {"inputs": {"x": "nope"}}, r"no input 'nope': .*p \(float32 batch x 1 x 8 x 8\), q"),
    ({}, {"inputs": {"y": "x"}}, "inputs: 'y' is none of x, sigma, label"),
    ({}, {"output": "nope"}, r"no output 'nope': .* gives answer \(float32"),
    ({}, {"inputs": {"sigma": "sigma"}, "constants": {"sigma": 1.0}}, "sigma is both an input and a constant"),
    ({"sigma": ("batch", 2)}, {}, "is no level of each image"),
    ({"names": ("x", "t")}, {}, "is usually told its sigma, but this input is called t: state the conditioning"),
    ({"names": ("x", "sigma")}, {"parametrisation": "epsilon"}, "told its timestep, but this input is called sigma"),
    ({"domain": "my.ops"}, {}, r"needs operators of my.ops, which are code of their own"),
    ({"batch": 3, "sigma": (4,)}, {}, "their batches differ"),
    ({"label": TensorProto.INT64}, {"inputs": {"label": "label"}}, "say how many classes there are"),
    ({}, {"classes": 3}, "takes x .*say which is which"),
]


@pytest.mark.parametrize(("made", "options", "said"), WRONG)
def test_what_does_not_fit_is_refused_in_one_line_before_anything_runs(tmp_path, made, options, said):
    with pytest.raises(ValueError, match=said) as caught:
        kind.check(written(tmp_path, graph(**made)), options=options, shape=SHAPE)
    assert "\n" not in str(caught.value)


ODD = '<ir_version: 9, opset_import: ["": 18, "of.theirs": 1]> g {} => (float[n, 1, 8, 8] y) {{ {} }} {}'
IMAGES = "(float[n, 1, 8, 8] x, float[n] sigma)"
FUNCTION = '<domain: "of.theirs", opset_import: ["": 18]> twice (x) => (y) { y = Add(x, x) }'
TRUE = "c = Constant <value = bool {1}> ()"
BRANCHES = "then_branch = a () => (float[n, 1, 8, 8] z) { z = Tanh(x) }, else_branch = b () => (float[n, 1, 8, 8] w)"


@pytest.mark.parametrize(
    ("inputs", "body", "after", "said"),
    [
        (IMAGES, "y = of.theirs.twice(x)", FUNCTION, ""),  # of standard operators, written down in the file
        (IMAGES, "y = of.theirs.twice(x)", "", "needs operators of of.theirs"),
        (IMAGES, f"{TRUE} y = If (c) <{BRANCHES} {{ w = of.theirs.run(x) }}>", "", "needs operators of of.theirs"),
        ("(float[n, 1, 8, 8] x)", "y = Tanh(x)", "", "and no sigma: a network of all levels is told its own"),
        ("(float[n, 8, 8, 1] x, float[n] sigma)", "y = Tanh(x)", "", "channels last: export it for images"),
        ("(bfloat16[n, 1, 8, 8] x, float[n] sigma)", "y = Tanh(x)", "", "holds no floats; allowed: float16, float32"),
        (IMAGES, "y = Unheard(x)", "", "onnxruntime: .*Unheard"),
        (IMAGES, "m = ReduceMean <keepdims = 1> (x) y = Sub(x, m)", "", "depends on the images beside it"),
        (IMAGES, "y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)", "", r"gives shape \[1, 4, 4\]"),
    ],
)
def test_odd_graphs_run_or_are_refused_in_one_line(tmp_path, capsys, inputs, body, after, said):
    file = written(tmp_path, parser.parse_model(ODD.format(inputs, body, after)).SerializeToString())
    if not said:
        assert dpmot.onnx_network(file).card["shape"] == [*SHAPE]
        return
    with pytest.raises(ValueError, match=said) as caught:
        dpmot.onnx_network(file)
    assert "\n" not in str(caught.value) and not capsys.readouterr().out


def test_inputs_that_shapes_tell_apart_need_no_names(tmp_path):
    kind.check(written(tmp_path, graph(names=("onnx::0", "onnx::1"))), options={}, shape=SHAPE)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 16, 16)])
def test_images_of_another_shape_are_refused(tmp_path, shape):
    with pytest.raises(ValueError, match=r"x \(float32 batch x 1 x 8 x 8\) does not fit images of shape \["):
        kind.check(written(tmp_path, graph()), options={}, shape=shape)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"parametrisation": "noise"}, "parametrisation is one of denoiser, consistency"),
        ({"parametrisation": "velocity", "conditioning": "timestep"}, "a time in 0..1000 is conditioning time, scale"),
        ({"parametrisation": "velocity", "sigma_max": 10.0}, "sigma_max is of scaling ve and edm, not of flow"),
        ({"schedule": "scaled_linear"}, "schedule is of scaling vp, not of ve"),
        ({"low": 1.0}, "low < high"),
        ({"sigma_min": 0.0}, "0 < sigma_min"),
        ({"sigma_max": "80"}, "'80' should be a finite number"),
        ({"constants": {"k": float("inf")}}, "inf should be a finite number"),
        ({"constants": {"k": "a"}}, "constants says numbers by input; got {'k': 'a'}"),
        ({"inputs": ["x"]}, r"inputs says names by input; got \['x'\]"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        kind.Parametrisation(**options)


@pytest.mark.parametrize("content", [b"", b"no such file", bytes(range(256)), b"\x3a\x02\x0a\x00", b"PK\x03\x04" * 9])
def test_what_is_no_onnx_file_is_refused(tmp_path, content):
    with pytest.raises(ValueError, match=r"net.onnx is no ONNX file, or is damaged"):
        kind.check(written(tmp_path, content), options={})


def test_a_file_that_was_cut_short_anywhere_is_refused_or_fails_to_load(tmp_path):
    whole = graph()
    for size in range(1, len(whole), 7):
        with pytest.raises(ValueError, match=r"no ONNX file|onnxruntime|takes|output|no level"):
            file = written(tmp_path, whole[:size])
            kind.check(file, options={})
            kind.Parametrisation().model(kind.read(file))


def test_weights_beside_the_file_are_read_and_digested_with_it(tmp_path):
    model, beside = graph(weights="net.data")
    file = written(tmp_path, model)
    with pytest.raises(ValueError, match=r"keeps weights in net.data, which is not beside it"):
        weights.files(file)
    written(tmp_path, beside, "net.data")
    assert weights.files(file) == [file, tmp_path / "net.data"]
    assert weights.verify(file, None) == hashlib.sha256(model + beside).hexdigest()
    assert (denoiser(file)(X, torch.tensor(0.5)) - network(X, torch.full((5,), 0.5))).abs().max() < ROUNDING


@pytest.mark.parametrize("name", ["../net.data", "/etc/net.data"])
def test_weights_elsewhere_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"which is not beside it"):
        graphs.read(written(tmp_path, graph(weights=name)[0]))


def test_a_plan_reads_the_file_without_torch_and_without_onnxruntime(tmp_path):
    file = written(tmp_path, graph())
    code = (
        f"import sys, pathlib; from dpmot.diffusion.networks import onnx; onnx.check(pathlib.Path({str(file)!r}), "
        "options={}); print({'torch', 'onnx', 'onnxruntime'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_the_conditioning_is_compared_with_others_on_images(tmp_path):
    content, _ = kind.example()  # x / (1 + 4 sigma^2), told sigma
    images = torch.randn(16, *SHAPE, generator=torch.Generator().manual_seed(0)) / 2
    right, wrong = ({"parametrisation": "denoiser", "conditioning": told} for told in ("sigma", "log_sigma"))
    assert compare(card(right), networks.build(card(right), content), images, None, "net") is None
    said = compare(card(wrong), networks.build(card(wrong), content), images, None, "net")
    assert said.startswith("net: with options {conditioning: log_sigma} it leaves ") and "{conditioning: sigma}" in said


def test_the_table_of_the_file_holds_for_a_network_of_any_scaling(tmp_path):
    """score and epsilon of one denoiser agree whatever the graph sees: eps = -sigma score of x."""
    sigma, x = torch.tensor([0.7]), X[:1]
    for sees, by in (("ve", 1.0), ("vp", (1 + 0.49) ** -0.5), ("flow", 1 / 1.7), ("edm", (0.49 + 0.25) ** -0.5)):
        score = kind.Parametrisation(parametrisation="score", scaling=sees)
        eps = kind.Parametrisation(parametrisation="epsilon", scaling=sees)
        one = score.denoise(lambda y, c, by=by: torch.tanh(y) / by, x, sigma)  # the score of y, by the chain rule
        other = eps.denoise(lambda y, c: -0.7 * torch.tanh(y), x, sigma)
        assert torch.allclose(one, other, atol=1e-6)


def test_rows_are_counted_as_of_any_network(tmp_path):
    from dpmot.diffusion.audit import Audit

    made = partial(denoiser(written(tmp_path, graph(batch=3))), X, torch.tensor(0.5))
    audit = Audit()
    with audit.running(), audit.paid():
        made()
    assert audit.rows == {"NetworkDenoiser": 5} and np.isfinite(made().numpy()).all()


def test_the_example_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "onnx_network.py"))
    assert capsys.readouterr().out.count("NFE 5 from") == 2


def test_a_file_is_opened_from_python_with_its_shape_levels_and_classes(tmp_path):
    file = written(tmp_path, graph(label=TensorProto.INT64))
    pinned = hashlib.sha256(file.read_bytes()).hexdigest()
    found = dpmot.onnx_network(file, sha256=pinned, parametrisation="consistency", classes=5)
    assert found.card["shape"] == [1, 8, 8] and found.classes == 5 and found.chain.sigma_max == 80
    drawn = dpmot.sample(found, "prior", "consistency", nfe=1, num_samples=4, labels=torch.tensor([0, 1, 2, 4]))
    assert drawn.x0.shape == (4, 1, 8, 8) and drawn.nfe == 1
    with pytest.raises(ValueError, match=r"net.onnx has sha256 .*, its card says 0{64}"):
        dpmot.onnx_network(file, sha256="0" * 64, classes=5)
    with pytest.raises(ValueError, match="kind onnx has no option bogus; it has parametrisation, conditioning"):
        dpmot.onnx_network(file, bogus=1)
    with pytest.raises(ValueError, match=r"no file .*nowhere.onnx"):
        dpmot.onnx_network(tmp_path / "nowhere.onnx")


def test_a_graph_without_a_size_is_asked_for_one(tmp_path):
    text = '<ir_version: 9, opset_import: ["": 18]> g (float[n, c, h, w] x, float[n, 1, 1, 1] sigma) =>'
    text += " (float[n, c, h, w] y) { y = Div(x, sigma) }"
    file = written(tmp_path, parser.parse_model(text).SerializeToString())
    with pytest.raises(ValueError, match=r"leaves the size of images free: say shape=\(C, H, W\)"):
        dpmot.onnx_network(file)
    assert dpmot.onnx_network(file, shape=(3, 4, 4)).card["shape"] == [3, 4, 4]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("edm", {"parametrisation": "edm", "sigma_data": 0.75}),
        ("ddpm", {"parametrisation": "epsilon", "conditioning": "time"}),
    ],
)
def test_a_trained_u_net_that_torch_exports_denoises_as_itself(tmp_path, name, options):
    loaded = networks.load(ROOT / "results" / "reference" / "digits" / "weights" / f"{name}.safetensors")
    theirs, x = loaded.denoisers[None], torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(0))
    free = {"x": {0: "n"}, "c": {0: "n"}, "F": {0: "n"}}
    names = {"input_names": ["x", "c"], "output_names": ["F"], "dynamic_axes": free}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the older exporter, which needs no further package
        torch.onnx.export(theirs.model, (x, torch.ones(8)), str(tmp_path / "u.onnx"), dynamo=False, **names)
    ours = dpmot.onnx_network(tmp_path / "u.onnx", inputs={"sigma": "c"}, **options).denoiser(0)
    for sigma in (0.01, 0.3, 3.0, 30.0):
        one, other = (denoise(x * (1 + sigma), torch.tensor(sigma)) for denoise in (theirs, ours))
        assert (one - other).abs().max() < ROUNDING * max(1, sigma)


def test_many_or_large_images_go_through_in_parts_of_one_size(tmp_path, monkeypatch):
    made = denoiser(written(tmp_path, graph()))
    whole = made(X, torch.tensor(0.5))
    sizes, run = [], made.model._session
    monkeypatch.setattr(onnx_network, "LARGEST", 2 * 64)
    made.model._session = lambda feeds, outputs: sizes.append(len(feeds["x"])) or run(feeds, outputs)
    assert torch.allclose(made(X, torch.tensor(0.5)), whole, atol=ROUNDING) and sizes == [2, 2, 2]
