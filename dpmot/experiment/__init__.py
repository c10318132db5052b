"""The experiment: configuration, the grid of cells, one module per stage of the workflow, and its records."""
