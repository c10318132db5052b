"""Solve the transport map of an expressway, or read it where it was solved before."""

import math
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from dpmot.device import ordinary
from dpmot.expressways import Asked, Expressway, Images, atoms_of, told
from dpmot.runtime.closure import code_digest
from dpmot.runtime.resume import ResumePoint
from dpmot.runtime.session import Checkpoint, Session
from dpmot.runtime.stopwatch import Stopwatch
from dpmot.transport import NoisyImages, Report, SemiDiscreteProblem, SemiDiscreteSolver
from dpmot.transport.given import between, real, whole
from dpmot.transport.watching import watching


@ordinary()
def expressway(
    images: Images,
    sigma: float,
    *,
    noises: int = 1,
    labels: Tensor | np.ndarray | None = None,
    chi2: float = 0.01,
    source_measure: str = "normal",
    atom_seed: int = 0,
    fit_seed: int = 0,
    max_noises: int | None = None,
    path: Path | str | None = None,
    progress: bool = True,
    callback: Callable[[Report], None] | None = None,
    pixels: bool = True,
    device: torch.device | str | None = None,
) -> Expressway:
    """Solve DPM-OT's map from noise to the latents x0 + sigma eps of your images, for any pretrained denoiser.

    A network that begins near the published levels (sigma 0.03 to 0.2) hands back the training image behind its start;
    ``Expressway.source`` and ``dpmot.audit`` show it. No network is needed here, one map serves all.

    Args:
        images: uint8 (n, C, H, W), or floats in [-1, 1]; also points (n, d), and a file ``MappedImages``.
        sigma: noise level of the starts, in the units of the images; above 0.
        noises: K, latents an image, each with noise of its own.
        labels: class of each image, integers (n,). The map is one for all classes: a start has the class of the image
            behind it, so classes come in the shares of your images. One map per class, as ``per_class`` has it in
            experiments, is one call per class, with its images alone: draw the class in the share of its images.
        chi2: the error to reach, sum_i (p_i - w_i)^2 / w_i of the shares of noise; 0.05 is enough for samples.
        source_measure: "normal", noise of N(0, I), or "uniform", of U[0, 1]^d, as in the authors' code.
        atom_seed: of the latents' noise.
        fit_seed: of the noise that the fit and the certificate use.
        max_noises: rows of noise that the fit may spend; None: 2048 a latent.
        path: a file to which the map is saved, and from which it is read where it was solved before. What a fit that is
            interrupted has reached is kept beside it, and the next call goes on from there.
        progress: show a bar, on a terminal.
        callback: told a :class:`dpmot.transport.Report` after every look of the fit.
        pixels: False for latents of a VAE and other numbers that lie in no range and have any shape.
        device: where scores are computed; None: where the images are. Images and starts stay where they are.

    Returns:
        The map; ``converged`` says whether it reached ``chi2``.

    Raises:
        ValueError: images, labels or a number that make no map, or a ``path`` that holds a map of something else; one
            line says what was given and what is allowed.

    Warns:
        OddRange: pixels outside [-1, 1], or all in [0, 1].
        NotConverged: the budget was spent before the error was reached.
    """
    if not between(sigma, 0, math.inf):
        raise ValueError(f"sigma = {sigma}; give a noise level above 0, in the units of the images")
    if not between(chi2, 0, math.inf):
        raise ValueError(f"chi2 = {chi2}; give an error above 0, such as 0.01")
    asked = Asked(
        sigma=float(sigma),
        noises=whole(noises, "noises", 1),
        atom_seed=whole(atom_seed, "atom_seed", 0),
        source_measure=source_measure,
        fit_seed=whole(fit_seed, "fit_seed"),
        chi2=float(chi2),
        max_noises=None if max_noises is None else whole(max_noises, "max_noises", 1),
        pixels=bool(pixels),
    )
    atoms = atoms_of(images, asked, device)
    if len(atoms.images) < 2:
        raise ValueError("One image was given, so every sample would be a copy of it; give at least two")
    classes = _labels(labels, len(atoms.images))
    if path is None:
        return _solved(atoms, classes, asked, progress=progress, callback=callback)
    if Path(path).exists():
        found = Expressway.load(path, images, device=device)
        _check_same(path, found, classes, asked)
        return found
    identity = {"atoms": atoms.digest(), "asked": asdict(asked), "code": code_digest(["dpmot.transport"])}
    kept = Session(Stopwatch("expressway"), ResumePoint(Path(f"{path}.fit"), identity))
    try:
        way = _solved(atoms, classes, asked, progress=progress, callback=callback, checkpoint=kept.checkpoint("fit"))
        way.save(path)
        kept.resume.finish()
    finally:
        kept.resume.close()
    return way


def _labels(labels: Tensor | np.ndarray | None, number: int) -> Tensor | None:
    if labels is None:
        return None
    given = real(labels, "Labels")
    if given.is_floating_point() or given.shape != (number,):
        kind = f"{given.dtype} {tuple(given.shape)}"
        raise ValueError(f"Labels are {kind}; give whole numbers, one for each of the {number} images")
    if int(given.min()) < 0:
        raise ValueError(f"Labels go down to {int(given.min())}; classes are 0, 1, ...")
    return given.to("cpu", torch.int64, copy=True)


def _solved(
    atoms: NoisyImages,
    labels: Tensor | None,
    asked: Asked,
    *,
    progress: bool,
    callback: Callable[[Report], None] | None,
    checkpoint: Checkpoint | None = None,
) -> Expressway:
    solver = SemiDiscreteSolver(chi2=asked.chi2, max_noises=asked.max_noises)
    problem = SemiDiscreteProblem(atoms, source_measure=asked.source_measure)
    before = checkpoint.load() if checkpoint else None
    with tqdm(desc="expressway", bar_format="{desc}: {elapsed}{postfix}", disable=None if progress else True) as bar:
        watch = watching(bar, asked.chi2, checkpoint=checkpoint, callback=callback)
        solution = solver(problem, seed=asked.fit_seed, callback=watch, resume=before and before[0])
    return told(Expressway(atoms, solution, labels, asked))


def _check_same(path: Path | str, found: Expressway, labels: Tensor | None, asked: Asked) -> None:
    """Refuse a map that was solved for something else than is asked for."""
    pairs = [(field.name, getattr(found.asked, field.name), getattr(asked, field.name)) for field in fields(Asked)]
    other = [f"{name} {before}, not {now}" for name, before, now in pairs if before != now]
    if not torch.equal(*(torch.empty(0) if some is None else some for some in (found.labels, labels))):
        other.append("other labels")
    if other:
        do = "delete it, give another path, or read it by Expressway.load"
        raise ValueError(f"{path} holds a map of {'; '.join(other)}: {do}")
