"""Solutions on disk: heights and the evidence for them in one sealed safetensors file, without the atoms.

The file names its atoms by a hash, so that heights are never put to others. Nothing is unpickled, and everything comes
back to the bit.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dpmot.device import ordinary
from dpmot.runtime import seals
from dpmot.runtime.files import atomic
from dpmot.transport.atoms import Atoms, as_atoms, blocks
from dpmot.transport.certificate import Certificate
from dpmot.transport.potential import BrenierPotential

if TYPE_CHECKING:
    from dpmot.transport.solver import TransportSolution

KIND, EXPRESSWAY = "transport solution", "expressway"  # by which files are sealed
READERS = {KIND: "read it by TransportSolution.load", EXPRESSWAY: "read it by Expressway.load"}
FACTS = ("noises", "seconds", "converged", "reason", "duplicates")
FORM = 1  # of the file


class OtherAtoms(ValueError):
    """A solution of other atoms than those given."""


@ordinary()
def save(
    path: Path | str,
    solution: "TransportSolution",
    texts: Mapping[str, str],
    others: Mapping[str, Tensor],
    kind: str = KIND,
) -> None:
    """Write a solution, further texts and other tensors; ``kind`` is what the file must be asked for by.

    Raises:
        OSError: the file cannot be written.
    """
    potential = solution.potential
    tensors = {**others, "heights": potential.heights, "history": torch.tensor(solution.history, dtype=torch.float64)}
    masses = potential.problem.masses
    if bool((masses != masses[0]).any()):
        tensors["masses"] = masses
    facts: dict[str, Any] = {name: getattr(solution, name) for name in FACTS}
    facts |= {"certificate": asdict(solution.certificate), "source_measure": potential.problem.source_measure}
    facts |= {"memory": potential.memory, "atoms": digest(potential.atoms), "form": FORM}
    with atomic(Path(path)) as temporary:
        seals.save(temporary, tensors, {kind: json.dumps(facts), **texts}, name=kind)


@ordinary()
def load(path: Path | str, kind: str = KIND) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, str]]:
    """Tensors, facts of the solution and further texts of a file that :func:`save` wrote.

    Raises:
        FileNotFoundError: no such file.
        Damaged: the file is not whole.
        ValueError: it is of another kind, or of another version's form.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"No file {path}: save a solution there, or correct the path")
    tensors, texts = seals.load(Path(path))
    if kind not in texts:
        other = next((f"written as {of}: {how}" for of, how in READERS.items() if of in texts), "something else")
        raise ValueError(f"{path} holds no {kind}; it is {other}")
    facts = json.loads(texts.pop(kind))
    if facts["form"] != FORM:
        raise ValueError(f"{path} was written by another version of dpmot, in form {facts['form']}: solve again")
    return tensors, facts, texts


def restored(
    path: Path | str, atoms: Atoms | Tensor | np.ndarray, tensors: Mapping[str, Tensor], facts: Mapping
) -> dict[str, Any]:
    """The fields of a solution, from what :func:`load` gives.

    Raises:
        OtherAtoms: it was solved for others than these.
    """
    atoms = as_atoms(atoms)
    if digest(atoms) != facts["atoms"]:
        given = f"{len(atoms)} atoms of {atoms.dim} dimensions were given"
        raise OtherAtoms(
            f"{path} was solved for {len(tensors['heights'])} other atoms, {given}: give those, in that order"
        )
    masses = tensors.get("masses")
    potential = BrenierPotential(atoms, tensors["heights"], facts["source_measure"], facts["memory"], masses)
    if masses is not None:
        potential.problem.masses = masses.to(potential.problem.masses)  # as they were: to normalise again may round
    history = tuple((int(noises), chi2) for noises, chi2 in tensors["history"].reshape(-1, 2).tolist())
    found = {name: facts[name] for name in FACTS}
    return {**found, "potential": potential, "certificate": Certificate(**facts["certificate"]), "history": history}


def digest(atoms: Atoms) -> str:
    """sha256 of the atoms: of their recipe where they have one (``digest``), else of all their numbers, in order."""
    if hasattr(atoms, "digest"):
        return atoms.digest()
    total = hashlib.sha256(f"{len(atoms)} {atoms.dim} {atoms.block(0, 1).dtype}".encode())
    for _, _, y in blocks(atoms):
        total.update(y.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return total.hexdigest()
