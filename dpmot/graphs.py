"""ONNX files: what one says of itself, read without any library, and a session that evaluates it on the processor.

A file is a protobuf message (onnx.proto of the ONNX project): fields of a number, a wire type and a value, nested. What
a plan needs is a few of them: inputs, outputs, the domains of operators, and files of weights beside the graph. torch
and onnxruntime, an extra, are imported when something is evaluated.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

PACKAGE, EXTRA = "onnxruntime", "onnx"
BUILT_IN = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}  # domains of operators that onnxruntime brings along
TYPES = {  # TensorProto.DataType -> numpy's name, of what may be fed
    **{1: "float32", 2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 10: "float16"},
    11: "float64",
}
FLOATS = ("float16", "float32", "float64")
INSIDE: dict[str, dict[int, str]] = {  # message -> number of a field -> the message in it
    "model": {7: "graph", 8: "opset", 25: "function"},
    "graph": {1: "node", 5: "tensor", 11: "input", 12: "output", 15: "sparse"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
Value = int | memoryview


@dataclass(frozen=True)
class Port:
    """An input or an output: its name, numpy's name of its type, its shape; None where the file does not say.

    A dimension is a number, or the name of one that is free, "" for one without a name.
    """

    name: str
    kind: str | None
    shape: tuple[int | str, ...] | None

    def __str__(self) -> str:
        sides = "?" if self.shape is None else " x ".join(str(side or "?") for side in self.shape) or "scalar"
        return f"{self.name} ({self.kind or 'another type'} {sides})"


@dataclass(frozen=True)
class Graph:
    """What a file says: inputs that must be given, outputs, and the names of the files of weights beside it."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    external: tuple[str, ...]


def described(content: bytes | memoryview, where: object) -> Graph:
    """What the bytes of an ONNX file say.

    Raises:
        ValueError: they are no ONNX file, or need operators or files that may not be had; ``where`` names the file.
    """
    try:
        messages = list(_walk("model", memoryview(content)))
        graph = _inside(memoryview(content), 7)
        inputs, outputs = ([_port(value) for n, value in _fields(graph) if n == number] for number in (11, 12))
        own = {_text(body, 8) for kind, body in messages if kind == "tensor"}  # older files list weights as inputs
        domains = {_text(body, 7) for kind, body in messages if kind == "node"}
        domains -= {_text(body, 10) for kind, body in messages if kind == "function"}
        entries = {(_text(body, 1), _text(body, 2)) for kind, body in messages if kind == "entry"}
    except (ValueError, RecursionError):
        raise ValueError(f"{where} is no ONNX file, or is damaged: export the network as ONNX again") from None
    if not outputs:
        raise ValueError(f"{where} is no ONNX file, or is damaged: its graph has no output")
    if custom := sorted(domains - BUILT_IN):
        told = f"operators of {', '.join(custom)}, which are code of their own, and is refused"
        raise ValueError(f"{where} needs {told}: export it with standard operators alone")
    external = sorted({location for key, location in entries if key == "location"})
    for name in external:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name or not name:
            raise ValueError(f"{where} keeps weights in {name!r}, which is not beside it: export it again")
    return Graph(tuple(port for port in inputs if port.name not in own), tuple(outputs), tuple(external))


def read(path: Path) -> Graph:
    """What an ONNX file says; see :func:`described`.

    Raises:
        ValueError: as there, or a file of its weights is not beside it.
    """
    graph = described(path.read_bytes(), path)
    if missing := [name for name in graph.external if not (path.parent / name).is_file()]:
        raise ValueError(f"{path} keeps weights in {missing[0]}, which is not beside it: put it there")
    return graph


def files(path: Path) -> list[Path]:
    """The file, and those of its weights that lie beside it, in the order of their names."""
    return [path, *(path.parent / name for name in read(path).external)]


def check_installed(what: str) -> None:
    """Raise ValueError where onnxruntime is not installed; nothing is imported."""
    if find_spec(PACKAGE) is None:
        raise ValueError(f"{what} needs {PACKAGE}: pip install 'dpmot[{EXTRA}]'")


class Session:
    """An ONNX graph on the processor, with as many threads as torch has here; the same bits at every call.

    Args:
        content: the bytes of the file.
        external: name -> bytes of each file of weights beside it.
        where: what messages call it.

    Raises:
        ValueError: onnxruntime is missing, or cannot run the graph.
    """

    def __init__(self, content: bytes, external: Mapping[str, bytes], where: object) -> None:
        check_installed(str(where))
        import onnxruntime
        import torch

        self.where, self.graph = where, described(content, where)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3  # errors
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if external:
            names, parts = [*external], [*external.values()]
            options.add_external_initializers_from_files_in_memory(names, parts, [len(part) for part in parts])
        there = {"providers": ["CPUExecutionProvider"], "enable_fallback": 0}  # which prints what it refuses
        self._session = self._tried(lambda: onnxruntime.InferenceSession(content, options, **there))

    def __call__(self, feeds: Mapping[str, np.ndarray], outputs: Iterable[Port]) -> list[np.ndarray]:
        """The values of some outputs.

        Raises:
            ValueError: the graph refuses what it is given.
        """
        names = [port.name for port in outputs]
        return self._tried(lambda: self._session.run(names, {**feeds}))

    def _tried(self, function: Any) -> Any:
        try:
            return function()
        except MemoryError:
            raise
        except Exception as error:  # onnxruntime has a dozen
            raise ValueError(f"{self.where}: onnxruntime: {' '.join(str(error).split())[:300]}") from None


def as_fed(values: "Tensor", port: Port) -> np.ndarray:
    """A tensor as the array that an input takes, in its type."""
    return np.ascontiguousarray(values.detach().cpu().numpy().astype(port.kind or "float32"))


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while shift < 70:
        if at >= len(data):
            break
        byte = data[at]
        value, at, shift = value | (byte & 127) << shift, at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ValueError("cut short")


def _fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """Number and value of each field of a message: an integer, or the bytes of anything else."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire, value = key & 7, 0
        if wire == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        size = {1: 8, 5: 4}.get(wire)
        if wire == 2:
            size, at = _varint(data, at)
        if size is None or at + size > len(data):
            raise ValueError("no such field")
        yield key >> 3, data[at : at + size]
        at += size


def _walk(kind: str, data: memoryview) -> Iterator[tuple[str, memoryview]]:
    """A message and those inside it, with what they are."""
    yield kind, data
    inner = INSIDE.get(kind)
    for number, value in _fields(data) if inner else ():
        if inner and number in inner:
            yield from _walk(inner[number], _bytes(value))


def _bytes(value: Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number where a message should be")
    return value


def _inside(data: memoryview, number: int) -> memoryview:
    """The last value of a field, empty where there is none."""
    return next((_bytes(value) for n, value in reversed(list(_fields(data))) if n == number), memoryview(b""))


def _text(data: memoryview, number: int) -> str:
    text = bytes(_inside(data, number)).decode()
    if not text.isprintable():
        raise ValueError("no text")
    return text


def _port(value: Value) -> Port:
    """Of a ValueInfoProto: its name, and the element type and shape of a tensor."""
    data = _bytes(value)
    tensor = dict(_fields(_inside(_inside(data, 2), 1)))
    sides = None
    if 2 in tensor:
        found = [dict(_fields(_bytes(side))) for n, side in _fields(_bytes(tensor[2])) if n == 1]
        sides = tuple(_side(side) for side in found)
    kind = tensor.get(1, 0)
    return Port(_text(data, 1), TYPES.get(kind) if isinstance(kind, int) else None, sides)


def _side(found: Mapping[int, Value]) -> int | str:
    number = found.get(1)
    if isinstance(number, int):
        return number if 0 < number < 2**31 else ""  # some write -1 for one that is free
    return bytes(_bytes(found.get(2, memoryview(b"")))).decode()
