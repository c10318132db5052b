"""Your own feature network: an ONNX graph or a TorchScript program, pinned by its sha256.

``own: {weights: FILE, sha256: ..., size: 224}``. Images are resized to ``size`` x ``size`` (0: left as they are), their
pixels 0..255 are mapped to [low, high], then normalised by (x - mean) / std, one number or one a channel. ``output``
and ``logits`` say which outputs are the features (n, d) and, for IS, class logits (n, K): an ONNX output's name, or the
place of a program's, from 0. A network of grey images has ``channels: 1``; others see grey images as RGB.

A TorchScript program is code of whoever wrote it, and runs: give the hash of a file that you trust. An ONNX graph is
arithmetic; graphs with operators of their own are refused. It runs on the processor, through the extra ``onnx``.
"""

import warnings
import zipfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from dpmot import graphs
from dpmot.device import ordinary
from dpmot.features import Features, Offer, loaded_once
from dpmot.features._images import as_images, named, read_once, rgb, seen, sha256_of

SLOW = True
OWN_CLASSES = False
OPTIONS = {
    "weights": "file",
    "sha256": "sha256",
    "size": "int",
    "channels": "int",
    "low": "float",
    "high": "float",
    "mean": "floats",
    "std": "floats",
    "resize": "str",
    "output": "str",
    "logits": "str",
}
RESIZES = ("bilinear", "bicubic")
PROGRAM = "constants.pkl"  # a member of TorchScript's archives and of no other file of torch
Network = Callable[[Tensor], tuple[Tensor, ...]]  # pixels -> (features,) or (features, logits)


def check(offer: Offer) -> None:
    """Refuse a file that is not pinned or another, and options and images that do not fit it."""
    given = dict(offer.given)
    if "weights" not in given:
        raise ValueError("own: the feature own needs `own: {weights: FILE, sha256: ...}`, an ONNX or TorchScript file")
    weights, digest = given["weights"], sha256_of(given["weights"])
    if (pinned := given.get("sha256")) is None:
        raise ValueError(f"own.sha256 is missing: if you trust {weights}, give sha256: {digest}")
    _check_hash(weights, digest, pinned)
    _check_options(**{key: value for key, value in given.items() if key in ("size", "channels", "resize")})
    _scaled(torch.zeros(1, given.get("channels", 3), 1, 1), *_range(given))
    if not _is_program(weights):
        if find_spec(graphs.PACKAGE) is None:
            raise ValueError(f"features: own needs {graphs.PACKAGE}: pip install 'dpmot[{graphs.EXTRA}]'")
        graph = graphs.read(weights)
        _check_whole(graph, weights)
        _outputs(graph, given.get("output", ""), given.get("logits", ""), weights)
        side, sides = given.get("size", 0), (offer.shape or ("?", "?", "?"))[1:]
        _check_input(graph, given.get("channels", 3), (side, side) if side else sides, weights)


def _range(given: dict) -> tuple[float, float, Sequence[float], Sequence[float]]:
    return given.get("low", 0.0), given.get("high", 1.0), given.get("mean", (0.0,)), given.get("std", (1.0,))


def _check_hash(weights: Path, digest: str, pinned: str) -> None:
    if digest != pinned.lower():
        raise ValueError(f"{weights} has sha256 {digest}, own.sha256 says {pinned}: it is another file, or correct it")


def _check_options(*, size: int = 0, channels: int = 3, resize: str = "bilinear") -> None:
    if size < 0 or channels not in (1, 3) or resize not in RESIZES:
        told = f"got size {size}, channels {channels}, resize {resize}"
        raise ValueError(f"own: size is a number of pixels, channels 1 or 3, resize {' or '.join(RESIZES)}; {told}")


def _scaled(pixels: Tensor, low: float, high: float, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pixels 0..255 (n, C, H, W) in [low, high], then (x - mean) / std."""
    if low >= high or not {len(mean), len(std)} <= {1, pixels.shape[1]} or min(std) <= 0:
        told = f"got low {low}, high {high}, mean {[*mean]}, std {[*std]}"
        raise ValueError(f"own: low < high, std > 0, and one mean and std or one a channel are needed; {told}")
    means, stds = (torch.tensor(v, device=pixels.device).float().reshape(1, -1, 1, 1) for v in (mean, std))
    return (low + (high - low) / 255 * pixels - means) / stds


def _is_program(weights: Path) -> bool:
    """Whether a file is TorchScript's."""
    if not zipfile.is_zipfile(weights):
        return False
    with zipfile.ZipFile(weights) as archive:
        if any(name.endswith(f"/{PROGRAM}") for name in archive.namelist()):
            return True
    raise ValueError(f"{weights} holds weights without their network: save a TorchScript program, torch.jit.save")


def _outputs(graph: graphs.Graph, output: str, logits: str, where: object) -> list[graphs.Port]:
    """The outputs of a graph that are features and logits, by name; of one output the features need not be said."""
    ports, shown = {port.name: port for port in graph.outputs}, ", ".join(map(str, graph.outputs))
    if not output and len(ports) > 1:
        raise ValueError(f"own.output: {where} gives {shown}; say which are the features")
    for option, name in (("output", output), ("logits", logits)):
        if name and name not in ports:
            raise ValueError(f"own.{option}: {where} has no output {name!r}; it gives {shown}")
    return [ports[output] if output else graph.outputs[0], *([ports[logits]] if logits else [])]


def _check_input(graph: graphs.Graph, channels: int, sides: Sequence[int | str], where: object) -> graphs.Port:
    """The input, if it takes images (n, C, H, W) of these sides and floats."""
    if len(graph.inputs) != 1 or graph.inputs[0].kind not in graphs.FLOATS:
        shown = ", ".join(map(str, graph.inputs))
        raise ValueError(f"own: {where} takes {shown}; give a network of one input, floats (n, C, H, W)")
    port, wanted = graph.inputs[0], (channels, *sides)
    stated = port.shape[1:] if port.shape else wanted
    pairs = zip(stated, wanted, strict=False)
    if len(stated) != 3 or any(a != b and not (isinstance(a, str) or isinstance(b, str)) for a, b in pairs):
        images = "{} x {} x {}".format(*wanted)
        raise ValueError(f"own: {where} takes {port}, not images of {images}: correct own.size and own.channels")
    return port


def _check_whole(graph: graphs.Graph, weights: Path) -> None:
    if graph.external:
        told = f"keeps weights in {graph.external[0]}, which its sha256 says nothing of: export it as one file"
        raise ValueError(f"own: {weights} {told}")


def _of_graph(content: bytes, weights: Path, output: str, logits: str) -> Network:
    _check_whole(graphs.described(content, weights), weights)
    session = graphs.Session(content, {}, weights)
    wanted, port = _outputs(session.graph, output, logits, weights), session.graph.inputs[0]
    batch = port.shape[0] if port.shape and isinstance(port.shape[0], int) else None

    def network(pixels: Tensor) -> tuple[Tensor, ...]:
        _check_input(session.graph, pixels.shape[1], pixels.shape[2:], weights)
        parts = []
        for part in pixels.split(batch or len(pixels)):
            short = (batch or len(part)) - len(part)
            whole = torch.cat([part, part[-1:].expand(short, -1, -1, -1)]) if short else part
            found = session({port.name: graphs.as_fed(whole, port)}, wanted)
            parts.append([torch.from_numpy(values[: len(part)]).to(pixels) for values in found])
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    return network


def _of_program(content: bytes, weights: Path, output: str, logits: str) -> Network:
    places = [name or "0" for name in (output, *([logits] if logits else []))]
    if wrong := [place for place in places if not place.isdigit()]:
        raise ValueError(f"own: an output of a TorchScript program is a place, 0, 1, ...; got {wrong[0]!r}")
    print(f"own: {weights} is a TorchScript program: its code runs here, as its sha256 allows", flush=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the format, which users have
            module = torch.jit.load(BytesIO(content), map_location="cpu").eval()
    except Exception as error:  # of whatever is wrong with it
        raise ValueError(f"{weights} is no TorchScript program that torch can load: {_line(error)}") from None

    def network(pixels: Tensor) -> tuple[Tensor, ...]:
        with torch.jit.optimized_execution(False):  # or the third call differs from the first in its last bits
            try:
                found = module.to(pixels.device)(pixels)
            except Exception as error:  # of whoever wrote it
                raise ValueError(f"own: {weights} fails on images {tuple(pixels.shape)}: {_line(error)}") from None
        found = (found,) if isinstance(found, Tensor) else found
        if not isinstance(found, tuple | list) or not all(isinstance(one, Tensor) for one in found):
            raise ValueError(f"own: {weights} gives {type(found).__name__}; a tensor or a tuple of them is needed")
        if max(map(int, places)) >= len(found):
            raise ValueError(f"own: {weights} gives {len(found)} outputs, whose places are 0 to {len(found) - 1}")
        return tuple(found[int(place)].float() for place in places)

    return network


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]


@loaded_once
@ordinary(grad=False)
@torch.random.fork_rng(devices=[])
def load(weights: Path, sha256: str, output: str = "", logits: str = "") -> Network:
    """The network of a file whose hash is the one that it should have.

    Raises:
        ValueError: another hash, or no network that can be run.
    """
    content, digest = read_once(weights)
    _check_hash(weights, digest, sha256)
    return (_of_program if _is_program(weights) else _of_graph)(content, weights, output, logits)


@ordinary(grad=False)
def extract(
    images: Tensor,
    *,
    weights: Path,
    sha256: str,
    size: int = 0,
    channels: int = 3,
    low: float = 0.0,
    high: float = 1.0,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    resize: str = "bilinear",
    output: str = "",
    logits: str = "",
    tile: int = 32,
) -> Features:
    """Features (n, d), and softmax (n, K) of ``logits``, of images prepared as the options say.

    Raises:
        ValueError: another file, images that it does not take, or what it gives are no features.
    """
    _check_options(size=size, channels=channels, resize=resize)
    images = as_images(images, "own")
    if channels == 1 and images.shape[1] == 3:
        raise ValueError("own: a network of grey images (channels: 1) was given colour images")
    images = images if channels == 1 else rgb(images, "own")
    network = load(Path(weights), sha256, output, logits)

    def asked(part: Tensor) -> tuple[Tensor, ...]:
        pixels, sides = part.float(), (size, size)
        if size and part.shape[2:] != sides:
            smaller = max(part.shape[2:]) > size
            pixels = F.interpolate(pixels, sides, mode=resize, antialias=smaller).clamp(0, 255)
        return tuple(_rows(one, len(part), weights) for one in network(_scaled(pixels, low, high, mean, std)))

    first = images[:1].expand(2, -1, -1, -1)
    if not all(torch.equal(*pair) for pair in zip(asked(first), asked(first), strict=True)):
        raise ValueError(f"own: {weights} gives two answers to one question: it draws random numbers, or NaN")
    return seen(named("own", sha256.lower(), ""), asked, images, tile)


def _rows(values: Tensor, number: int, weights: Path) -> Tensor:
    """One row an image: (n, d), or (n, d, 1, 1)."""
    if values.dim() == 4 and values.shape[2:] == (1, 1):
        values = values.flatten(1)
    if values.dim() != 2 or len(values) != number:
        told = f"gives {list(values.shape)} for {number} images"
        raise ValueError(f"own: {weights} {told}; features are (n, d): pool them, or choose another output")
    return values
