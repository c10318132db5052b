"""How long the rest of a run takes: schedules with known ends, and rates of what was timed."""

import math

import pytest

from dpmot.monitor.forecast import Rates, duration, forecast, makespan
from dpmot.monitor.steps import Step


def step(name, *needs, stage="sample", threads=1, work=1.0):
    return Step(name, stage, needs, (), threads, work=work)


@pytest.mark.parametrize(("number", "cores"), [(1, 1), (5, 2), (6, 2), (7, 3), (3, 8)])
def test_equal_jobs_that_wait_for_nothing_end_after_their_rounds(number, cores):
    jobs = [step(f"a{k}") for k in range(number)]
    assert makespan(jobs, {job.name: 10.0 for job in jobs}, cores=cores) == 10 * math.ceil(number / cores)


def test_a_chain_takes_the_sum_whatever_the_cores():
    jobs = [step("a"), step("b", "a"), step("c", "b")]
    assert makespan(jobs, {"a": 1, "b": 2, "c": 4}, cores=8) == 7


def test_a_need_outside_of_what_is_left_is_there_already():
    assert makespan([step("b", "a")], {"b": 2}, cores=1) == 2


def test_a_job_that_asks_for_more_cores_than_there_are_takes_all():
    jobs = [step("wide", threads=4), step("narrow")]
    assert makespan(jobs, {"wide": 3, "narrow": 3}, cores=2) == 6
    assert makespan(jobs, {"wide": 3, "narrow": 3}, cores=5) == 3


def test_jobs_that_wait_for_each_other_do_not_hang():
    assert makespan([step("a", "b"), step("b", "a")], {"a": 1, "b": 1}, cores=1) == 0


def test_what_a_running_job_has_spent_is_taken_off_but_never_more_than_all():
    def ten(_):
        return 10.0

    assert forecast([step("a")], ten, cores=1, spent={"a": 4.0}).seconds == 6
    assert forecast([step("a")], ten, cores=1, spent={"a": 40.0}).seconds == 0


def timed(wall, arithmetic):
    return {"wall_s": wall, "arithmetic_s": arithmetic}


def test_a_job_like_one_that_was_timed_takes_its_start_up_and_its_share_of_the_work():
    jobs = [step("a", work=100), step("b", work=300), step("c", work=1000)]
    rates = Rates.of(jobs, {"a": timed(7, 2), "b": timed(11, 6)}, {})
    assert rates(jobs[2]) == pytest.approx(5 + 1000 * 8 / 400)  # 5 s of start-up each, 8 s for 400 evaluations


def test_a_job_timed_before_takes_that_time_by_the_speed_of_this_machine():
    jobs = [step("a"), step("b")]
    rates = Rates.of(jobs, {"a": timed(20, 1)}, {"a": {"wall_s": 10}, "b": {"wall_s": 30}})
    assert rates(jobs[1]) == 60
    assert Rates.of(jobs, {}, {"b": {"wall_s": 30}})(jobs[1]) == 30


def test_what_was_never_timed_is_said_and_not_guessed():
    jobs = [step("a", work=1), step("m", stage="measure")]
    found = forecast(jobs, Rates.of(jobs, {"a": timed(2, 1)}, {}), cores=2)
    assert (
        str(found) == "about 2 s left on 2 cores (measure: not timed yet)" and found.briefly() == "more than 2 s left"
    )
    nothing = forecast(jobs[1:], Rates.of(jobs, {}, {}), cores=1)
    assert str(nothing) == "time left unknown on 1 core (measure: not timed yet)" and nothing.briefly() == ""


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (273600, "3 d 4 h")],
)
def test_durations_read_as_people_say_them(seconds, told):
    assert duration(seconds) == told
