"""Does a sample say more than its nearest training image? Means over samples, in pixel space.

- authenticity (Alaa et al. 2022, section 2.2): the share farther from their nearest training image than that
  image is from its own nearest other training image. Held-out images: about one half.
- nn_distance: Euclidean distance to the nearest image of each reference.
- exact_duplicates: the share that equals a training image to the bit.
- near_duplicates: the share nearer to its nearest training image than 99 % of the held-out images are to theirs, or
  equal to it.
  Held-out images: one in a hundred.
"""

import numpy as np

from dpmot.features import Features
from dpmot.metrics import Arrays, Fact, References
from dpmot.metrics._neighbours import nearest, required

FACTS = {
    "authenticity": Fact("higher", "authenticity", digits=3, least=0.01, quality=False, share=True),
    "nn_distance": Fact("none", "distance to the nearest image"),
    "exact_duplicates": Fact("lower", "exact duplicates", digits=3, least=0.01, share=True),
    "near_duplicates": Fact("lower", "near duplicates", digits=3, least=0.01, share=True),
}
NEAR = 0.01  # quantile of the held-out distances
SPACE = "pixels"
COPYING = True


def pointwise(generated: Features, references: References) -> Arrays:
    """``authenticity_``, ``*_duplicates_`` (booleans), ``nn_distance_<extractor>`` (float64), (n,) each."""
    train = required(generated, references, "train", "Novelty", least=2, stem="authenticity")
    suffix = generated.extractor
    result = {
        (f"nn_distance_{suffix}", name): nearest(generated, required(generated, references, name, "Novelty")).distance
        for name in references
    }
    closest = nearest(generated, train)
    distance = closest.distance
    result[f"exact_duplicates_{suffix}", "train"] = distance == 0
    if "test" in references:
        held_out = nearest(references["test"], train).distance
        result[f"near_duplicates_{suffix}", "train"] = (distance == 0) | (distance < np.quantile(held_out, NEAR))
    result[f"authenticity_{suffix}", "train"] = distance > nearest(train, None).distance[closest.index]
    return result
