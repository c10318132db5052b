"""One step of Euler's and of Heun's method, shared by the samplers that are made of them."""


def euler(x, denoised, sigma, to):
    """One Euler step sigma -> to; ``denoised`` is D(x, sigma)."""
    return x + (to - sigma) * ((x - denoised) / sigma)


def heun(denoiser, x, denoised, sigma, to):
    """One Heun step sigma -> to; ``denoised`` is D(x, sigma). The step to 0 is Euler's: its slope there is unknown."""
    there = euler(x, denoised, sigma, to)
    if to == 0:
        return there
    slope, corrected = (x - denoised) / sigma, (there - denoiser(there, to)) / to
    return x + (to - sigma) * (slope + corrected) / 2
