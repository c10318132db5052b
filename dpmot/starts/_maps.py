"""Transport maps onto noisy latents: one onto all of them, or one onto those of each class.

    T_c(z) = y_{i*},    i* = argmax_{i of class c} <z, y_i> + h_i.

Where each is solved to equal masses and a class is drawn in the share of its atoms, an atom's share of all draws is
N_c / N times 1 / N_c = 1 / N, as with one map for all.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from dpmot.transport import BrenierPotential, NoisyImages, SmoothedPotential, angles
from dpmot.transport.copies import ChosenAtoms


@dataclass(frozen=True, eq=False)
class Map:
    """T onto some of the atoms, of noises z (B, *S).

    Attributes:
        potential: of these atoms.
        numbers: theirs among all, int64 (n,); None for all.
        smoothed: its barycentres, where they are asked for.
    """

    potential: BrenierPotential
    numbers: Tensor | None = None
    smoothed: SmoothedPotential | None = None

    def cell(self, z: Tensor) -> Tensor:
        """The numbers of the atoms to which z are sent, among all: int64 (B,)."""
        cell = self.potential.cell(z.flatten(1))
        return cell if self.numbers is None else self.numbers[cell]

    def sharpest(self, z: Tensor, planes: int) -> Tensor:
        """The largest angle between the best and the next ``planes`` - 1, (B,); 0 where there is one plane alone."""
        there = len(self.potential.points)
        if self.numbers is not None and there < planes:  # a small class has fewer planes than are looked at
            planes = there
        return angles(self.potential, z.flatten(1), planes).amax(1) if planes > 1 else z.new_zeros(len(z)).double()

    def smoothly(self, z: Tensor) -> Tensor:
        """The barycentre of the atoms, (B, d)."""
        return self._smoothed.transport(z.flatten(1))

    def average(self, z: Tensor, values: Tensor) -> Tensor:
        """The same mean of what all atoms have, (N, k) -> (B, k)."""
        return self._smoothed.average(z.flatten(1), values if self.numbers is None else values[self.numbers])

    @property
    def _smoothed(self) -> SmoothedPotential:
        assert self.smoothed is not None
        return self.smoothed


@dataclass(frozen=True, eq=False)
class Maps:
    """A map for each class, or one for all under the key None."""

    by_class: Mapping[int | None, Map]

    @classmethod
    def of(
        cls,
        atoms: NoisyImages,
        heights: Tensor,
        labels: Tensor | None,
        *,
        source_measure: str,
        tau: float | None = None,
        planes: int | None = None,
    ) -> "Maps":
        """The maps of heights (N,).

        Args:
            labels: class of each image, (n,), for one map a class; None for one map.
            tau, planes: of the barycentres; None for none, and for all planes.

        Raises:
            ValueError: heights of another number of atoms.
        """
        if labels is None:
            potential = BrenierPotential(atoms, heights, source_measure)
            return cls({None: Map(potential, None, _smoothed(potential, tau, planes))})
        if heights.shape != (len(atoms),):
            raise ValueError(f"Heights are {tuple(heights.shape)}; give one for each of the {len(atoms)} atoms")
        made: dict[int | None, Map] = {}
        for label, numbers in numbers_of(labels, atoms.noises_per_image).items():
            potential = BrenierPotential(ChosenAtoms(atoms, numbers), heights[numbers], source_measure)
            most = None if planes is None else min(planes, len(potential.points))
            made[label] = Map(potential, numbers, _smoothed(potential, tau, most))
        return cls(made)

    @property
    def smooth(self) -> bool:
        """Whether they have barycentres."""
        return any(one.smoothed for one in self.by_class.values())

    def __call__(self, ask: Callable[..., Tensor], labels: Tensor | None, z: Tensor) -> Tensor:
        """ask(map, z) of the map of each row's class: z (B, *S), labels (B,) -> (B, ...); one map asks no class."""
        if None in self.by_class:
            return ask(self.by_class[None], z)
        assert labels is not None
        rows = {label: labels.eq(label).nonzero()[:, 0] for label in self.by_class if label is not None}
        found = {label: ask(self.by_class[label], z[some]) for label, some in rows.items() if len(some)}
        if not found:  # no row at all
            return ask(next(iter(self.by_class.values())), z)
        first = next(iter(found.values()))
        whole = first.new_empty(len(z), *first.shape[1:])
        for label, part in found.items():
            whole[rows[label]] = part
        return whole


def numbers_of(labels: Tensor, noises: int = 1) -> dict[int, Tensor]:
    """The numbers of each class's atoms, int64, by class: atom i is of image i mod n, K noises an image."""
    of_atoms = labels.repeat(noises)
    return {label: of_atoms.eq(label).nonzero()[:, 0] for label in labels.unique().tolist()}


def _smoothed(potential: BrenierPotential, tau: float | None, planes: int | None) -> SmoothedPotential | None:
    return None if tau is None else SmoothedPotential(potential, tau, planes)
