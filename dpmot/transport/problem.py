"""The semi-discrete optimal transport problem: a source measure on R^d and atoms y_i with masses w_i.

Cost |x - y|^2 / 2. The Brenier potential u_h(x) = max_i <x, y_i> + h_i has the map T(x) = y_i*, i* the argmax;
the power cell of atom i has the mass p_i(h), and the heights sought make p_i(h) = w_i for every i, with the gauge
sum h = 0 (Aurenhammer, Hoffmann, Aronov 1998; Gu, Luo, Sun, Yau 2013). They minimise the convex energy
E(h) = integral u_h - <w, h>, whose gradient is p(h) - w.
"""

import math
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

from dpmot import device
from dpmot.device import ordinary
from dpmot.seeds import generator
from dpmot.transport.atoms import Atoms, Centred, TensorAtoms, as_atoms, blocks, by_rows, moments, spacing, unit_of
from dpmot.transport.copies import ChosenAtoms, Copies, copies
from dpmot.transport.given import between, real
from dpmot.transport.measures import NORMAL, measure_named
from dpmot.transport.noise import kind_for

LOST = 2.0**-11  # rounding of atoms over their spread, from which on it sends draws to another cell
MASS_TOLERANCE = 1e-4  # a float32 vector of 10^5 masses sums to one within this
DIRECTIONS = 16
FEW_DIMENSIONS = 3
CROWD = 10  # the fewest atoms of an average cluster
MEMORY = 3 * 2**28  # bytes that centred atoms may take: the float32 ones of CIFAR-10, or the rounded ones
FEW, WIDE, COLUMNS = 512, 4, 2**16  # atoms, dimensions over atoms, for which coordinates in the span pay; read at once


class SemiDiscreteProblem:
    """Source measure -> atoms with masses.

    Args:
        atoms: `Atoms`, or a tensor or array (N, d) or (N, *S) of real numbers. float64 and integers keep all digits
            that tell atoms apart.
        masses: (N,), positive, summing to 1; None is 1/N each. Kept as float64, normalised.
        source_measure: "normal" for N(0, I), "uniform" for U[0, 1]^d.
        memory: bytes that atoms as floats may take; those that do not fit are computed anew in each pass, which at most
            doubles the time of a fit. Where bfloat16 is fast a fit scores rounded atoms: both kinds stay in memory if
            both fit, else the rounded ones. Centres of clumps come on top.

    Attributes:
        measure: the source measure.
        mean: plain mean of the atoms, float64 (d,).
        sums: sum_j y_ij, float64 (N,).
        spread: root mean square of |y_i - mean|.
        unit: 1, or a power of two near the spread where float32 could not square it; `norms`, `points`, `rough`,
            `principal` and centred heights are over this unit.

    Raises:
        ValueError: no atoms, a shape, a NaN or infinity, a mass that is not positive, an unknown source measure, memory
            < 0.
    """

    @ordinary()
    def __init__(
        self,
        atoms: Atoms | Tensor | np.ndarray,
        masses: Tensor | None = None,
        source_measure: str = "normal",
        memory: int = MEMORY,
    ) -> None:
        self.source_measure, self.measure, self.memory = source_measure, measure_named(source_measure), memory
        if not between(memory, -1, math.inf):
            raise ValueError(f"memory = {memory} bytes; give 0 to keep no atoms, or more")
        self.atoms = as_atoms(atoms)
        self.mean, self.sums, self.spread = moments(self.atoms)
        self.unit = unit_of(self.spread)
        self.masses = _checked_masses(masses, self.sums)

    @property
    def centred(self) -> Centred:
        """The atoms minus their mean, over the unit."""
        return Centred(self.atoms, self.mean, self.unit)

    @property
    def dtype(self) -> torch.dtype:
        """In which scores are computed: float32; float64 in few dimensions, where the scores of neighbours are closer.

        On a line the best two of N differ by about 1 / N^2: float32 sent draws to wrong cells from N = 1000 on.
        """
        return torch.float64 if self.atoms.dim <= FEW_DIMENSIONS else torch.float32

    @cached_property
    def norms(self) -> Tensor:
        """|y_i - mean| over the unit, float64 (N,)."""
        return by_rows(self.points, lambda y: y.double().norm(dim=1))

    @cached_property
    def points(self) -> Atoms:
        """The centred atoms, of type `dtype`, in memory if they fit their part of it; else computed in each pass."""
        room = self.memory * 2 // 3 if self.rounds else self.memory  # rounded ones, half as large, lie beside them
        return replace(self.centred, dtype=self.dtype).in_memory(room)

    @cached_property
    def rough(self) -> Atoms:
        """The centred atoms for products that may be rounded: bfloat16 where that pays, else float32."""
        return replace(self.centred, dtype=torch.bfloat16).in_memory(self.memory) if self.rounds else self.points

    @cached_property
    def copies(self) -> Copies | None:
        """Which atoms are the same point; None where all differ."""
        return copies(self.centred, self.sums, self.spread)

    @cached_property
    def different(self) -> "SemiDiscreteProblem":
        """The problem of the points that differ, each with the masses of all its copies; itself where all atoms do."""
        if self.copies is None:
            return self
        atoms, masses = ChosenAtoms(self.atoms, self.copies.first), self.copies.total(self.masses)
        merged = SemiDiscreteProblem(atoms, masses, self.source_measure, self.memory)
        merged.copies = None
        return merged

    def check_digits(self) -> None:
        """Check that the atoms, in the type in which they were given, keep what tells them apart.

        Raises:
            ValueError: a common offset cost too many of their digits.
        """
        offset, eps = float(self.mean.norm()), spacing(self.atoms)
        if eps / 4 * offset > max(LOST, 2 * eps) * self.spread > 0:  # eps / 4: the root mean square of rounding
            raise ValueError(
                f"Atoms lie {offset:.3g} from 0 with a spread of {self.spread:.3g}, and were rounded by about "
                f"{eps / 4 * offset:.2g} in their own type; give them in float64, or subtract their mean beforehand"
            )

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
        basis = torch.eye(self.atoms.dim, min(self.atoms.dim, DIRECTIONS), dtype=self.dtype, device=self.mean.device)
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
        return SemiDiscreteProblem(coordinates * self.unit, self.masses, self.source_measure, self.memory)

    def checked(self, heights: Tensor) -> Tensor:
        """Heights as float64 (N,), on the atoms' device; see `centred_heights`."""
        heights = real(heights, "Heights").to(self.sums)
        if heights.shape != self.sums.shape:
            raise ValueError(f"Heights have shape {tuple(heights.shape)}; give one per atom, ({len(self.atoms)},)")
        if not torch.isfinite(heights).all():
            raise ValueError("Heights hold NaN or infinite values; solve the transport again")
        return heights

    def centred_heights(self, heights: Tensor) -> Tensor:
        """Heights h for x -> heights for z = x - centre: h_i + centre * sum_j y_ij less its mean, over the unit.

        Raises:
            ValueError: another shape, a NaN or an infinity.
        """
        heights = (self.checked(heights) + self.measure.centre * self.sums) / self.unit
        return heights - heights.mean()

    def original_heights(self, centred: Tensor) -> Tensor:
        """The inverse of `centred_heights`, in the gauge sum h = 0, float64 (N,)."""
        heights = centred.to(self.sums) * self.unit - self.measure.centre * self.sums
        return heights - heights.mean()


def _checked_masses(masses: Tensor | None, like: Tensor) -> Tensor:
    if masses is None:
        return torch.full_like(like, 1 / len(like))
    masses = real(masses, "Masses").to(like)
    if masses.shape != like.shape:
        raise ValueError(f"Masses have shape {tuple(masses.shape)}; give one per atom, ({len(like)},)")
    if not (torch.isfinite(masses).all() and (masses > 0).all()):
        raise ValueError("Masses must be positive numbers; leave out the atoms without mass")
    if abs(float(masses.sum()) - 1) > MASS_TOLERANCE:
        raise ValueError(f"Masses sum to {float(masses.sum()):.6g}; divide them by their sum")
    return masses / masses.sum()
