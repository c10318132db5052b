"""Clusters of atoms: k-means in the few directions in which the atoms spread most."""

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

from dpmot.seeds import generator
from dpmot.transport.atoms import blocks
from dpmot.transport.problem import SemiDiscreteProblem

DIRECTIONS = 16
CROWD = 10  # the fewest atoms of an average cluster


def principal_directions(problem: SemiDiscreteProblem) -> Tensor:
    """Orthonormal directions close to the leading principal ones, float32 (d, k), k = min(d, DIRECTIONS).

    Randomised range finder with one power iteration (Halko, Martinsson, Tropp 2011).
    """
    dim, device = problem.atoms.dim, problem.mean.device
    if dim <= DIRECTIONS:
        return torch.eye(dim, device=device)
    gaussian = generator(0, "transport", "directions").standard_normal((dim, DIRECTIONS), dtype=np.float32)
    basis = torch.from_numpy(gaussian).to(device)
    for _ in range(2):  # one pass, and one more to sharpen it
        basis = torch.linalg.qr(sum(y.T @ (y @ basis) for _, _, y in blocks(problem.points)))[0]
    return basis


def projected(problem: SemiDiscreteProblem) -> np.ndarray:
    """The centred atoms along the principal directions, float64 (N, k): distances only shorten."""
    basis = principal_directions(problem)
    return torch.cat([y @ basis for _, _, y in blocks(problem.points)]).double().cpu().numpy()


def clusters(problem: SemiDiscreteProblem, most: int) -> Tensor:
    """Labels 0..k-1 of at most `most` clusters, int64 (N,); a single cluster where atoms are few."""
    device, number = problem.mean.device, min(most, len(problem.atoms) // CROWD)
    if number < 2:
        return torch.zeros(len(problem.atoms), dtype=torch.int64, device=device)
    # labels need no secrecy: the same ones for every look at these atoms
    labels = kmeans2(projected(problem), number, minit="++", rng=np.random.default_rng(0))[1]
    return torch.from_numpy(np.unique(labels, return_inverse=True)[1]).to(device)
