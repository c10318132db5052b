"""A PyTorch module that takes classes, a sampler with noise, and what comes back."""
import torch
from sklearn.datasets import load_digits

import dpmot

images, labels = torch.tensor(load_digits().images * 15.9).byte()[:, None], load_digits().target  # uint8 0..255

class Network(torch.nn.Linear):  # yours, with its weights loaded: dropout is switched off by dpmot, not by you
    def forward(self, x, sigma, labels):
        return (x + super().forward(x) / 100) / (1 + sigma.reshape(-1, 1, 1, 1) ** 2)

way = dpmot.expressway(images, sigma=1.0, chi2=0.05, labels=labels)
samples = dpmot.sample(Network(8, 8), way, "ddim", nfe=20, num_samples=64, seeds=1, options={"eta": 1.0})
print(samples, samples.images.shape, "images", samples.source[:3].tolist(), "classes", samples.labels[:3].tolist())
