"""The rivals, one file each: ``sample(denoiser, x, sigmas, *, noise, callback, ...)`` and ``num_steps(nfe, ...)``.

``sample`` runs from x at sigmas[0] to sigma 0 and returns the sample, (B, *S):
    denoiser    D(x, sigma) of all samples at once, one evaluation a call; see docs/extending.md;
    x           start, (B, *S), at noise level sigmas[0];
    sigmas      sigma_0, ..., sigma_n, descending, sigma_n = 0;
    noise       step i -> N(0, 1) noise (B, *S); deterministic methods leave it unused, stochastic ones need it;
    callback    called with (i, x_i, D_i) before step i = 0, ..., n-1;
what follows are the method's options. Options that ``check`` refuses, and missing noise, are a ValueError.

``num_steps`` gives the most steps within ``nfe`` evaluations; not even one: UnattainableBudget. ``GRID`` names the grid
family that the method is made for, None the network's own levels.
"""
