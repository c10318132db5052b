"""The semi-discrete optimal transport problem: a source measure on R^d and atoms y_i with masses w_i.

Cost |x - y|^2 / 2. The Brenier potential u_h(x) = max_i <x, y_i> + h_i has the map T(x) = y_i*, i* the argmax;
the power cell of atom i has the mass p_i(h), and the heights sought make p_i(h) = w_i for every i, with the gauge
sum h = 0 (Aurenhammer, Hoffmann, Aronov 1998; Gu, Luo, Sun, Yau 2013). They minimise the convex energy
E(h) = integral u_h - <w, h>, whose gradient is p(h) - w.
"""

from functools import cached_property

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

from dpmot import device
from dpmot.seeds import generator
from dpmot.transport.atoms import Atoms, Centred, TensorAtoms, as_atoms, blocks, by_rows
from dpmot.transport.measures import NORMAL, measure_named
from dpmot.transport.noise import kind_for

MASS_TOLERANCE = 1e-4  # a float32 vector of 10^5 masses sums to one within this
DIRECTIONS = 16
CROWD = 10  # the fewest atoms of an average cluster
MEMORY = 3 * 2**28  # bytes that centred atoms may take: the float32 ones of CIFAR-10, or the rounded ones
FEW, WIDE, COLUMNS = 512, 4, 2**16  # atoms, dimensions over atoms, for which coordinates in the span pay; read at once


class SemiDiscreteProblem:
    """Source measure -> atoms with masses.

    Args:
        atoms: `Atoms`, or a tensor (N, d) or (N, *S).
        masses: (N,), positive, summing to 1; None is 1/N each. Kept as float64, normalised.
        source_measure: "normal" for N(0, I), "uniform" for U[0, 1]^d.
        memory: bytes that atoms as floats may take; those that do not fit are computed anew in each pass, which at most
            doubles the time of a fit. Where bfloat16 is fast a fit scores rounded atoms: both kinds stay in memory if
            both fit, else the rounded ones. Centres of clumps come on top.

    Attributes:
        measure: the source measure.
        mean: plain mean of the atoms, float64 (d,).
        sums: sum_j y_ij, float64 (N,).

    Raises:
        ValueError: no atoms, a shape, a NaN or infinity, a mass that is not positive, an unknown source measure, memory
            < 0.
    """

    def __init__(
        self, atoms: Atoms | Tensor, masses: Tensor | None = None, source_measure: str = "normal", memory: int = MEMORY
    ) -> None:
        self.source_measure, self.measure, self.memory = source_measure, measure_named(source_measure), memory
        if memory < 0:
            raise ValueError(f"memory = {memory} bytes; give 0 to keep no atoms, or more")
        self.atoms = as_atoms(atoms)
        self.mean, self.sums = moments(self.atoms)
        self.masses = _checked_masses(masses, self.sums)

    @property
    def centred(self) -> Centred:
        """The atoms minus their mean."""
        return Centred(self.atoms, self.mean)

    @cached_property
    def norms(self) -> Tensor:
        """|y_i - mean|, float64 (N,)."""
        return by_rows(self.points, lambda y: y.double().norm(dim=1))

    @cached_property
    def points(self) -> Atoms:
        """The centred atoms, float32, in memory if they fit their part of it; else computed in each pass."""
        room = self.memory * 2 // 3 if self.rounds else self.memory  # rounded ones, half as large, lie beside them
        return self.centred.in_memory(room)

    @cached_property
    def rough(self) -> Atoms:
        """The centred atoms for products that may be rounded: bfloat16 where that pays, else float32."""
        return Centred(self.atoms, self.mean, torch.bfloat16).in_memory(self.memory) if self.rounds else self.points

    @property
    def rounds(self) -> bool:
        """Whether rounded products pay: for recycled noise where bfloat16 is fast."""
        recycled = kind_for("auto", self.measure, self.atoms.dim) == "recycled"
        return recycled and (self.mean.is_cuda or device.cpu_multiplies_bfloat16())

    @cached_property
    def principal(self) -> Tensor:
        """The centred atoms along DIRECTIONS orthonormal directions near the principal ones, float64 (N, k).

        No two atoms are farther apart there. Randomised range finder with one power iteration (Halko, Martinsson, Tropp
        2011).
        """
        basis = torch.eye(self.atoms.dim, min(self.atoms.dim, DIRECTIONS), device=self.mean.device)
        if self.atoms.dim > DIRECTIONS:
            gaussian = generator(0, "transport", "directions").standard_normal(tuple(basis.shape), dtype=np.float32)
            basis = torch.from_numpy(gaussian).to(basis.device)
            for _ in range(2):  # one pass, and one more to sharpen it
                spread = torch.zeros(self.atoms.dim, DIRECTIONS, device=basis.device)
                for _, _, y in blocks(self.points):
                    spread += y.T @ (y @ basis)
                basis = torch.linalg.qr(spread)[0]
        return by_rows(self.points, lambda y: y @ basis).double()

    def clusters(self, most: int) -> Tensor:
        """Labels 0..k-1 of at most `most` k-means clusters along `principal`, int64 (N,); one where atoms are few."""
        number = min(most, len(self.atoms) // CROWD)
        if number < 2:
            return torch.zeros_like(self.sums, dtype=torch.int64)
        # labels need no secrecy: the same ones for every look at these atoms
        labels = kmeans2(self.principal.cpu().numpy(), number, minit="++", rng=np.random.default_rng(0))[1]
        return torch.from_numpy(np.unique(labels, return_inverse=True)[1]).to(self.sums.device)

    def in_span(self) -> "SemiDiscreteProblem":
        """The same problem in coordinates of the atoms' span, for few atoms of many dimensions; else itself.

        N(0, I) knows no directions, so scores have the same law there, and a row of noise has N numbers instead of d.
        """
        number, dim = len(self.atoms), self.atoms.dim
        narrow = self.measure is NORMAL and number <= FEW and dim >= WIDE * number
        if not (narrow and isinstance(self.points, TensorAtoms)):
            return self
        gram = torch.zeros(number, number, dtype=torch.float64, device=self.mean.device)
        for part in self.points.values.split(COLUMNS, dim=1):
            gram += part.double() @ part.double().T
        values, vectors = torch.linalg.eigh(gram)
        coordinates = vectors * values.clamp(min=0).sqrt()
        return SemiDiscreteProblem(coordinates.float(), self.masses, self.source_measure, self.memory)

    def checked(self, heights: Tensor) -> Tensor:
        """Heights as float64 (N,), on the atoms' device; see `centred_heights`."""
        heights = torch.as_tensor(heights).detach().to(self.sums)
        if heights.shape != self.sums.shape:
            raise ValueError(f"Heights have shape {tuple(heights.shape)}; give one per atom, ({len(self.atoms)},)")
        if not torch.isfinite(heights).all():
            raise ValueError("Heights hold NaN or infinite values; solve the transport again")
        return heights

    def centred_heights(self, heights: Tensor) -> Tensor:
        """Heights h for x -> heights for z = x - centre: h_i + centre * sum_j y_ij less its mean, float64 (N,).

        Raises:
            ValueError: another shape, a NaN or an infinity.
        """
        heights = self.checked(heights) + self.measure.centre * self.sums
        return heights - heights.mean()

    def original_heights(self, centred: Tensor) -> Tensor:
        """The inverse of `centred_heights`, in the gauge sum h = 0, float64 (N,)."""
        heights = centred.to(self.sums) - self.measure.centre * self.sums
        return heights - heights.mean()


def moments(atoms: Atoms) -> tuple[Tensor, Tensor]:
    """Mean (d,) and row sums sum_j y_ij (N,) of the atoms, float64; a ValueError where a block is wrong."""
    device = atoms.block(0, 1).device
    total = torch.zeros(atoms.dim, dtype=torch.float64, device=device)
    sums = torch.empty(len(atoms), dtype=torch.float64, device=device)
    for i, j, y in blocks(atoms):
        if y.shape != (j - i, atoms.dim):
            raise ValueError(f"Atoms {i}..{j - 1} came as {tuple(y.shape)}; expected {(j - i, atoms.dim)}")
        if not torch.isfinite(y).all():
            bad = int((~torch.isfinite(y).all(1)).sum())
            raise ValueError(f"{bad} of the atoms {i}..{j - 1} hold NaN or infinite values; remove or repair them")
        y = y.double()
        total += y.sum(0)
        sums[i:j] = y.sum(1)
    return total / len(atoms), sums


def _checked_masses(masses: Tensor | None, like: Tensor) -> Tensor:
    if masses is None:
        return torch.full_like(like, 1 / len(like))
    masses = torch.as_tensor(masses).detach().to(like)
    if masses.shape != like.shape:
        raise ValueError(f"Masses have shape {tuple(masses.shape)}; give one per atom, ({len(like)},)")
    if not (torch.isfinite(masses).all() and (masses > 0).all()):
        raise ValueError("Masses must be positive numbers; leave out the atoms without mass")
    if abs(float(masses.sum()) - 1) > MASS_TOLERANCE:
        raise ValueError(f"Masses sum to {float(masses.sum()):.6g}; divide them by their sum")
    return masses / masses.sum()
