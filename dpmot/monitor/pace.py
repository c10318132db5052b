"""How often Snakemake looks for jobs that can start.

Its default, at most 100 jobs a second, is for clusters. While it holds, each job that ends begins one more round of
looking, every second until the end of the run (Snakemake's pull request 3744): on one machine, in a run of 264 jobs,
Snakemake took 7 seconds of processor time a job after sixty jobs, and .6 without the limit.
"""

from typing import Protocol

DEFAULT = (100, 1)  # jobs, seconds: Snakemake's --max-jobs-per-timespan where nobody gives one


class Limit(Protocol):
    """Snakemake's limiter: so many jobs in so many seconds."""

    max_jobs: int
    timespan: float


def paced(limit: Limit | None, *, local: bool) -> Limit | None:
    """The limit to run with: none on one machine, unless another than the default was asked for."""
    if limit and local and (limit.max_jobs, limit.timespan) == DEFAULT:
        return None
    return limit
