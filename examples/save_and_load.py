"""Solve once: a path that is read if it is there, and a file for others who have the same images."""
import torch
from sklearn.datasets import load_digits

import dpmot

images = torch.tensor(load_digits().images * 15.9).byte()[:, None]  # uint8 (n, C, H, W)
way = dpmot.expressway(images, sigma=1.0, chi2=0.05, path="digits.safetensors")  # an interrupted fit goes on, too
again = dpmot.expressway(images, sigma=1.0, chi2=0.05, path="digits.safetensors")  # read
way.save("copy.safetensors")  # heights, certificate, recipe and labels: no images
read = dpmot.Expressway.load("copy.safetensors", images)  # other images are refused
noise = torch.randn(4, 1, 8, 8)
print(read, torch.equal(read.start(noise), way.start(noise)))
