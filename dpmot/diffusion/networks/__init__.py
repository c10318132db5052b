"""Parametrisations, one file each: how a raw network F becomes the denoiser D(x, sigma), and its training loss.

A file exports a frozen dataclass ``Parametrisation`` whose fields are its options, with ``chain`` (the noise levels),
``denoise(model, x, sigma)`` and, where the network can be trained, ``loss(model, x0, noise, u)``,
or, where it is known exactly, ``model(tensors)`` from the data set's mixture. No file imports
torch: they are arithmetic on tensors, and plans are made without it.
"""
