"""Mass error of the stored images, and the grey levels of samples, by hand and by their laws."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chisquare

from dpmot.features import Features
from dpmot.metrics import mass_error, pixel_statistics

KEY = ("mass_error_pixels", "train")
DRAW = np.random.default_rng(0)


def sources(index, number=50):
    rows = Features(values=np.zeros((len(index), 2)), extractor="pixels", source=np.asarray(index))
    return rows, {"train": Features(values=np.zeros((number, 2)), extractor="pixels")}


def test_mass_error_is_the_standardised_chi2_of_the_sources():
    index = DRAW.integers(50, size=400)
    chi2 = chisquare(np.bincount(index, minlength=50)).statistic
    assert mass_error.evaluate(*sources(index))[KEY] == pytest.approx((chi2 - 49) / np.sqrt(98), rel=1e-12)


def test_equal_masses_give_a_standard_normal_and_unequal_ones_stand_out():
    found = np.array([mass_error.evaluate(*sources(DRAW.integers(50, size=400)))[KEY] for _ in range(400)])
    assert abs(found.mean()) < 0.2 and 0.85 < found.std() < 1.15
    masses = np.where(np.arange(50) < 25, 0.5, 1.5) / 50  # relative errors of one half
    uneven = mass_error.evaluate(*sources(DRAW.choice(50, 400, p=masses)))[KEY]
    assert uneven == pytest.approx(400 * 0.25 / np.sqrt(98), abs=5)


def test_of_a_part_of_the_training_images_only_that_part_counts():
    index = DRAW.integers(20, size=400)
    rows, references = sources(index)
    whole = sources(index, number=20)
    part = replace(rows, num_sources=20)
    assert mass_error.evaluate(part, references)[KEY] == mass_error.evaluate(*whole)[KEY]
    assert mass_error.evaluate(rows, references)[KEY] > 10  # thirty of fifty never used


def test_one_stored_image_or_no_source_has_no_mass_error():
    assert mass_error.evaluate(*sources(np.zeros(10, dtype=int), number=1))[KEY] == 0
    unknown = Features(values=np.zeros((3, 2)), extractor="pixels")
    assert mass_error.evaluate(unknown, {"train": unknown}) == {}


def test_pixel_statistics_tell_rounding_from_cutting_off():
    x = DRAW.uniform(0, 255, (2000, 16))
    rounded, cut = (
        pixel_statistics.pointwise(Features(values=v / 127.5 - 1, extractor="pixels"), {})["mean_pixels", "none"].mean()
        for v in (np.round(x), np.floor(x))
    )
    assert (rounded - cut) * 127.5 == pytest.approx(0.5, abs=0.01)
    std = pixel_statistics.pointwise(Features(values=np.array([[-1.0, 1.0]]), extractor="pixels"), {})
    assert std["std_pixels", "none"] == 1
