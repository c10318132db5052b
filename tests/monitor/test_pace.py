"""The limit of jobs a second: gone on one machine, kept where somebody asked for one or a cluster runs the jobs."""

import pytest
from snakemake.scheduling.job_scheduler import JobRateLimiter
from snakemake.settings.types import MaxJobsPerTimespan

from dpmot.monitor.pace import paced


def limiter(text):
    return JobRateLimiter(MaxJobsPerTimespan.parse_choice(text))


def test_snakemakes_default_is_dropped_on_one_machine():
    assert paced(limiter("100/1s"), local=True) is None


@pytest.mark.parametrize(("text", "local"), [("100/1s", False), ("100/1m", True), ("1/1s", True)])
def test_a_cluster_and_a_limit_of_the_users_own_are_kept(text, local):
    given = limiter(text)
    assert paced(given, local=local) is given


def test_no_limit_stays_none():
    assert paced(None, local=True) is None
