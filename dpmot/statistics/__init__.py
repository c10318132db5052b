"""Intervals and tests; numpy only."""
