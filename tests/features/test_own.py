"""A feature network of the user's own, in an ONNX graph or a TorchScript program, pinned by its hash."""

import warnings
from hashlib import sha256
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional as F

from dpmot.features import Extractor, Offer, own

pytestmark = pytest.mark.usefixtures("one_thread")
IMAGES = torch.randint(256, (7, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
WEIGHT = torch.linspace(-1, 1, 5 * 3).reshape(5, 3)


class Network(torch.nn.Module):
    """Features: mean colours, mixed. Logits: twice these."""

    def forward(self, x):
        features = x.mean((2, 3)) @ torch.linspace(-1, 1, 15).reshape(5, 3).T
        return features, 2 * features


class Drawn(torch.nn.Module):
    def forward(self, x):
        return torch.rand(x.shape[0], 4)


class Maps(torch.nn.Module):
    def forward(self, x):
        return x


def program(folder, module=None, name="net.pt"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch discourages TorchScript, which users have
        torch.jit.script(module or Network()).save(str(folder / name))
    return folder / name


def graph(folder, *, batch="n", side=16, channels=3):
    image = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [batch, channels, side, side])
    outs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, 5]) for name in ("features", "logits")]
    weight = WEIGHT.T.numpy()[:channels].copy()
    numbers = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.float32(2), "two")]
    nodes = [
        helper.make_node("GlobalAveragePool", ["pixels"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["colours"]),
        helper.make_node("MatMul", ["colours", "w"], ["features"]),
        helper.make_node("Mul", ["features", "two"], ["logits"]),
    ]
    made = helper.make_graph(nodes, "net", [image], outs, numbers)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    return folder / "net.onnx"


def pinned(file, **options):
    return {"weights": str(file), "sha256": sha256(file.read_bytes()).hexdigest(), **options}


def extracted(file, images=IMAGES, **options):
    ready = Extractor("own", Offer(given=pinned(file, **options), shape=tuple(images.shape[1:])))
    ready.check()
    return ready.extract(images)


KINDS = {"graph": (graph, {"output": "features", "logits": "logits"}), "program": (program, {"logits": "1"})}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 8, 24])
def test_features_and_probabilities_are_those_of_the_network_on_images_prepared_as_stated(tmp_path, kind, size):
    make, options = KINDS[kind]
    file = make(tmp_path, side=size or 16) if kind == "graph" else make(tmp_path)
    norm = {"low": -1.0, "high": 1.0, "mean": [0.1, 0.2, 0.3], "std": [0.5]}
    found = extracted(file, **options, **norm, size=size)
    pixels = IMAGES.float()
    if size:
        pixels = F.interpolate(pixels, (size, size), mode="bilinear", antialias=size < 16)
    pixels = (pixels / 127.5 - 1 - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / 0.5
    features = pixels.mean((2, 3)) @ WEIGHT.T
    np.testing.assert_allclose(found.values, features.numpy(), atol=1e-5)  # float32, numbers of order one
    np.testing.assert_allclose(found.probabilities, (2 * features).softmax(1).numpy(), atol=1e-5)
    assert found.extractor == f"own-{sha256(file.read_bytes()).hexdigest()[:8]}"


@pytest.mark.parametrize("batch", [1, 3, "n"])
def test_a_fixed_batch_is_filled_and_gives_the_same(tmp_path, batch):
    expected = extracted(graph(tmp_path), output="features").values
    np.testing.assert_allclose(extracted(graph(tmp_path, batch=batch), output="features").values, expected, atol=1e-6)


def test_grey_images_are_repeated_or_taken_as_they_are(tmp_path):
    grey, means = IMAGES[:, :1], IMAGES[:, :1].float().mean((2, 3)) / 255
    repeated = extracted(graph(tmp_path), grey, output="features").values
    np.testing.assert_allclose(repeated, (means.expand(-1, 3) @ WEIGHT.T).numpy(), atol=1e-5)
    one = extracted(graph(tmp_path, channels=1), grey, output="features", channels=1).values
    np.testing.assert_allclose(one, (means @ WEIGHT.T[:1]).numpy(), atol=1e-5)
    with pytest.raises(ValueError, match=r"a network of grey images \(channels: 1\) was given colour images"):
        extracted(graph(tmp_path, channels=1), output="features", channels=1)


def test_a_program_is_said_to_run_its_code_and_a_graph_is_not(tmp_path, capsys):
    extracted(program(tmp_path))
    assert "net.pt is a TorchScript program: its code runs here" in capsys.readouterr().out
    extracted(graph(tmp_path), output="features")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        (program, {"sha256": "0" * 64}, r"net.pt has sha256 [0-9a-f]{64}, own.sha256 says 0{64}"),
        (program, {"sha256": None}, r"own.sha256 is missing: if you trust .*net.pt, give sha256: [0-9a-f]{64}"),
        (program, {"weights": None}, r"needs `own: {weights: FILE, sha256: ...}`"),
        (program, {"size": -1}, "size is a number of pixels"),
        (program, {"resize": "lanczos"}, "resize bilinear or bicubic"),
        (program, {"mean": [0.1, 0.2]}, "one mean and std or one a channel"),
        (program, {"std": [0.0]}, "std > 0"),
        (program, {"mean": []}, r"own.mean: \[\] is no floats"),
        (program, {"mean": ["a"]}, r"own.mean: \['a'\] is no floats"),
        (program, {"output": "features"}, "is a place, 0, 1, ...; got 'features'"),
        (program, {"output": "2"}, "gives 2 outputs, whose places are 0 to 1"),
        (graph, {}, r"own.output: .*gives features \(float32 n x 5\), logits .*; say which are the features"),
        (graph, {"output": "nope"}, "no output 'nope'"),
        (
            graph,
            {"output": "features", "size": 8},
            r"pixels \(float32 n x 3 x 16 x 16\), not images of 3 x 8 x 8",
        ),
        (graph, {"output": "features", "channels": 1}, "not images of 1 x 16 x 16"),
        (lambda folder: program(folder, Drawn()), {}, "gives two answers to one question"),
        (lambda folder: program(folder, Maps()), {}, r"gives \[2, 3, 16, 16\] for 2 images; features are \(n, d\)"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path, make, options, said):
    file = make(tmp_path)
    given = {key: value for key, value in {**pinned(file), **options}.items() if value is not None}
    ready = Extractor("own", Offer(given=given, shape=(3, 16, 16)))
    with pytest.raises(ValueError, match=said) as caught:
        ready.check()
        ready.extract(IMAGES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", bytes(range(256))])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "net").write_bytes(content)
    with pytest.raises(ValueError, match="is no ONNX file"):
        Extractor("own", Offer(given=pinned(tmp_path / "net"))).check()


def test_weights_alone_are_no_network(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "net.pt")
    with pytest.raises(ValueError, match="holds weights without their network"):
        Extractor("own", Offer(given=pinned(tmp_path / "net.pt"))).check()


def test_a_graph_needs_an_extra_that_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(own, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"own needs onnxruntime: pip install 'dpmot\[onnx\]'$"):
        own.check(SimpleNamespace(given={**pinned(graph(tmp_path)), "weights": graph(tmp_path)}, shape=(3, 16, 16)))
