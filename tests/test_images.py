"""uint8 <-> float, at one place."""

import pytest
import torch

from dpmot.images import to_float, to_uint8

ALL_LEVELS = torch.arange(256, dtype=torch.uint8).reshape(16, 1, 4, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_level_survives_the_way_to_float_and_back(dtype):
    assert torch.equal(to_uint8(to_float(ALL_LEVELS, dtype=dtype)), ALL_LEVELS)


def test_black_is_minus_one_and_white_is_one_exactly():
    x = to_float(torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1))
    assert x.flatten().tolist() == [-1, 1] and x.dtype == torch.float32


def test_values_between_levels_go_to_the_nearest_one():
    middle = to_float(torch.full((1, 1, 1, 1), 100, dtype=torch.uint8), dtype=torch.float64)
    step = 1 / 127.5
    assert to_uint8(middle + 0.49 * step).item() == 100
    assert to_uint8(middle + 0.51 * step).item() == 101
    assert to_uint8(middle - 0.51 * step).item() == 99


def test_values_outside_the_range_are_clamped_not_wrapped():
    assert to_uint8(torch.tensor([-3.0, -1.01, 1.01, 40.0]).reshape(4, 1, 1, 1)).flatten().tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.bool])
def test_images_that_are_not_uint8_are_refused_by_type(dtype):
    with pytest.raises(TypeError, match=rf"must be uint8 in 0\.\.255, got {dtype}"):
        to_float(torch.zeros(2, 1, 2, 2, dtype=dtype))


def test_nan_and_infinity_are_refused_with_the_number_of_bad_images():
    x = torch.zeros(5, 1, 2, 2)
    x[1, 0, 0, 0], x[3, 0, 1, 1] = torch.nan, -torch.inf
    with pytest.raises(ValueError, match="2 of 5 images hold NaN or infinite values"):
        to_uint8(x)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_samples_that_are_no_floats_are_refused_by_type(dtype):
    with pytest.raises(TypeError, match=f"Samples must be floats .* got {dtype}"):
        to_uint8(torch.ones(2, 1, 2, 2, dtype=dtype))
