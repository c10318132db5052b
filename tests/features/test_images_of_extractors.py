"""What an extractor accepts as images."""

import numpy as np
import pytest
import torch

from dpmot.features._images import as_images


@pytest.mark.parametrize(
    "images",
    [torch.zeros(0, 1, 8, 8, dtype=torch.uint8), torch.zeros(2, 2, 8, 8, dtype=torch.uint8), torch.zeros(2, 1, 8, 8)],
)
def test_images_that_are_not_uint8_grey_or_rgb_are_refused(images):
    with pytest.raises(ValueError, match="C = 1 or 3, got"):
        as_images(images, "clip")


@pytest.mark.parametrize("images", [None, "a.png", [[1], [1, 2]], np.zeros((2, 3, 8, 8), dtype=object), {}])
def test_what_is_no_array_at_all_is_refused_in_one_line(images):
    with pytest.raises(ValueError, match="Images must be a uint8 tensor or array") as caught:
        as_images(images, "clip")
    assert "\n" not in str(caught.value)


def test_arrays_are_accepted_as_images():
    assert as_images(np.zeros((2, 3, 4, 4), dtype=np.uint8), "classifier").shape == (2, 3, 4, 4)
