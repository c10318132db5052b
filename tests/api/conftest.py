"""Digits, a denoiser that knows them by heart, and their expressway."""

from types import SimpleNamespace

import pytest
import torch
from sklearn.datasets import load_digits

import dpmot
from dpmot.diffusion.denoiser import IdealDenoiser


@pytest.fixture(scope="session")
def digits():
    """images float (200, 1, 8, 8), labels (200,), denoiser(x, sigma), way at sigma 1 with labels."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:200, None] / 8 - 1
    labels, ideal = torch.tensor(data.target[:200]), IdealDenoiser(images)

    def denoiser(x, sigma):
        return ideal(x, sigma)

    way = dpmot.expressway(images, 1.0, labels=labels, chi2=0.05, progress=False)
    return SimpleNamespace(images=images, labels=labels, denoiser=denoiser, way=way)


@pytest.fixture
def noise():
    return torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
