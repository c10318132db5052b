"""The rivals, one file each: ``sample(denoiser, x, sigmas, ...)`` and ``num_steps(nfe)``."""
