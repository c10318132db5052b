"""A run as its user sees it: what is done and what is left, from the results folder alone; no job imports this."""
