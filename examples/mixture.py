"""A start that stores no image: ten Gaussians, fitted in a second, and beside it the prior that it replaces."""
import torch
from sklearn.datasets import load_digits

import dpmot

images = torch.tensor(load_digits().images / 8 - 1, dtype=torch.float32)[:, None]  # (1797, 1, 8, 8) in [-1, 1]

def denoiser(x, sigma):  # yours: E[x0 | x0 + sigma eps = x], for x (B, 1, 8, 8) and sigma (B,); here of the images
    log = -torch.cdist(x.flatten(1), images.flatten(1)) ** 2 / (2 * sigma[:, None] ** 2)
    return (log.softmax(1) @ images.flatten(1)).reshape(x.shape)

start = dpmot.mixture(images, sigma=2.0, components=10, path="mixture.safetensors")
for begin in (start, start.at(1.0), "prior"):
    print(dpmot.sample(denoiser, begin, "ddim", nfe=5, shape=(1, 8, 8), levels=(0.002, 80)))
