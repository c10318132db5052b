"""Atoms as a recipe: y_i = scale x0_(i mod n) + sigma eps_i, computed whenever they are asked for.

What is stored are the n images as uint8, two numbers and a seed: a quarter of the atoms as floats, and the same bytes
for every number K of noises an image (N = K n; K -> infinity is a fresh noise for every sample: start `fresh_noise`).

eps_i comes from the stream (seed, i, "atoms") of :mod:`dpmot.seeds`: a Philox counter keyed by the atom, so a row is
the same bits in every block, process and thread count, and on every device. Rows are always drawn by the processor's
cores, all that torch may use: the normals are numpy's ziggurat, whose rejections a GPU would have to replay in order.
"""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dpmot import seeds
from dpmot.device import ordinary
from dpmot.images import to_float
from dpmot.transport.given import between, whole

Index = Sequence[int] | Tensor
NUMBERS = 1 << 18  # drawn by one thread at a time: a few milliseconds


class MappedImages:
    """uint8 images (n, *S) in a .npy file that may be larger than memory.

    Each access maps the file, copies its images and closes the map: pages of an open map count as memory used.

    Args:
        path: the file.

    Raises:
        ValueError: no array of uint8 images.
        FileNotFoundError: no such file.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        array = self._map()
        if array.dtype != self.dtype or array.ndim < 2 or 0 in array.shape:
            raise ValueError(f"{path} holds {array.dtype} {array.shape}; give uint8 images (n, *S)")
        self.shape = array.shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: np.ndarray) -> np.ndarray:
        return np.array(self._map()[index])

    def _map(self) -> np.ndarray:
        try:
            return np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{self.path} is no .npy file of uint8 images: {error}") from None


@dataclass(frozen=True, eq=False)
class NoisyImages:
    """N = K n noisy images as `Atoms`.

    Args:
        images: uint8 (n, *S), taken to [-1, 1], or float32 points (n, *S), taken as they are: a tensor, an array or
            `MappedImages`.
        sigma: noise level, >= 0.
        seed: of the noises, >= 0.
        scale: of the images; sqrt(abar), with sigma = sqrt(1 - abar), gives the latents of a VP chain.
        noises_per_image: K; atom i is noise i div n of image i mod n, so the first n atoms are those of K = 1.
        device: where rows are handed out.

    Raises:
        ValueError: images of another type or shape, a number out of range.
    """

    images: Tensor | np.ndarray | MappedImages
    sigma: float
    seed: int
    scale: float = 1.0
    noises_per_image: int = 1
    device: torch.device | str = "cpu"

    def __post_init__(self) -> None:
        if not isinstance(self.images, Tensor | np.ndarray | MappedImages):
            raise ValueError(f"Images are a {type(self.images).__name__}; give uint8 or float32 (n, *S), n >= 1")
        images = self.images.detach().cpu().numpy() if isinstance(self.images, Tensor) else self.images
        if images.dtype not in (np.uint8, np.float32) or len(images.shape) < 2 or 0 in images.shape:
            raise ValueError(f"Images are {images.dtype} {tuple(images.shape)}; give uint8 or float32 (n, *S), n >= 1")
        if not (between(self.sigma, -1e-300, float("inf")) and between(self.scale, 0, float("inf"))):
            raise ValueError(f"sigma = {self.sigma}, scale = {self.scale}; give finite numbers, sigma >= 0, scale > 0")
        whole(self.seed, "seed", 0)
        try:
            torch.device(self.device)
        except RuntimeError:
            raise ValueError(f'device = "{self.device}" is none of torch\'s; give "cpu" or "cuda"') from None
        most = seeds.MAX_SAMPLES // len(images)
        if not (hasattr(self.noises_per_image, "__index__") and 1 <= self.noises_per_image <= most):
            raise ValueError(f"noises_per_image = {self.noises_per_image}; give 1 to {most}")
        object.__setattr__(self, "images", images)

    @property
    def shape(self) -> tuple[int, ...]:
        """S, of one image."""
        return tuple(self.images.shape[1:])

    @property
    def dim(self) -> int:
        """d, the numbers of one image."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """Bytes of the images, in memory or in their file; the rest of the recipe is a handful of numbers."""
        return int(np.prod(self.images.shape)) * self.images.dtype.itemsize

    def digest(self) -> str:
        """sha256 of the recipe: of the images and the numbers, wherever the rows are handed out."""
        numbers = float(self.sigma), int(self.seed), float(self.scale), int(self.noises_per_image)
        total = hashlib.sha256(f"{self.images.dtype} {tuple(self.images.shape)} {numbers}".encode())
        step = max(1, NUMBERS // self.dim)
        for i in range(0, len(self.images), step):
            part = self.images[np.arange(i, min(i + step, len(self.images)))]
            total.update(np.ascontiguousarray(part).data)
        return total.hexdigest()

    def __len__(self) -> int:
        return len(self.images) * self.noises_per_image

    def __getitem__(self, index: Index) -> Tensor:
        """The atoms of these numbers as images: float32 (B, *S)."""
        return self._gathered(index, self._noisy)

    def block(self, i: int, j: int) -> Tensor:
        """Atoms i, ..., j-1: float32 (j-i, d)."""
        return self[range(i, j)].flatten(1)

    def rows(self, index: Index) -> Tensor:
        """The atoms of these numbers: float32 (B, d)."""
        return self[index].flatten(1)

    def clean(self, index: Index) -> Tensor:
        """scale x0 of these atoms: float32 (B, *S)."""
        return self._gathered(index, self._clean)

    def noise(self, index: Index) -> Tensor:
        """eps of these atoms: float32 (B, *S)."""
        return self._gathered(index, self._noise)

    @ordinary()
    def _gathered(self, index: Index, draw: Callable[[np.ndarray], Tensor]) -> Tensor:
        numbers = np.asarray(index.cpu() if isinstance(index, Tensor) else index)
        if len(numbers) and numbers.dtype.kind not in "iu":
            raise IndexError(f"The numbers of atoms are {numbers.dtype}; give whole numbers")
        numbers = numbers.astype(np.int64)
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(self):
            told = f"atoms {numbers.min()}..{numbers.max()} were asked for; there are 0..{len(self) - 1}"
            raise IndexError(told)
        step = max(1, NUMBERS // self.dim)
        starts, out = range(0, len(numbers), step), torch.empty(len(index), *self.shape)

        def fill(k: int) -> None:
            out[k : k + step] = draw(numbers[k : k + step])

        workers = min(torch.get_num_threads(), len(starts))
        if workers < 2:
            for k in starts:
                fill(k)
        else:
            with ThreadPoolExecutor(workers) as pool:
                list(pool.map(fill, starts))
        return out.to(self.device)

    def _clean(self, index: np.ndarray) -> Tensor:
        images = torch.as_tensor(self.images[index % len(self.images)])
        images = to_float(images) if images.dtype == torch.uint8 else images
        return images if self.scale == 1 else images * self.scale

    def _noise(self, index: np.ndarray) -> Tensor:
        return seeds.normal([seeds.MAX_SAMPLES * self.seed + i for i in index.tolist()], self.shape, "atoms")

    def _noisy(self, index: np.ndarray) -> Tensor:
        if self.sigma == 0:
            return self._clean(index)
        return self._noise(index).mul_(self.sigma).add_(self._clean(index))
