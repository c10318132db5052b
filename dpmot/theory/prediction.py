"""Predict copying from images alone: what an exact denoiser of N images hands back, at which noise level of the start.

    recovery of a posterior draw, and of the ideal denoiser's flow   (:mod:`dpmot.theory.recovery`)
    information of the population against log N                      (:mod:`dpmot.theory.information`)

No network is needed. A trained network departs from the ideal one: what it does, the audit measures.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpmot import plugins
from dpmot.data import PARTS, _given
from dpmot.data._arrays import Range, RangeWanted
from dpmot.images import to_float
from dpmot.statistics.jackknife import Estimate
from dpmot.theory import information
from dpmot.theory.recovery import Recovery, Stored, recovery
from dpmot.theory.report import Level, Prediction

SIGMAS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
LATENTS = 1000
LOWEST, HIGHEST = 1e-12, 1e12  # levels: beyond them sums of squares and differences to an image have no digits left
LEAST = 20  # latents: a jackknife has so many groups


def predict(
    images: Any,
    sigmas: Sequence[float] = SIGMAS,
    *,
    num_atoms: int | None = None,
    held_out: Any = None,
    num_latents: int = LATENTS,
    seed: int = 0,
    value_range: Range | None = None,
    data_root: Path | str | None = None,
    progress: bool = False,
) -> Prediction:
    """Predict from images alone how often starts x0 + sigma eps of them come back as the image behind them.

    Args:
        images: the N images behind the starts: a path (a folder or zip of images, an npz, npy or safetensors file), an
            array or tensor (N, C, H, W), points (N, d), or a split of a data set by name, as "cifar10:A". A name alone
            is split A.
        sigmas: noise levels of the start, in 1e-12..1e12, in units of images in [-1, 1].
        num_atoms: N, the first so many; None: all.
        held_out: further images of the population, in the same forms. Of a data set by name these are its other
            splits, unless they are given.
        num_latents: n, at least 20.
        seed: of the latents, and of the halves of the population and the fit to one of them.
        value_range: of the values of floats, (-1, 1), (0, 1) or (0, 255); refused where nothing has one.
        data_root: folder of the data sets' files; None: that of the variable DPMOT_DATA.
        progress: show a bar on standard error.

    Raises:
        ValueError: images or numbers of which nothing can be predicted; one line.
        OSError: a file cannot be read.
    """
    levels = _levels(sigmas)
    _whole("num_latents", num_latents, LEAST)
    _whole("seed", seed, 0)
    mixed = held_out is not None  # one of two sources may hold integers
    name, stored, others, notes = _read(images, "images", value_range, data_root, mixed=mixed)
    if held_out is not None:
        _, others, _, more = _read(held_out, "held_out", value_range, data_root, mixed=mixed, like=stored)
        notes = (*notes, *more)
    everything = information.distinct(stored if others is None else torch.cat([stored, others]))
    if num_atoms is not None:
        _whole("num_atoms", num_atoms, 2)
        if num_atoms > len(stored):
            raise ValueError(
                f"num_atoms: {num_atoms} are more than the {len(stored)} images of {name}; give at most these"
            )
        stored = stored[:num_atoms]
    if len(stored) < 2:
        raise ValueError(f"{name}: one image was given, so every sample would be a copy of it; give at least two")
    behind = Stored(_floats(stored))
    if len(behind.shares) < 2:
        told = f"all {len(stored)} images are the same, so every sample would be a copy of it"
        raise ValueError(f"{name}: {told}; give at least two that differ")
    if len(everything) < information.LEAST:
        few = f"{len(everything)} different images are too few"
        told = f"{few} to estimate the population's information; {information.LEAST} do"
        notes, bounds = (*notes, told), [None] * len(levels)
    else:
        bounds = list(information.population(everything, levels, seed=seed))  # type: ignore[arg-type]
    found = recovery(behind, levels, num_latents=num_latents, seed=seed, progress=progress)
    return Prediction(
        name=name,
        shape=tuple(stored.shape[1:]),
        num_images=len(behind),
        num_distinct=len(behind.shares),
        chance=behind.chance,
        log_images=behind.entropy,
        num_latents=num_latents,
        seed=seed,
        num_population=len(everything),
        levels=tuple(_level(one, bound) for one, bound in zip(found, bounds, strict=True)),
        notes=notes,
    )


def _level(found: Recovery, bound: Estimate | None) -> Level:
    return Level(found.sigma, found.posterior, found.ode, found.information, bound)


def _levels(sigmas: Sequence[float]) -> list[float]:
    given = [float(sigma) for sigma in np.atleast_1d(np.asarray(sigmas, dtype=float))]
    wrong = [f"{sigma:g}" for sigma in given if not LOWEST <= sigma <= HIGHEST]
    if wrong or not given:
        told = f"give noise levels above 0, in {LOWEST:g}..{HIGHEST:g}"
        raise ValueError(f"sigmas: {', '.join(wrong) or 'none'}; {told}")
    return sorted(set(given))


def _whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}: {value!r}; give a whole number of at least {least}")


def _read(
    source: Any,
    role: str,
    values: Range | None,
    root: Path | str | None,
    *,
    mixed: bool,
    like: Tensor | None = None,
) -> tuple[str, Tensor, Tensor | None, tuple[str, ...]]:
    """Name, images uint8 (n, C, H, W) or points (n, d), the other splits of a data set, and notes."""
    named = source.partition(":")[0] if isinstance(source, str) and not Path(source).exists() else ""
    if named in plugins.names("data"):
        if values is not None and not mixed:
            raise ValueError(f"{role}: a range is of floats in files; the data set {named} needs none; leave it out")
        return _of_data_set(source, role, root, like)
    if named and named == source and "/" not in source and "." not in source:
        raise ValueError(f"{role}: no file {source}, and the data sets are {', '.join(plugins.names('data'))}")
    shape = None if like is None else tuple(like.shape[1:])
    try:
        given = _given.read(source, shape=shape, values=values, mixed=mixed, name=role)
    except RangeWanted as error:
        how = "value_range=(-1, 1) in Python, --range -1 1 on the command line"
        raise ValueError(f"{error}; for [-1, 1]: {how}") from None
    if values is not None and given.images.ndim == 2:
        raise ValueError(f"{role}: a range is of images, these are points {given.images.shape}; leave it out")
    name = Path(source).name if isinstance(source, str | Path) else role
    return name, torch.from_numpy(np.ascontiguousarray(given.images)), None, given.notes


def _of_data_set(
    source: str, role: str, root: Path | str | None, like: Tensor | None
) -> tuple[str, Tensor, Tensor | None, tuple[str, ...]]:
    name, colon, part = source.partition(":")
    part = part if colon else PARTS[0]
    if part not in PARTS:
        raise ValueError(f"{role}: {source} names no split of {name}; give {name}:A (training), {name}:B or {name}:C")
    data = plugins.find("data", name).load(root=None if root is None else Path(root))
    own, _ = data.part(part)
    if like is not None and own.shape[1:] != tuple(like.shape[1:]):
        raise ValueError(f"{role}: {source} holds images {own.shape[1:]}, the others are {tuple(like.shape[1:])}")
    others = data.images[data.split != part]
    notes = (data.note,) if data.note else ()
    tensors: list[Tensor] = [torch.from_numpy(np.ascontiguousarray(some)) for some in (own, others)]
    return f"{name}:{part}", tensors[0], tensors[1] if len(others) else None, notes


def _floats(images: Tensor) -> Tensor:
    return to_float(images) if images.dtype == torch.uint8 else images.float()
