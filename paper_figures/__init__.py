"""The paper's tables and figures, one file each, made from a results folder; no torch here."""
