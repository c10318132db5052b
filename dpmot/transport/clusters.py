"""Clusters of atoms: k-means in the few directions in which the atoms spread most."""

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

from dpmot.transport.problem import SemiDiscreteProblem

CROWD = 10  # the fewest atoms of an average cluster


def clusters(problem: SemiDiscreteProblem, most: int) -> Tensor:
    """Labels 0..k-1 of at most `most` clusters, int64 (N,); a single cluster where atoms are few."""
    device, number = problem.mean.device, min(most, len(problem.atoms) // CROWD)
    if number < 2:
        return torch.zeros(len(problem.atoms), dtype=torch.int64, device=device)
    # labels need no secrecy: the same ones for every look at these atoms
    labels = kmeans2(problem.principal.cpu().numpy(), number, minit="++", rng=np.random.default_rng(0))[1]
    return torch.from_numpy(np.unique(labels, return_inverse=True)[1]).to(device)
