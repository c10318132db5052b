"""Networks as denoisers D(x, sigma) = E[x0 | x0 + sigma eps = x], their noise levels and their training."""
