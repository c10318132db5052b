"""A small convolutional classifier: its penultimate layer is the feature space, its softmax the probabilities.

Trained on data that neither the generative networks nor the reference see (split B), so that no metric favours
images the classifier has learnt by heart. Calibration matters for the mode-mixture ratio and is recorded:
expected calibration error, ECE = sum_b |B_b|/n |accuracy(B_b) - confidence(B_b)| (Guo et al. 2017, eq. 3).
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR
from tqdm import tqdm

from dpmot import seeds
from dpmot.device import ordinary
from dpmot.features import Features, Offer
from dpmot.features._architecture import METADATA_KEY, architecture
from dpmot.features._calibration import Calibration, calibration
from dpmot.features._images import as_images, seen
from dpmot.images import to_float
from dpmot.runtime import seals
from dpmot.runtime.files import atomic
from dpmot.runtime.seals import Checkpoint

TRAINED = True
NUM_FEATURES = 64
WIDTH = 32
LARGEST = 64
CHECKPOINT_SECONDS = 20


class Classifier(nn.Module):
    """Images in [-1, 1] -> (features, logits).

    One 3x3 convolution at full size, then stride-2 convolutions down to at most 4 pixels a side, then two linear
    layers. 43,114 parameters for 8x8 grey and ten classes, 62,250 for 32x32 RGB. Images of twice LARGEST pixels a side
    or more are averaged over squares first.

    Args:
        num_classes: K >= 2.
        shape: (C, H, W) of an image.
    """

    def __init__(self, num_classes: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.num_classes, self.shape = num_classes, tuple(shape)
        channels, height, width = shape
        square = max(1, max(height, width) // LARGEST)
        window = min(square, height), min(square, width)
        layers = [nn.AvgPool2d(window), *_block(channels, stride=1)] if square > 1 else _block(channels, stride=1)
        height, width = height // window[0], width // window[1]
        while max(height, width) > 4:
            layers += _block(WIDTH, stride=2)
            height, width = (height + 1) // 2, (width + 1) // 2
        self.convolutions = nn.Sequential(*layers, nn.Flatten())
        self.penultimate = nn.Linear(WIDTH * height * width, NUM_FEATURES)
        self.head = nn.Linear(NUM_FEATURES, num_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """float (B, C, H, W) -> features (B, 64) >= 0 and logits (B, K)."""
        features = F.relu(self.penultimate(self.convolutions(x)))
        return features, self.head(features)


@ordinary(grad=True)
def train(
    images: Tensor,
    labels: Tensor,
    *,
    seed: int,
    num_classes: int | None = None,
    epochs: int = 60,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    shift: int = 1,
    noise: float = 0.1,
    progress: bool = False,
    checkpoint: Checkpoint | None = None,
) -> Classifier:
    """Fit a classifier: Adam, one-cycle learning rate, random shifts and pixel noise.

    The result depends on the arguments and on torch's thread count alone, interrupted or not.

    Args:
        images: uint8 (n, C, H, W).
        labels: integers (n,) in 0..K-1, some of each.
        seed: training seed.
        num_classes: K of the data set; None: the largest label plus one.
        shift: largest random translation in pixels.
        noise: standard deviation of the pixel noise, in units of [-1, 1].
        progress: show a bar.
        checkpoint: resumption state, written between epochs, every 20 s at most.

    Raises:
        ValueError: images and labels that do not fit together, fewer than two classes, or one without an image.
    """
    images, labels = as_images(images, "classifier"), torch.as_tensor(labels)
    fits = labels.shape == (len(images),) and not (labels.is_floating_point() or labels.is_complex())
    if not fits or labels.min() < 0 or labels.max() < 1:
        told = f"{len(images)} images and {labels.dtype} labels {tuple(labels.shape)}"
        raise ValueError(f"Got {told}; need one each, integers of two or more classes")
    labels = labels.long()
    num_classes = num_classes or int(labels.max()) + 1
    _check_classes(labels, num_classes)
    if missing := sorted({*range(num_classes)} - {*labels.tolist()}):
        named = f"class {missing[0]} of {num_classes}"
        raise ValueError(f"The classifier would not know {named}: none of its {len(images)} training images is of it")
    channels, height, width = images.shape[1:]
    with torch.random.fork_rng(devices=[]):  # torch initialises from its global stream
        torch.manual_seed(int(seeds.generator(seed, "classifier", "weights").integers(2**63)))
        classifier = Classifier(num_classes, (channels, height, width)).to(images.device).train()
    batches = -(-len(images) // batch_size)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=learning_rate, weight_decay=1e-4)
    first, saved = _restore(checkpoint, classifier, optimizer), time.monotonic()
    schedule = OneCycleLR(optimizer, learning_rate, total_steps=epochs * batches, last_epoch=first * batches - 1)
    x0 = to_float(images)
    left = range(first, epochs)
    for epoch in tqdm(left, "classifier", epochs, initial=first, unit="epoch", mininterval=5, disable=not progress):
        random = seeds.generator(seed, "classifier", epoch)
        for batch in np.array_split(random.permutation(len(images)), batches):
            rows = torch.from_numpy(batch)
            _, logits = classifier(_augmented(x0[rows], shift=shift, noise=noise, random=random))
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(logits, labels[rows].to(logits.device))
            if not torch.isfinite(loss):
                raise ArithmeticError(f"classifier: the loss is {loss.item()} in epoch {epoch}; lower the rate")
            loss.backward()
            optimizer.step()
            schedule.step()
        if checkpoint is not None and time.monotonic() - saved >= CHECKPOINT_SECONDS:
            _store(checkpoint, epoch + 1, classifier, optimizer)
            saved = time.monotonic()
    return classifier.eval()


def _check_classes(labels: Tensor, num_classes: int) -> None:
    if len(labels) and labels.max() >= num_classes:
        told = f"class {int(labels.max())} of the data is none of its {num_classes}"
        raise ValueError(f"The classifier does not know all classes: {told}; train another")


def _store(checkpoint: Checkpoint, epoch: int, classifier: Classifier, optimizer: Optimizer) -> None:
    adam = optimizer.state_dict()
    tensors = {f"model.{name}": tensor for name, tensor in classifier.state_dict().items()}
    tensors |= {f"adam.{i}.{name}": tensor for i, state in adam["state"].items() for name, tensor in state.items()}
    checkpoint.save(tensors, {"epoch": epoch, "groups": adam["param_groups"]})


def _restore(checkpoint: Checkpoint | None, classifier: Classifier, optimizer: Optimizer) -> int:
    """The epoch to go on with."""
    stored = checkpoint.load() if checkpoint is not None else None
    if stored is None:
        return 0
    tensors, facts = stored
    classifier.load_state_dict({name: tensors[f"model.{name}"] for name in classifier.state_dict()})
    numbers, names = range(len([*classifier.parameters()])), ("step", "exp_avg", "exp_avg_sq")
    state = {i: {name: tensors[f"adam.{i}.{name}"] for name in names} for i in numbers}
    optimizer.load_state_dict({"state": state, "param_groups": facts["groups"]})
    return facts["epoch"]


@ordinary(grad=False)
def evaluate(classifier: Classifier, images: Tensor, labels: Tensor) -> Calibration:
    """Accuracy and expected calibration error on images (n, C, H, W) with integer labels (n,).

    Raises:
        ValueError: images of another shape, or a label that is no class of the classifier's.
    """
    _check_classes(torch.as_tensor(labels), classifier.num_classes)
    return calibration(np.asarray(_seen(classifier, images).probabilities), np.asarray(labels))


def save(path: Path, classifier: Classifier, metadata: Mapping[str, str]) -> None:
    """Write weights, architecture and ``metadata`` (strings, e.g. accuracy and ece) to one safetensors file."""
    stated = {"num_classes": classifier.num_classes, "shape": list(classifier.shape)}
    # One sorted JSON entry: the file format does not keep an order of entries, and equal runs must give equal bytes.
    entry = json.dumps({**metadata, "architecture": json.dumps(stated)}, sort_keys=True)
    with atomic(path) as temporary:
        seals.save(temporary, classifier.state_dict(), {METADATA_KEY: entry})


@ordinary(grad=False)
@torch.random.fork_rng(devices=[])  # a network is drawn before its weights are read
def load(path: Path) -> tuple[Classifier, dict[str, str]]:
    """Read what ``save`` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another kind of file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No classifier weights at {path}: train the classifier first or correct the path")
    try:
        tensors, texts = seals.load(path)
        classifier, metadata = Classifier(*architecture(texts)), json.loads(texts[METADATA_KEY])
        classifier.load_state_dict(tensors)
    except (SafetensorError, TypeError, KeyError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} holds no classifier of this version: train the classifier again") from error
    return classifier.eval(), metadata


def options(offer: Offer) -> dict[str, Path | None]:
    """The classifier that the experiment has trained."""
    return {"weights": offer.classifier}


@ordinary(grad=False)
def extract(images: Tensor, *, weights: Path) -> Features:
    """Penultimate layer (n, 64) and softmax (n, K), of images of the shape that the classifier was trained on."""
    return _seen(load(weights)[0], images)


def _seen(classifier: Classifier, images: Tensor) -> Features:
    images = as_images(images, "classifier")
    if tuple(images.shape[1:]) != classifier.shape:
        raise ValueError(f"The classifier was trained on images {classifier.shape}, got {tuple(images.shape[1:])}")
    return seen("classifier", classifier.to(images.device).eval(), to_float(images))


def _block(channels: int, *, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, WIDTH, 3, stride=stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(WIDTH), nn.ReLU()]


def _augmented(x: Tensor, *, shift: int, noise: float, random: np.random.Generator) -> Tensor:
    """Shift each image by its own (dy, dx) in -shift..shift, edges repeated, and add N(0, noise^2)."""
    height, width = x.shape[2:]
    dy, dx = torch.from_numpy(random.integers(0, 2 * shift + 1, (2, len(x)))).to(x.device)
    rows = (dy[:, None] + torch.arange(height, device=x.device))[:, None, :, None]
    columns = (dx[:, None] + torch.arange(width, device=x.device))[:, None, None, :]
    image = torch.arange(len(x), device=x.device)[:, None, None, None]
    channel = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
    shifted = F.pad(x, (shift,) * 4, mode="replicate")[image, channel, rows, columns]
    return shifted + noise * torch.from_numpy(random.standard_normal(x.shape, dtype=np.float32)).to(x.device)
