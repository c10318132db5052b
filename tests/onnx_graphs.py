"""Small ONNX graphs for tests: a network of a few operators, in the types and shapes that exporters write."""

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

FLOAT = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "float16": TensorProto.FLOAT16}
SHAPE = (1, 8, 8)


def network(x, condition, labels=None):
    """F(x, c, y) = tanh(a x + b) cos(c) + 0.1 y in torch, a and b as in :func:`graph`."""
    wide = condition.reshape(-1, 1, 1, 1).to(x)
    out = torch.tanh(0.7 * x + 0.2) * torch.cos(wide)
    return out if labels is None else out + 0.1 * labels.reshape(-1, 1, 1, 1).to(x)


def graph(
    *,
    kind="float32",
    batch="batch",
    sigma=("batch",),
    sigma_kind=None,
    label=None,
    names=("x", "sigma"),
    extra=None,
    domain="",
    last=(),
    channels=1,
    weights=None,
):
    """The bytes of a model that computes :func:`network`.

    Args:
        kind: of images and answer.
        batch: a number, or the name of a free one.
        sigma: shape of the level's input.
        sigma_kind: type of the level's input, e.g. TensorProto.INT64.
        label: type of the label's input, None for none.
        names: of x and of the level.
        extra: name of a further input (batch,), added to the answer.
        domain: of the first operator.
        last: further operators, (type, inputs), that make the answer.
        channels: of the answer, 2: the same twice.
        weights: name of a file beside it that holds the weights, whose bytes are returned too.
    """
    dtype, x, level = FLOAT[kind], *names
    inputs = [helper.make_tensor_value_info(x, dtype, [batch, *SHAPE])]
    inputs += [helper.make_tensor_value_info(level, sigma_kind or dtype, list(sigma))]
    numbers = {"_a": 0.7, "_b": 0.2, "tenth": 0.1, "zero": 0.0}
    tensors = [numpy_helper.from_array(np.array(value, dtype=kind), name) for name, value in numbers.items()]
    tensors += [numpy_helper.from_array(np.array([-1, 1, 1, 1]), "wide")]
    nodes = [
        helper.make_node("Mul", [x, "_a"], ["ax"], domain=domain),
        *[helper.make_node("Add", ["ax", "_b"], ["axb"]), helper.make_node("Tanh", ["axb"], ["tanh"])],
        helper.make_node("Reshape", [level, "wide"], ["c0"]),
        helper.make_node("Cast", ["c0"], ["_c"], to=dtype),
        *[helper.make_node("Cos", ["_c"], ["cos"]), helper.make_node("Mul", ["tanh", "cos"], ["f0"])],
    ]
    for name, number in (("label", label), (extra, dtype)):
        if name and number:
            inputs.append(helper.make_tensor_value_info(name, number, [batch]))
            last_of = nodes[-1].output[0]
            made = [f"{name}_{k}" for k in range(4)]
            nodes += [
                helper.make_node("Reshape", [name, "wide"], [made[0]]),
                helper.make_node("Cast", [made[0]], [made[1]], to=dtype),
                helper.make_node("Mul", [made[1], "tenth"], [made[2]]),
                helper.make_node("Add", [last_of, made[2]], [made[3]]),
            ]
    for number, (operator, others) in enumerate(last):
        nodes.append(helper.make_node(operator, [nodes[-1].output[0], *others], [f"last_{number}"]))
    if channels == 2:
        nodes.append(helper.make_node("Concat", [nodes[-1].output[0]] * 2, ["both"], axis=1))
    nodes[-1].output[0] = "answer"
    out = helper.make_tensor_value_info("answer", dtype, [batch, channels, *SHAPE[1:]])
    content = b""
    if weights:
        outside = [tensor for tensor in tensors if tensor.name != "wide"]  # a shape, which stays inside
        content, at = b"".join(tensor.raw_data for tensor in outside), 0
        for tensor in outside:
            size = len(tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", weights), ("offset", at), ("length", size)):
                tensor.external_data.add(key=key, value=str(value))
            at += size
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    made = helper.make_graph(nodes, "network", inputs, [out], tensors)
    model = helper.make_model(made, opset_imports=opsets, ir_version=9).SerializeToString()
    return (model, content) if weights else model
