"""One generator per sample and purpose."""

from hashlib import blake2b

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from dpmot import seeds


def test_a_stream_is_philox_keyed_by_the_hash_of_its_name():
    key = int.from_bytes(blake2b(b"(3, 'step', 7)", digest_size=16).digest(), "little")
    expected = np.random.Generator(np.random.Philox(key=key)).standard_normal(8)
    np.testing.assert_array_equal(seeds.generator(3, "step", 7).standard_normal(8), expected)


@pytest.mark.parametrize("three", [np.int64(3), np.uint8(3), torch.tensor(3)])
def test_an_integer_names_the_same_stream_whichever_type_holds_it(three):
    assert seeds.generator(three, "prior").integers(1 << 62) == seeds.generator(3, "prior").integers(1 << 62)


def test_a_seed_that_is_no_integer_is_refused():
    with pytest.raises(TypeError):
        seeds.generator(0.5, "prior")


def test_text_and_number_of_the_same_spelling_are_different_streams():
    first = [seeds.generator(*key).integers(1 << 62) for key in [(1, "2"), ("1", 2), (1, 2), (12,), ("1", "2")]]
    assert len(set(first)) == len(first)


def test_sample_seeds_of_different_runs_never_meet():
    runs = [seeds.sample_seeds(run, 1000) for run in range(4)]
    assert len(set().union(*runs)) == 4000
    assert runs[0][:3] == [0, 1, 2] and runs[1][5] == 2**32 + 5


@pytest.mark.parametrize("draw", [seeds.normal, seeds.uniform])
def test_a_row_depends_on_its_own_seed_only(draw):
    rows = seeds.sample_seeds(1, 50)
    whole = draw(rows, (1, 4, 4), "step", 2)
    assert whole.shape == (50, 1, 4, 4) and whole.dtype == torch.float32
    assert torch.equal(draw(rows[::-1], (1, 4, 4), "step", 2).flip(0), whole)
    assert torch.equal(draw(rows[17:18], (1, 4, 4), "step", 2), whole[17:18])


def test_integers_depend_on_their_own_seed_only_and_stay_below_the_bound():
    rows = seeds.sample_seeds(0, 400)
    drawn = seeds.integers(rows, 7, "copy")
    assert drawn.dtype == torch.int64 and drawn.shape == (400,)
    assert set(drawn.tolist()) == set(range(7))
    assert seeds.integers([rows[123]], 7, "copy").item() == drawn[123]


def test_purposes_and_steps_are_independent_streams():
    rows = seeds.sample_seeds(0, 64)
    drawn = [seeds.normal(rows, (64,), *purpose).flatten() for purpose in (("prior",), ("step", 0), ("step", 1))]
    correlation = torch.corrcoef(torch.stack(drawn)) - torch.eye(3)
    assert correlation.abs().max() < 4 / 64  # four standard deviations of 4096 independent pairs


@pytest.mark.parametrize(("draw", "law"), [(seeds.normal, "norm"), (seeds.uniform, "uniform")])
def test_across_samples_the_noise_has_its_law(draw, law):
    drawn = draw(seeds.sample_seeds(0, 2000), (2,), "prior").flatten().double()
    assert kstest(drawn.numpy(), law).pvalue > 1e-3  # a right generator fails for one set of seeds in a thousand


def test_no_seeds_give_an_empty_batch_of_the_right_shape():
    assert seeds.normal([], (1, 8, 8), "prior").shape == (0, 1, 8, 8)


@pytest.mark.parametrize(("shape", "together"), [((1, 8, 8), 16), ((2,), 512), ((1, 28, 28), 1), ((3, 32, 32), 1)])
def test_the_noise_of_a_trajectory_is_the_same_in_whichever_order_it_is_asked(shape, together):
    rows = seeds.sample_seeds(2, 5)
    noise = seeds.trajectory(rows, shape)
    there = [noise(step) for step in (0, 40, 3, 17, 40)]
    assert all(one.shape == (5, *shape) and one.dtype == torch.float32 for one in there)
    assert torch.equal(there[1], there[4]) and torch.equal(seeds.trajectory(rows[3:4], shape)(17)[0], there[3][3])
    block, place = divmod(17, together)
    assert torch.equal(there[3], seeds.normal(rows, (together, *shape), "steps", block)[:, place])


def test_the_steps_of_a_trajectory_are_independent():
    noise = seeds.trajectory(seeds.sample_seeds(0, 64), (1, 8, 8))
    drawn = [noise(step).flatten() for step in (0, 1, 15, 16, 32)]
    correlation = torch.corrcoef(torch.stack(drawn)) - torch.eye(5)
    assert correlation.abs().max() < 4 / 64  # four standard deviations of 4096 independent pairs


@pytest.mark.parametrize("expected", [1, 5, 16, 17, 40])
def test_a_trajectory_of_expected_steps_has_the_same_numbers_within_and_beyond_them(expected):
    whole = seeds.trajectory([3, 4], (1, 8, 8))
    cut = seeds.trajectory([3, 4], (1, 8, 8), expected=expected)
    for step in (0, 4, 15, 16, 2, 39):
        assert torch.equal(cut(step), whole(step))
