"""DPM-OT (Li et al., ICCV 2023, arXiv:2307.11308): the method, and the instruments that judge it."""

__version__ = "0.1.0"
