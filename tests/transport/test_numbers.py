"""The atoms are the user's numbers: offsets, scales, types and arrays of every kind, or one line that says why not."""

import numpy as np
import pytest
import torch

from dpmot.transport import (
    BrenierPotential,
    NoisyImages,
    SemiDiscreteProblem,
    SemiDiscreteSolver,
    SmoothedPotential,
    certify,
)
from dpmot.transport.atoms import TensorAtoms


def draws(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


ATOMS, X = draws(60, 16), draws(2000, 16, seed=1).float()
IMAGES = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)


def solve(atoms, **options):
    return SemiDiscreteSolver(chi2=0.05)(SemiDiscreteProblem(atoms, **options), seed=0)


@pytest.fixture(scope="module")
def own():
    return solve(ATOMS).potential.cell(X)


@pytest.mark.parametrize("offset", [100.0, 1e6, -1e6, 1e8, 1e12])
def test_a_common_offset_in_float64_changes_no_cell(own, offset):
    solution = solve(ATOMS + offset)
    assert solution.converged and solution.duplicates == 0
    # float32 rounds single draws across a wall
    assert (solution.potential.cell(X) != own).double().mean() <= 0.002
    back = solution.potential.transport(X) - offset
    torch.testing.assert_close(back, ATOMS[solution.potential.cell(X)], rtol=0, atol=2e-16 * abs(offset) + 1e-5)


def test_an_offset_of_a_single_coordinate_changes_no_cell(own):
    moved = ATOMS.clone()
    moved[:, 3] += 1e9
    assert (solve(moved).potential.cell(X) != own).double().mean() <= 0.002


@pytest.mark.parametrize("scale", [1e-6, 1e8, 1e-25, 1e30, 1e-60, 1e60])
@pytest.mark.parametrize("dim", [2, 16])
def test_a_scale_changes_no_cell_and_scales_the_heights(scale, dim):
    atoms, x = ATOMS[:, :dim], X[:, :dim]
    plain, scaled = solve(atoms), solve(atoms * scale)
    assert (scaled.potential.cell(x) != plain.potential.cell(x)).double().mean() <= 0.002
    torch.testing.assert_close(scaled.potential.heights / scale, plain.potential.heights, rtol=0, atol=1e-3)
    smooth = [SmoothedPotential(p.potential, 0.5 * s).transport(x[:9]) for p, s in ((plain, 1), (scaled, scale))]
    torch.testing.assert_close(smooth[1].double() / scale, smooth[0].double(), rtol=0, atol=5e-3)  # heights' 1e-3 / tau


def test_heights_of_many_dimensions_bear_every_scale():
    atoms, x = draws(60, 300), draws(1000, 300, seed=1).float()
    found = [solve(atoms * 2.0**power).potential.cell(x) for power in (0, 90, -120)]
    assert torch.equal(found[1], found[0]) and torch.equal(found[2], found[0])  # powers of two are exact


def test_float32_with_few_digits_left_is_refused_and_not_solved_for_other_atoms():
    with pytest.raises(ValueError, match=r"Atoms lie 4e\+06 from 0 with a spread of 3.9.*; give them in float64"):
        solve((ATOMS + 1e6).float())
    assert solve((ATOMS + 1000).float()).converged
    with pytest.raises(ValueError, match="were rounded by about"):
        solve(ATOMS + 1e15)
    with pytest.raises(ValueError, match="were rounded by about"):
        solve((ATOMS + 100).bfloat16())
    assert "all 60 atoms are the same point" in solve((ATOMS + 1e10).float()).reason


@pytest.mark.parametrize(
    "given",
    [
        ATOMS.float(),
        ATOMS.numpy(),
        ATOMS.float().numpy().astype(">f4"),
        np.asfortranarray(ATOMS.numpy()),
        ATOMS.T.contiguous().T,
        ATOMS.clone().requires_grad_(),
        ATOMS.view(60, 1, 4, 4),
        torch.nn.Parameter(ATOMS.float()),
    ],
    ids=["float32", "numpy", "big-endian", "strided", "transposed", "gradient", "images", "parameter"],
)
def test_the_same_numbers_have_the_same_cells_however_they_are_held(own, given):
    solution = solve(given)
    assert torch.equal(solution.potential.cell(X), own)
    assert not solution.potential.heights.requires_grad and not solution.potential.transport(X).requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int32, torch.int64])
def test_other_types_are_their_own_numbers(dtype):
    given = (20 * ATOMS + 100).round().to(dtype) if not dtype.is_floating_point else ATOMS.to(dtype)
    assert torch.equal(solve(given).potential.cell(X), solve(given.double()).potential.cell(X))


def test_large_integers_keep_their_last_digits():
    whole = (1000 * ATOMS).round().long()
    moved = solve(whole + 10**12)
    assert (moved.potential.cell(X) != solve(whole).potential.cell(X)).double().mean() <= 0.002
    assert TensorAtoms(torch.tensor([[2**24 + 1]])).values.item() == 2**24 + 1


def test_masses_may_be_of_any_real_type_and_extreme():
    weights = torch.tensor([1.0, 2.0, 5.0])
    for masses in (weights / 8, (weights / 8).numpy(), [0.125, 0.25, 0.625], (weights / 8).requires_grad_()):
        assert SemiDiscreteProblem(ATOMS[:3], masses).masses.tolist() == [0.125, 0.25, 0.625]
    tiny = torch.tensor([1.0, 1e-12, 1e-300], dtype=torch.float64)
    solution = solve(ATOMS[:3], masses=tiny / tiny.sum())
    assert torch.isfinite(solution.potential.heights).all() and (solution.potential.cell(X) == 0).all()


class Block:
    """Atoms that hand out anything."""

    def __init__(self, block):
        self.handed_out, self.dim = block, block.shape[1]

    def __len__(self):
        return len(self.handed_out)

    def block(self, i, j):
        return self.handed_out[i:j]


def test_atoms_that_are_handed_out_in_float64_keep_its_digits():
    assert torch.equal(solve(Block(ATOMS + 1e6)).potential.cell(X), solve(ATOMS + 1e6).potential.cell(X))
    with pytest.raises(ValueError, match="give them in float64"):
        solve(Block((ATOMS + 1e6).float()))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: SemiDiscreteProblem(ATOMS.to(torch.complex64)), "Atoms are torch.complex64; give a dense tensor"),
        (lambda: SemiDiscreteProblem(ATOMS > 0), "Atoms are torch.bool"),
        (lambda: SemiDiscreteProblem(ATOMS.to_sparse()), "in layout torch.sparse_coo; give a dense tensor"),
        (lambda: SemiDiscreteProblem(np.array([["a"]])), "Atoms are a ndarray that holds no real numbers"),
        (lambda: SemiDiscreteProblem(np.ma.masked_array(ATOMS.numpy(), ATOMS.numpy() > 1)), "are a masked array; fill"),
        (lambda: SemiDiscreteProblem(torch.zeros(())), r"Atoms have shape \(\); give \(N, d\)"),
        (lambda: SemiDiscreteProblem(1e200 * ATOMS), r"Atoms are larger than 1e\+100; divide all by one number"),
        (lambda: SemiDiscreteProblem(torch.full((2, 3), float("inf"))), "2 of the atoms 0..1 hold NaN or infinite"),
        (lambda: SemiDiscreteProblem(Block(np.zeros((2, 3)))), "Atoms 0..1 came as a ndarray"),
        (lambda: SemiDiscreteProblem(ATOMS, source_measure=None), '"None" is unknown; choose "normal"'),
        (lambda: SemiDiscreteProblem(ATOMS, source_measure=["normal"]), "is unknown; choose"),
        (lambda: SemiDiscreteProblem(ATOMS, memory=float("nan")), "memory = nan bytes"),
        (lambda: SemiDiscreteProblem(ATOMS[:2], masses=torch.tensor([-0.5, 1.5])), "must be positive"),
        (lambda: SemiDiscreteProblem(ATOMS[:2], masses=torch.tensor([0.5 + 0j, 0.5])), "Masses are torch.complex64"),
        (lambda: SemiDiscreteProblem(ATOMS[:2], masses="even"), "Masses are a str that holds no real numbers"),
        (lambda: SemiDiscreteSolver(chi2="small"), "chi2 = small cannot be a target"),
        (lambda: SemiDiscreteSolver(max_noises=1.5), "max_noises = 1.5; give a whole number"),
        (lambda: SemiDiscreteSolver(noise=None), 'Noise "None" is unknown'),
        (lambda: SemiDiscreteSolver(schedule={"iterations": 3}), "schedule is a dict; give an AuthorsSchedule"),
        (lambda: SemiDiscreteSolver()(SemiDiscreteProblem(ATOMS), seed=0.5), "seed = 0.5; give a whole number"),
        (lambda: SemiDiscreteSolver()(ATOMS, seed=0), "is a Tensor; give a SemiDiscreteProblem"),
        (lambda: BrenierPotential(ATOMS, "none"), "Heights are a str"),
        (lambda: BrenierPotential(ATOMS, torch.zeros(60)).cell(1e300 * X.double()), "give finite numbers of shape"),
        (lambda: BrenierPotential(ATOMS, torch.zeros(60)).cell(X.to(torch.complex64)), "x are torch.complex64"),
        (lambda: BrenierPotential(ATOMS, torch.zeros(60)).cell(X[0]), r"give finite numbers of shape \(B, 16\)"),
        (lambda: BrenierPotential(ATOMS, torch.zeros(60)).cells(X, 1.5), r"k = 1.5 .* choose 1\.\.60"),
        (lambda: SmoothedPotential(BrenierPotential(ATOMS, torch.zeros(60)), "1"), "tau = 1 smooths nothing"),
        (lambda: SmoothedPotential(BrenierPotential(ATOMS, torch.zeros(60)), 1.0, "2"), r"k = 2 planes .*1\.\.60"),
        (
            lambda: SmoothedPotential(BrenierPotential(ATOMS, torch.zeros(60)), 1.0).average(X, torch.zeros(59, 2)),
            r"Values have shape \(59, 2\); give one row for each atom, \(60, e\)",
        ),
        (lambda: certify(SemiDiscreteProblem(ATOMS), torch.zeros(60), seed="0"), "seed = 0; give a whole number"),
        (lambda: certify(SemiDiscreteProblem(ATOMS), torch.zeros(60), seed=0, target=0.0), "target = 0.0 sets no"),
        (lambda: certify(SemiDiscreteProblem(ATOMS), torch.zeros(60), seed=0, groups=np.zeros(3)), "Groups have shape"),
        (
            lambda: SemiDiscreteSolver()(SemiDiscreteProblem(ATOMS), seed=0, resume=3),
            "give one that this solver handed",
        ),
        (lambda: NoisyImages(IMAGES, 1.0, 0, device="nowhere"), 'device = "nowhere" is none'),
        (lambda: NoisyImages(IMAGES, 1.0, -1), "seed = -1; give a whole number of at least 0"),
        (lambda: NoisyImages(IMAGES, 1.0, 0.5), "seed = 0.5; give a whole number of at least 0"),
        (lambda: NoisyImages(IMAGES, "1", 0), "sigma = 1, scale = 1.0; give finite numbers"),
        (lambda: NoisyImages(IMAGES, 1.0, 0, noises_per_image=1.5), "noises_per_image = 1.5; give 1 to"),
        (lambda: NoisyImages(IMAGES.tolist(), 1.0, 0), "Images are a list; give uint8 or float32"),
        (lambda: NoisyImages(IMAGES, 1.0, 0)[[4]], r"atoms 4\.\.4 were asked for; there are 0\.\.3"),
        (lambda: NoisyImages(IMAGES, 1.0, 0)[[-1, 2]], r"atoms -1\.\.2 were asked for; there are 0\.\.3"),
        (lambda: NoisyImages(IMAGES, 1.0, 0)[torch.ones(4, dtype=torch.bool)], "numbers of atoms are bool"),
        (lambda: NoisyImages(IMAGES, 1.0, 0)[[0.7]], "numbers of atoms are float64"),
    ],
)
def test_what_is_no_number_or_option_is_refused_in_one_line(wrong, words):
    with pytest.raises((ValueError, IndexError), match=words) as told:
        wrong()
    assert "\n" not in str(told.value)


def test_x_may_be_an_array_of_any_real_type():
    potential = BrenierPotential(ATOMS, torch.zeros(60))
    whole = (3 * X[:50]).round()
    for x in (whole, whole.numpy(), whole.double(), whole.long(), whole.half(), whole.clone().requires_grad_()):
        assert torch.equal(potential.cell(x), potential.cell(whole))
