"""Solutions on disk come back to the bit, and are put to their own atoms only."""

from dataclasses import replace

import pytest
import torch

from dpmot.runtime.seals import Damaged
from dpmot.transport import NoisyImages, SemiDiscreteProblem, SemiDiscreteSolver, TransportSolution
from dpmot.transport.stored import OtherAtoms, digest

STREAM = torch.Generator().manual_seed(0)
POINTS = torch.randn(60, 5, generator=STREAM)
ATOMS = {
    "float32": POINTS,
    "float64, far off": 1e6 + POINTS.double(),
    "images": POINTS.reshape(60, 1, 5),
    "array": POINTS.numpy(),
    "integers": (100 * POINTS).long(),
    "a recipe": NoisyImages((100 * POINTS).abs().byte(), 0.5, 3, noises_per_image=2),
    "duplicates": torch.cat([POINTS, POINTS[:7]]),
    "on a line": POINTS[:, :1],
}


@pytest.fixture(params=ATOMS)
def atoms(request):
    return ATOMS[request.param]


def solved(atoms, **options):
    return SemiDiscreteSolver(chi2=0.2)(SemiDiscreteProblem(atoms, **options), seed=0)


@pytest.mark.parametrize("source_measure", ["normal", "uniform"])
def test_a_solution_comes_back_to_the_bit(atoms, source_measure, tmp_path):
    before = solved(atoms, source_measure=source_measure)
    before.save(tmp_path / "s")
    after = TransportSolution.load(tmp_path / "s", atoms)
    for name in ("certificate", "noises", "seconds", "converged", "history", "reason", "duplicates"):
        assert getattr(after, name) == getattr(before, name)
    assert torch.equal(after.potential.heights, before.potential.heights)
    x = torch.rand(300, before.potential.atoms.dim, generator=torch.Generator().manual_seed(1))
    assert torch.equal(after.potential.cell(x), before.potential.cell(x))
    assert torch.equal(after.potential(x), before.potential(x))


def test_masses_come_back_to_the_bit(tmp_path):
    masses = torch.rand(60, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.1
    atoms = torch.cat([POINTS[:59], POINTS[:1]])
    before = solved(atoms, masses=masses / masses.sum())
    before.save(tmp_path / "s")
    after = TransportSolution.load(tmp_path / "s", atoms)
    assert torch.equal(after.potential.problem.masses, before.potential.problem.masses)
    x = torch.randn(500, 5, generator=torch.Generator().manual_seed(1))
    assert torch.equal(after.potential.cell(x), before.potential.cell(x))


@pytest.mark.parametrize(
    "others",
    [
        POINTS.flip(0), POINTS[:59], POINTS + 1e-7, POINTS.double() * (1 + 1e-9),
        torch.cat([POINTS, POINTS[:1]]), POINTS.flatten()[:298].reshape(149, 2),
    ],
    ids=["turned", "fewer", "moved", "float64", "more", "another shape"],
)  # fmt: skip
def test_other_atoms_are_refused(tmp_path, others):
    solved(POINTS).save(tmp_path / "s")
    if others.dtype == torch.float64:
        others = others + 1e4  # which float32 would not tell apart
    with pytest.raises(OtherAtoms, match=r"was solved for 60 other atoms, .*: give those, in that order"):
        TransportSolution.load(tmp_path / "s", others)


def test_a_digest_does_not_know_how_atoms_are_read(monkeypatch):
    recipe = ATOMS["a recipe"]
    before = digest(recipe), digest(SemiDiscreteProblem(POINTS).atoms)
    monkeypatch.setattr("dpmot.transport.atoms.BYTES", 64)
    monkeypatch.setattr("dpmot.transport.recipe.NUMBERS", 7)
    assert (digest(recipe), digest(SemiDiscreteProblem(POINTS).atoms)) == before
    changes = ({"sigma": 0.6}, {"seed": 4}, {"scale": 0.9}, {"noises_per_image": 3}, {"images": recipe.images[::-1]})
    assert len({digest(recipe), *(digest(replace(recipe, **change)) for change in changes)}) == 1 + len(changes)
    assert digest(NoisyImages(recipe.images, 1, 3)) == digest(NoisyImages(recipe.images, 1.0, 3))


@pytest.mark.parametrize("cut", [1, 100, 1000])
def test_a_damaged_file_is_refused(tmp_path, cut):
    path = tmp_path / "s"
    solved(POINTS).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    with pytest.raises(Damaged):
        TransportSolution.load(path, POINTS)
    path.write_bytes(whole[:-cut] + bytes([whole[-cut] ^ 1]) + whole[len(whole) - cut + 1 :])
    with pytest.raises(Damaged):
        TransportSolution.load(path, POINTS)


def test_a_file_of_something_else_or_of_a_later_form_is_refused(tmp_path, monkeypatch):
    from safetensors.torch import save_file

    save_file({"heights": torch.zeros(60)}, tmp_path / "s")
    with pytest.raises(ValueError, match="holds no transport solution; it is something else"):
        TransportSolution.load(tmp_path / "s", POINTS)
    monkeypatch.setattr("dpmot.transport.stored.FORM", 2)
    solved(POINTS).save(tmp_path / "s")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="another version of dpmot, in form 2"):
        TransportSolution.load(tmp_path / "s", POINTS)


def test_what_was_there_stays_where_a_file_cannot_be_written(tmp_path):
    solution = solved(POINTS)
    (tmp_path / "s").mkdir()
    with pytest.raises(OSError):
        solution.save(tmp_path / "s")
    assert [file.name for file in tmp_path.iterdir()] == ["s"]
