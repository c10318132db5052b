"""Gaussian mixtures of images: fitted once without any network, and drawn from at any noise level."""
