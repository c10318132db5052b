"""Source recovery: the share of samples whose nearest training image is the one that their own start was made from.

A sample that is independent of its source recovers it with probability 1/N; a lightly noised copy always does. In
pixels it decides whether a row is ranked; in features it tells whether a copy is only moved or recoloured.
"""

import numpy as np

from dpmot.features import Features
from dpmot.metrics import Arrays, Fact, References, _pairs
from dpmot.metrics._neighbours import nearest, required

FACTS = {"recovery": Fact("lower", "source recovery", digits=3, least=0.01, quality=False, share=True)}
SPACE = "any"
COPYING = True


def pointwise(generated: Features, references: References) -> Arrays:
    """``recovery_<extractor>`` against "train", booleans (n,); nothing where the sources are not known."""
    if generated.source is None:
        return {}
    train = required(generated, references, "train", "Source recovery")
    if len(generated) and generated.source.max() >= len(train):
        raise ValueError(f"Source {generated.source.max()} is no row of the {len(train)} training images")
    # <= and not the index, so that a duplicate of the source in the training set hides nothing.
    rows = np.arange(len(generated))
    own = np.sqrt(_pairs.squared_distances(generated.values, train.values, rows, generated.source))
    return {(f"recovery_{generated.extractor}", "train"): own <= nearest(generated, train).distance}
