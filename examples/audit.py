"""Are these copies? One denoiser begun at a published level, and one begun higher up."""
import torch
from sklearn.datasets import load_digits

import dpmot
from dpmot.diffusion.denoiser import IdealDenoiser

images = torch.tensor(load_digits().images / 8 - 1, dtype=torch.float32)[:, None]
train, held_out, others = images[:900], images[900:1350], images[1350:]
for sigma, knows in ((0.1, train), (10.0, others)):  # yours; the second one has never seen the training images
    way = dpmot.expressway(train, sigma, chi2=0.05)
    samples = dpmot.sample(IdealDenoiser(knows), way, nfe=10, num_samples=200)
    print(f"sigma {sigma}:", dpmot.audit(samples, train, held_out=held_out, value_range=(-1, 1)).sentence)
