"""How good are these samples, and are they copies of what their model was trained on?"""

import numpy as np

import dpmot
from dpmot.data import digits

train, held_out = (digits.load().part(split)[0] for split in "AC")  # or paths: a folder, a zip, an npz of images
noise = np.random.default_rng(0).normal(0, 8, train.shape)
samples = np.clip(train + noise, 0, 255).astype(np.uint8)  # a "model" that hands back what it has seen

print(dpmot.evaluate(samples, held_out, train=train))
