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


def test_arrays_are_accepted_as_images():
    assert as_images(np.zeros((2, 3, 4, 4), dtype=np.uint8), "classifier").shape == (2, 3, 4, 4)
