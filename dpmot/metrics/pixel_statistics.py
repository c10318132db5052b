"""Grey levels: the mean of each sample's pixels, and their standard deviation within the sample; means over samples.

They tell nothing about quality and everything about what comes after the network: an image that is cut off instead of
rounded is half a grey level too dark. In the units of the pixels, [-1, 1]: a grey level is 1/127.5.
"""

from collections.abc import Mapping

import numpy as np

from dpmot.features import Features

DIRECTION = {"mean": "none", "std": "none"}
SPACE = "pixels"


def pointwise(generated: Features, references: Mapping[str, Features]) -> dict[tuple[str, str], np.ndarray]:
    """``mean_<extractor>`` and ``std_<extractor>``, float64 (n,) each; references play no part."""
    values = generated.values.astype(np.float64)
    suffix = generated.extractor
    return {(f"mean_{suffix}", "none"): values.mean(axis=1), (f"std_{suffix}", "none"): values.std(axis=1)}
