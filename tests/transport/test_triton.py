"""The kernel of a GPU, interpreted on the processor: the leaders and the counts of the blocked torch products.

Needs triton, which comes with torch for CUDA: `pip install triton`, then `TRITON_INTERPRET=1 pytest tests/transport`.
"""

import os

import numpy as np
import pytest
import torch

from dpmot.transport import SemiDiscreteProblem
from dpmot.transport.noise import KINDS
from dpmot.transport.tally import tally

pytest.importorskip("triton", reason="triton is not installed: pip install triton")
if os.environ.get("TRITON_INTERPRET") != "1" and not torch.cuda.is_available():
    pytest.skip("there is no GPU: TRITON_INTERPRET=1 runs the kernel on the processor", allow_module_level=True)

from dpmot.transport import _triton as gpu

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def whole(*shape, seed=0, most=8):
    """Whole numbers, whose sums of products are exact in float32 and TF32, in whichever order."""
    drawn = torch.randint(-most, most + 1, shape, generator=torch.Generator().manual_seed(seed))
    return drawn.float().to(DEVICE)


def expected(scores, heights, mirror):
    sides = (1, -1) if mirror else (1,)
    return [((heights + side * scores).amax(1), (heights + side * scores).argmax(1)) for side in sides]


def agree(found, wanted):
    assert len(found) == len(wanted)
    for (value, cell), (best, index) in zip(found, wanted, strict=True):
        assert torch.equal(value, best) and torch.equal(cell, index)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize(("rows", "atoms"), [(1, 1), (5, 300), (64, 128), (100, 1000)])
def test_leaders_of_given_scores_are_their_first_largest(rows, atoms, mirror):
    scores, heights = whole(rows, atoms), whole(atoms, seed=1)  # small whole numbers: ties in almost every row
    for layout in (scores, scores.T.contiguous().T):
        agree(gpu.leaders(None, layout, heights, mirror=mirror, exact=True), expected(scores, heights, mirror))


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("rows", "bundles", "atoms"), [(32, 1, 50), (96, 8, 333), (70, 3, 129)])
def test_leaders_of_turned_bundles_are_those_of_their_products(rows, bundles, atoms, exact):
    mixing, base, heights = whole(rows, 32), whole(32, bundles, atoms, seed=1), whole(atoms, seed=2)
    scores = (mixing @ base.flatten(1)).view(rows * bundles, atoms)
    agree(gpu.leaders(mixing, base, heights, mirror=True, exact=exact), expected(scores, heights, True))


def test_a_tie_between_programs_goes_to_the_lowest_atom(monkeypatch):
    monkeypatch.setattr(gpu, "PROGRAMS", 100)  # every tile of atoms has a program of its own
    scores = torch.zeros(3, 1000, device=DEVICE)
    scores[:, [130, 700, 999]] = 1
    (_, cell), (_, mirrored) = gpu.leaders(None, scores, torch.zeros(1000, device=DEVICE), mirror=True, exact=True)
    assert cell.tolist() == [130] * 3 and mirrored.tolist() == [0] * 3


@pytest.mark.parametrize("noise", KINDS)
def test_the_kernel_counts_what_the_blocked_products_count(noise):
    draws = torch.randn(150, 40, generator=torch.Generator().manual_seed(0))
    problem = SemiDiscreteProblem(draws.to(DEVICE))
    heights = [torch.zeros(150, device=DEVICE), 0.5 * torch.linspace(-1, 1, 150, device=DEVICE)]
    one, other = (
        tally(problem, heights, 2000, np.random.default_rng(0), noise=noise, fused=fused) for fused in (True, False)
    )
    for a, b in zip(one, other, strict=True):
        assert a.draws == b.draws and a.pairs == b.pairs
        # products are rounded in another order: a draw at a wall may change sides
        assert (a.counts - b.counts).abs().sum() <= 4
        assert (a.together - b.together).abs().sum() <= 0.01 * a.together.sum() + 4
