"""Grey levels: the mean of each sample's pixels, and their standard deviation within the sample; means over samples.

They tell nothing about quality and everything about what comes after the network: an image that is cut off instead of
rounded is half a grey level too dark. In the units of the pixels, [-1, 1]: a grey level is 1/127.5.
"""

import numpy as np

from dpmot.features import Features
from dpmot.metrics import Arrays, Fact, References

FACTS = {  # a tenth of a grey level matters
    "mean": Fact("none", "mean grey level", least=0.1 / 127.5, exact=True),
    "std": Fact("none", "spread of grey levels", least=0.1 / 127.5, exact=True),
}
SPACE = "pixels"


def pointwise(generated: Features, references: References) -> Arrays:
    """``mean_<extractor>`` and ``std_<extractor>``, float64 (n,) each; references play no part."""
    values = generated.values.astype(np.float64)
    suffix = generated.extractor
    return {(f"mean_{suffix}", "none"): values.mean(axis=1), (f"std_{suffix}", "none"): values.std(axis=1)}
