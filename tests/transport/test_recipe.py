"""Atoms as recipes: the same bits in every block, process and thread count; memory; streams that change no result."""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from dpmot import seeds
from dpmot.images import to_float
from dpmot.transport import BrenierPotential, MappedImages, NoisyImages, SemiDiscreteProblem, SemiDiscreteSolver
from dpmot.transport.atoms import BYTES, TensorAtoms, blocks, rows
from dpmot.transport.closed_form import closed_form_start
from dpmot.transport.noise import KINDS, Plain
from dpmot.transport.race import gathered
from dpmot.transport.tally import tally


def pixels(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def in_blocks(atoms, size):
    return torch.cat([atoms.block(i, min(i + size, len(atoms))) for i in range(0, len(atoms), size)])


def test_a_recipe_is_the_scaled_images_plus_noise_of_their_own_streams():
    images = pixels(9, 1, 3, 5)
    atoms = NoisyImages(images, 0.6, 4, scale=0.8)
    noise = seeds.normal([4 * seeds.MAX_SAMPLES + i for i in range(9)], (1, 3, 5), "atoms")
    assert torch.equal(atoms[range(9)], 0.8 * to_float(images) + 0.6 * noise)
    assert torch.equal(atoms.noise([7, 2]), noise[[7, 2]])
    assert torch.equal(atoms.clean(torch.tensor([3])), 0.8 * to_float(images[3:4]))
    assert atoms.dim == 15 and atoms.shape == (1, 3, 5)


@pytest.mark.parametrize("dim", [1, 2, 15, 17, 63, 64, 100, 3072])
def test_rows_are_the_same_bits_in_every_block_alone_and_on_every_thread_count(dim):
    number = 40 if dim < 3072 else 200  # 200 rows of 3072 are three pieces of work
    atoms = NoisyImages(pixels(number, dim), 0.7, 1)
    whole = atoms.block(0, number)
    for size in (1, 7, 16, 33):
        assert torch.equal(in_blocks(atoms, size), whole)
    assert torch.equal(atoms.rows(torch.tensor([number - 1, 3, 3])), whole[[number - 1, 3, 3]])
    torch.set_num_threads(2)  # the fixture sets one again
    assert torch.equal(atoms.block(0, number), whole)


@pytest.mark.slow
def test_three_processes_and_two_block_sizes_give_the_same_bits():
    code = (
        "import sys, torch; from hashlib import sha256; from dpmot.transport import NoisyImages; "
        "images = torch.arange(300 * 1000).remainder(251).to(torch.uint8).view(300, 1000); "
        "atoms = NoisyImages(images, 0.3, 5); size = int(sys.argv[1]); torch.set_num_threads(int(sys.argv[2])); "
        "whole = torch.cat([atoms.block(i, min(i + size, 300)) for i in range(0, 300, size)]); "
        "print(sha256(whole.numpy().tobytes()).hexdigest())"
    )
    images = torch.arange(300 * 1000).remainder(251).to(torch.uint8).view(300, 1000)
    expected = sha256(NoisyImages(images, 0.3, 5).block(0, 300).numpy().tobytes()).hexdigest()
    for size, threads in ((64, 1), (300, 2), (7, 2)):
        run = [sys.executable, "-c", code, str(size), str(threads)]
        assert subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip() == expected


def test_the_noise_is_normal_and_independent_of_the_image_and_from_atom_to_atom():
    images = pixels(200, 50)
    noise = NoisyImages(images, 1.0, 0).noise(range(200))
    assert kstest(noise.flatten().numpy(), "norm").pvalue > 1e-3  # one false alarm in a thousand choices of the seed
    for other in (to_float(images), noise.roll(1, 0), noise.roll(1, 1)):
        assert abs(np.corrcoef(noise.flatten(), other.flatten())[0, 1]) < 4 / 100  # four standard deviations of 10^4


def test_k_noises_an_image_cost_no_bytes_and_begin_with_those_of_one():
    images = pixels(20, 30)
    one, three = NoisyImages(images, 0.5, 2), NoisyImages(images, 0.5, 2, noises_per_image=3)
    assert len(three) == 60 and three.nbytes == one.nbytes == 600
    assert torch.equal(three.block(0, 20), one.block(0, 20))
    assert torch.equal(three.clean(range(60)), to_float(images).repeat(3, 1))
    apart = three.noise(range(60)).flatten().view(3, -1)
    assert (torch.corrcoef(apart) - torch.eye(3)).abs().max() < 4 / 600**0.5  # four standard deviations


def test_a_mapped_file_gives_the_atoms_of_its_images(tmp_path):
    images = pixels(50, 3, 4, 4)
    np.save(tmp_path / "images.npy", images.numpy())
    mapped = NoisyImages(MappedImages(tmp_path / "images.npy"), 0.5, 1)
    assert torch.equal(in_blocks(mapped, 11), NoisyImages(images, 0.5, 1).block(0, 50))
    assert torch.equal(mapped.rows([49, 0]), NoisyImages(images, 0.5, 1).rows([49, 0]))


def test_points_are_taken_as_they_are():
    points = torch.randn(10, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(NoisyImages(points, 0.0, 0).block(0, 10), points)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"images": torch.zeros(3, 2, dtype=torch.int64)}, r"int64 \(3, 2\); give uint8 or float32"),
        ({"images": pixels(3)}, r"\(3,\)"),
        ({"images": pixels(0, 2)}, "n >= 1"),
        ({"sigma": -1.0}, "sigma >= 0"),
        ({"sigma": float("nan")}, "finite"),
        ({"scale": 0.0}, "scale > 0"),
        ({"noises_per_image": 0}, "give 1 to 1431655765"),
    ],
)
def test_a_bad_recipe_says_what_was_given_and_what_is_allowed(arguments, words):
    with pytest.raises(ValueError, match=words):
        NoisyImages(**{"images": pixels(3, 2), "sigma": 1.0, "seed": 0, **arguments})


def test_a_file_that_holds_no_images_is_refused(tmp_path):
    np.save(tmp_path / "floats.npy", np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"holds float64 \(3, 2\); give uint8 images"):
        MappedImages(tmp_path / "floats.npy")
    np.save(tmp_path / "code.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"code\.npy is no \.npy file of uint8 images"):
        MappedImages(tmp_path / "code.npy")
    (tmp_path / "empty.npy").touch()
    with pytest.raises(ValueError, match=r"empty\.npy is no \.npy file"):
        MappedImages(tmp_path / "empty.npy")
    with pytest.raises(FileNotFoundError, match=r"missing\.npy"):
        MappedImages(tmp_path / "missing.npy")


# --- streams -----------------------------------------------------------------------------------------------


def problem_of(memory, *, number=150, dim=300):
    return SemiDiscreteProblem(NoisyImages(pixels(number, dim), 1.0, 0), memory=memory)


def draws(number, dim=300):
    return torch.randn(number, dim, generator=torch.Generator().manual_seed(0))


def potential_of(heights):
    return BrenierPotential(problem_of(0).atoms, heights)


def test_atoms_are_in_memory_up_to_the_memory_that_is_given(rounds):
    numbers = 150 * 300
    rough, both = (2 * numbers, 6 * numbers) if rounds else (4 * numbers, 4 * numbers)
    assert isinstance(problem_of(rough).rough, TensorAtoms) and not isinstance(problem_of(rough - 1).rough, TensorAtoms)
    assert isinstance(problem_of(both).points, TensorAtoms) and not isinstance(problem_of(both - 1).points, TensorAtoms)
    potential = [BrenierPotential(problem_of(0).atoms, torch.zeros(150), memory=4 * numbers - k) for k in (0, 1)]
    assert isinstance(potential[0].points, TensorAtoms) and not isinstance(potential[1].points, TensorAtoms)
    solved = SemiDiscreteSolver(chi2=0.5)(problem_of(0), seed=0).potential
    assert solved.memory == 0 and torch.equal(solved.cell(draws(500)), potential_of(solved.heights).cell(draws(500)))
    with pytest.raises(ValueError, match="memory = -1 bytes; give 0 to keep no atoms"):
        problem_of(-1)


@pytest.mark.parametrize("noise", KINDS)
def test_streamed_atoms_give_the_counts_of_those_in_memory(rounds, noise):
    stored, streamed = (problem_of(memory) for memory in (2**30, 0))
    heights = [closed_form_start(stored), torch.zeros(150)]
    options = {"noise": noise, "rough": True}
    one, other = (tally(p, heights, 3000, np.random.default_rng(0), **options) for p in (stored, streamed))
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a.counts, b.counts) and torch.equal(a.together, b.together)


def test_a_streamed_fit_ends_in_the_bits_of_one_in_memory(rounds, monkeypatch):
    monkeypatch.setattr("dpmot.transport.atoms.BYTES", 2**16)  # 54 atoms at a time, as of many more dimensions
    one, other = (SemiDiscreteSolver(chi2=0.05)(problem_of(memory), seed=0) for memory in (2**30, 0))
    assert one.converged and torch.equal(one.potential.heights, other.potential.heights)


def test_streamed_atoms_are_computed_once_for_all_the_noise_of_a_look():
    class Counted:
        dim, asked = 300, 0

        def __len__(self):
            return 150

        def block(self, i, j):
            Counted.asked += j - i
            return NoisyImages(pixels(150, 300), 1.0, 0).block(i, j)

    problem = SemiDiscreteProblem(Counted(), memory=0)
    before = Counted.asked
    tally(problem, [torch.zeros(150)], 6000, np.random.default_rng(0), noise="mirrored")
    assert Counted.asked - before == 150
    potential = BrenierPotential(problem.atoms, torch.zeros(150), memory=0)
    before = Counted.asked
    potential.cell(torch.randn(1000, 300, generator=torch.Generator().manual_seed(0)))
    assert Counted.asked - before == 150


def test_noise_is_gathered_up_to_so_many_bytes_and_at_least_a_piece():
    pieces = [Plain(torch.zeros(5, 10)) for _ in range(5)]  # 200 bytes each
    assert [len(batch) for batch in gathered(iter(pieces), 400)] == [2, 2, 1]
    assert [len(batch) for batch in gathered(iter(pieces), 0)] == [1] * 5


def test_a_block_of_large_images_keeps_to_its_bytes():
    atoms = NoisyImages(np.broadcast_to(np.uint8(0), (400, 3, 256, 256)), 0.0, 0)
    first, last, y = next(blocks(atoms))
    assert (first, last) == (0, BYTES // (4 * 196_608)) and y.nbytes <= BYTES


def test_rows_of_atoms_that_know_only_blocks_are_found_in_them():
    class Blocks:
        dim = 7

        def __len__(self):
            return 5000

        def block(self, i, j):
            return torch.sin(torch.arange(i, j)[:, None] * torch.arange(1.0, 8.0))

    index = torch.tensor([4999, 0, 4096, 0])
    assert torch.equal(rows(Blocks(), index), Blocks().block(0, 5000)[index])


class Wide:
    """Atoms of many dimensions, quickly: 40 blocks, just smaller than what is given back to the system at once."""

    dim = 3 * 256**2

    def __len__(self):
        return 42 * 40

    def block(self, i, j):
        return torch.full((j - i, self.dim), 0.5).add_(i)


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the kernel's count of resident pages")
def test_a_pass_over_streamed_atoms_takes_the_memory_of_a_few_blocks_however_many_there_are():
    before = resident()
    problem = SemiDiscreteProblem(Wide(), memory=0)
    assert problem.norms.shape == (42 * 40,)
    # of 40 blocks of nearly 2^25 bytes; 8 of them where earlier tests have told the process to keep freed memory
    assert resident() - before < 16 * 2**25
