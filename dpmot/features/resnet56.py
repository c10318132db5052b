"""ResNet-56 for CIFAR-10 (He et al. 2016, section 4.2): 3 stages of 9 basic blocks, 16, 32, 64 channels.

Shortcuts are of option A: where a stage halves the image, the identity is subsampled and padded with zero
channels, half before and half after, so it has no parameters. Features are the 64 pooled channels.
Input: RGB / 255, normalised with the ImageNet mean and standard deviation. The published weights (EXPECTED, below the
data root) were trained on CIFAR-10's training images, all of them: what it says of these is no floor for others.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpmot.data import data_root
from dpmot.device import ordinary
from dpmot.features import Features, Offer, loaded_once
from dpmot.features._images import as_images, named, read_once, seen, sha256_of, tensors_of

SLOW = True
DISTINCT = True  # 4 ms an image, 74 numbers
CHANNELS = (3,)
SIDES = (32, 32)
EXPECTED = ("cifar10-resnet56/resnet56-4bfd9763.th",)  # with the first digits of SHA256
SHA256 = "4bfd97631478d6b638d2764fd2baff3edb1d7d82252d54439343b6596b9b5367"
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
BLOCKS = 9


class Block(nn.Module):
    """relu(conv-bn-relu-conv-bn(x) + shortcut(x)), (B, c_in, H, W) -> (B, c_out, H/stride, W/stride)."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.stride, self.new_channels = stride, c_out - c_in

    def forward(self, x: Tensor) -> Tensor:
        half = self.new_channels // 2
        shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + shortcut)


class ResNet56(nn.Module):
    """Normalised images (B, 3, 32, 32) -> pooled features (B, 64) and logits (B, 10)."""

    sha256 = ""  # of the file of its weights

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(Block(c_in, c_out, stride), *(Block(c_out, c_out, 1) for _ in range(BLOCKS - 1)))
            for c_in, c_out, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2))
        )
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.bn1(self.conv1(x)))
        features = self.layer3(self.layer2(self.layer1(x))).mean((2, 3))
        return features, self.linear(features)


@loaded_once
def published(root: Path | str | None = None) -> Path:
    """The published weights below the data root.

    Raises:
        ValueError: no data root is given, or the file is another one or damaged.
        FileNotFoundError: no such file.
    """
    path = data_root(root, files=EXPECTED) / EXPECTED[0]
    if not path.is_file():
        raise FileNotFoundError(f"No ResNet-56 weights at {path}: download them, or leave resnet56 out of `features:`")
    if (found := sha256_of(path)) != SHA256:
        raise ValueError(f"{path}: sha256 is {found}, the published one {SHA256}: damaged; download it again")
    return path


def options(offer: Offer) -> dict[str, Path]:
    """The published weights; see :func:`published`."""
    return {"weights": published(offer.root)}


@loaded_once
@ordinary(grad=False)
@torch.random.fork_rng(devices=[])  # a network is drawn before its weights are read
def load(weights: Path) -> ResNet56:
    """The network with the weights of a file: a state dict, or a dict with one under "state_dict".

    Raises:
        FileNotFoundError: no such file.
        ValueError: tensors that do not fit.
    """
    if not Path(weights).is_file():
        raise FileNotFoundError(f"No ResNet-56 weights at {weights}: download them or correct the path")
    content, sha256 = read_once(weights)
    network, tensors = ResNet56(), tensors_of(Path(weights), content)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(
            f"{weights} does not hold the weights of a CIFAR-10 ResNet-56 with option-A shortcuts"
        ) from error
    network.sha256 = sha256
    return network.eval()


@ordinary(grad=False)
def extract(images: Tensor, *, weights: Path) -> Features:
    """Pooled features (n, 64) and softmax (n, 10) of colour images, 32x32 as trained."""
    images = as_images(images, "resnet56")
    mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (MEAN, STD))
    network = load(Path(weights)).to(images.device)
    return seen(named("resnet56", network.sha256, SHA256), lambda part: network((part / 255 - mean) / std), images)
