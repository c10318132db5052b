"""A fit ends where a look saw about what it was to see."""

import pytest
import torch

from dpmot.transport.averaging import POOR, SURPRISE, Progress


def progress(last, due, *, number=1000, seen=100_000):
    zeros = torch.zeros(number)
    return Progress(zeros, zeros, zeros, zeros[:0], 0.0, 0.01, zeros, zeros[:0], last=last, seen=seen, due=due)


@pytest.mark.parametrize(("last", "due", "settled"), [
    (0.012, 0.01, True),
    (0.5, 0.4, False),  # far, whatever was expected
    (0.05, 0.01, False),  # a step that was to reach .01
    (0.05, float("inf"), True),  # the first look, of a start that is close
    (float("inf"), float("inf"), False),
])  # fmt: skip
def test_what_was_expected_is_believed_and_surprises_are_looked_at_again(last, due, settled):
    assert progress(last, due).settled is settled


def test_a_small_look_is_allowed_its_noise():
    error = 2000**0.5 / 4000
    last = SURPRISE * 0.01 + error
    assert last < POOR and progress(last, 0.01, seen=4000).settled and not progress(last, 0.01).settled
