"""A network in an ONNX file: opened from Python, and evaluated as F(x, condition, labels).

torch and onnxruntime are imported when it is evaluated.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpmot.diffusion.onnx_roles import Roles
from dpmot.graphs import FLOATS, Graph, Port, Session, as_fed, described, read

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from dpmot.diffusion.network import Network

LARGEST = 2**18  # numbers of the images of a call: activations are some hundred times as many
GRAPH, BESIDE = "graph", "external/"  # names of tensors: the file's bytes, and those of files beside it


def onnx_network(
    file: str | Path, *, shape: Sequence[int] | None = None, sha256: str | None = None, **options: Any
) -> "Network":
    """A network in an ONNX file, ready for :func:`dpmot.sample`. It runs on the processor; NFE are counted.

    Args:
        file: ends in .onnx; files of weights that it names lie beside it.
        shape: of an image, (C, H, W), where the graph leaves it free.
        sha256: of the file, 64 hex digits; of several files that of all, one after the other, in their names' order.
        options: of kind onnx (dpmot/diffusion/networks/onnx.py): ``parametrisation`` ("denoiser", "consistency",
            "score", "edm", "epsilon", "v_prediction", "sample", "velocity", "velocity_to_data"), ``conditioning``,
            ``inputs={"x": name, "sigma": name, "label": name}``, ``constants={name: number}``, ``classes``, ...

    Returns:
        The network: its levels in sigma of images in [-1, 1] (``.chain``), its denoiser (``.denoiser(steps)``).

    Raises:
        ValueError: onnxruntime is missing; it is no ONNX file, another one, or not what the options say; or it gives
            NaN, another shape, or two answers to one question.
    """
    from dpmot.diffusion import network, weights
    from dpmot.diffusion.networks import onnx

    path, allowed = Path(file), onnx.Parametrisation.__dataclass_fields__
    if not path.is_file():
        raise ValueError(f"no file {path}")
    if unknown := [name for name in options if name not in allowed]:
        raise ValueError(f"kind onnx has no option {unknown[0]}; it has {', '.join(allowed)}")
    onnx.check(path, options=options, shape=tuple(shape) if shape else None)
    weights.verify(path, sha256)
    if shape is None:
        sides = onnx.Parametrisation(**options).roles(read(path), path).x.shape
        shape = [side for side in (sides or ())[1:] if isinstance(side, int)]
        if sides is None or len(shape) != len(sides) - 1:
            raise ValueError(f"{path} leaves the size of images free: say shape=(C, H, W)")
    card = {"kind": "onnx", "options": options, "shape": list(shape), "unet": {}}
    model = network.build(card, onnx.read(path))
    network.try_out(card, model, path)
    chain = network.chain_of(card)
    return network.Network(card, chain, {None: network.NetworkDenoiser(network.parametrisation(card), model)})


class OnnxNetwork:
    """A graph as the raw network F(x, condition, labels).

    Args:
        tensors: "graph" and "external/<name>", the bytes of the files, uint8 (n,).
        find: what tells the roles of a graph's inputs.
        classes: that its labels may be; 0: it takes none.
        doubled: whether it may give twice the channels, of which the first are F: what follows is a learned variance.
    """

    def __init__(
        self,
        tensors: Mapping[str, "Tensor"],
        find: Callable[[Graph], Roles],
        *,
        classes: int = 0,
        doubled: bool = False,
    ) -> None:
        contents = {name: tensor.cpu().numpy().tobytes() for name, tensor in tensors.items()}
        beside = {name.removeprefix(BESIDE): part for name, part in contents.items() if name.startswith(BESIDE)}
        self.roles = find(described(contents[GRAPH], "the ONNX network"))
        self._session = Session(contents[GRAPH], beside, "the ONNX network")
        self._tensors, self.classes, self._doubled = tensors, classes, doubled
        self._ports = {port.name: port for port in self._session.graph.inputs}

    def state_dict(self) -> dict[str, "Tensor"]:
        """The bytes of its files, as they are stored."""
        return dict(self._tensors)

    def __call__(self, x: "Tensor", condition: "Tensor", labels: "Tensor | None" = None) -> "Tensor":
        """x (B, *S), condition (B,), labels (B,) of a network with classes -> (B, *S), in x's dtype, on its device.

        Raises:
            ValueError: labels are missing, or none are taken; or the graph refuses what it is given.
        """
        import torch

        if (labels is not None) != (self.roles.label is not None):
            told = "needs labels" if labels is None else "takes no labels"
            raise ValueError(f"the ONNX network {told}: its classes are {self.classes}")
        if labels is not None and (labels.min() < 0 or labels.max() >= self.classes):
            raise ValueError(f"labels are 0 to {self.classes - 1}, got {int(labels.min())} to {int(labels.max())}")
        rows = (x, condition) if labels is None else (x, condition, labels)
        result = torch.full_like(x, torch.nan, device="cpu")
        channels = [x.shape[1], 2 * x.shape[1]][: 2 if self._doubled else 1]
        for part, index in self._parts(x, condition):
            found = self._evaluated(*(row[index] for row in rows))[: len(part)]
            if (len(found), *found.shape[2:]) != (len(part), *x.shape[2:]) or found.shape[1] not in channels:
                raise ValueError(f"the ONNX network gives shape {[*found.shape[1:]]} for images of {[*x.shape[1:]]}")
            result[part] = found[:, : x.shape[1]].to(x.dtype)
        return result.to(x.device)

    def _parts(self, x: "Tensor", condition: "Tensor") -> Iterator[tuple["Tensor", "Tensor"]]:
        """Rows that go into one call, and the same filled up by the last one to its size."""
        import torch

        rows = torch.arange(len(x))
        groups = [rows]
        if self.roles.scalar:
            groups = [rows[condition.cpu() == level] for level in condition.cpu().unique()]
        for group in groups:
            size = self.roles.batch or min(len(group), max(1, LARGEST // x[0].numel()))
            for part in group.split(size):
                yield part, torch.cat([part, part[-1:].expand(size - len(part))])

    def _evaluated(self, x: "Tensor", condition: "Tensor", labels: "Tensor | None" = None) -> "Tensor":
        import torch

        found = self.roles
        if found.sigma.kind not in FLOATS:
            condition = condition.round()
        shape = (found.sigma.shape or ()) if not found.scalar else ()
        level = condition[:1].reshape([1] * len(found.sigma.shape or ())) if found.scalar else condition
        level = level.reshape(-1, *[1] * (len(shape) - 1)) if len(shape) > 1 else level
        feeds = {found.x.name: as_fed(x, found.x), found.sigma.name: as_fed(level, found.sigma)}
        if labels is not None and found.label is not None:
            feeds[found.label.name] = as_fed(self._labelled(labels, found.label), found.label)
        feeds |= {name: self._constant(name, value, len(x)) for name, value in found.constants.items()}
        (answer,) = self._session(feeds, [found.output])
        return torch.from_numpy(answer)

    def _labelled(self, labels: "Tensor", port: Port) -> "Tensor":
        """Labels (B,) as the input takes them: as they are, as a column, or one hot."""
        import torch

        width = (port.shape or ())[1:]
        if width and width != (1,):
            return torch.nn.functional.one_hot(labels, self.classes)
        return labels[:, None] if width else labels

    def _constant(self, name: str, value: float, rows: int) -> "np.ndarray[Any, Any]":
        import numpy as np

        port = self._ports[name]
        shape = list(port.shape or ())
        if shape and not isinstance(shape[0], int):
            shape[0] = rows
        return np.full(shape, value, dtype=port.kind)
