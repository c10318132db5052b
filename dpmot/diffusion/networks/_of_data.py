"""What networks that are the data themselves share."""

SPLITS = ("A", "B", "C")
