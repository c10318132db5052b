"""Does a sample say more than its nearest training image? Means over samples, in pixel space.

- recovery: the share whose nearest training image is the one that their own start was made from. A sample that
  is independent of its source recovers it with probability 1/N; a lightly noised copy always does.
- authenticity (Alaa et al. 2022, section 2.2): the share farther from their nearest training image than that
  image is from its own nearest other training image. Held-out images: about one half.
- nn_distance: Euclidean distance to the nearest image of each reference.
- exact_duplicates: the share that equals a training image to the bit.
- near_duplicates: the share nearer to its nearest training image than 99 % of the held-out images are to theirs.
  Held-out images: one in a hundred.
"""

from collections.abc import Mapping

import numpy as np

from dpmot.features import Features
from dpmot.metrics._neighbours import distances, nearest, nearest_other, required

DIRECTION = {
    **{"recovery": "lower", "authenticity": "higher", "nn_distance": "none"},
    **{"exact_duplicates": "lower", "near_duplicates": "lower"},
}
NEAR = 0.01  # quantile of the held-out distances
SPACE = "pixels"
# Samples of one stored latent are one draw of its noise: recovery asks whether *latents* come back, and there are no
# more of these than distinct sources, however many samples are drawn from them.
UNITS = {"recovery": lambda generated: len(np.unique(generated.source))}


def pointwise(generated: Features, references: Mapping[str, Features]) -> dict[tuple[str, str], np.ndarray]:
    """``recovery_``, ``authenticity_``, ``*_duplicates_`` (booleans), ``nn_distance_<extractor>`` (float64), (n,) each.

    Args:
        generated: with ``source`` where known; without it there is no recovery.
        references: "train", the images that the starts and networks were made from, and any others.

    Raises:
        ValueError: "train" is missing, a reference is in another space, or a source is no row of "train".
    """
    train = required(generated, references, "train", "Novelty")
    suffix = generated.extractor
    result = {
        (f"nn_distance_{suffix}", name): nearest(generated, required(generated, references, name, "Novelty")).distance
        for name in references
    }
    distance = nearest(generated, train).distance
    result[f"exact_duplicates_{suffix}", "train"] = distance == 0
    if "test" in references:
        held_out = nearest(references["test"], train).distance
        result[f"near_duplicates_{suffix}", "train"] = distance < np.quantile(held_out, NEAR)
    result[f"authenticity_{suffix}", "train"] = _authentic(generated, train)
    if generated.source is not None:
        result[f"recovery_{suffix}", "train"] = _recovered(generated, train)
    return result


def _authentic(generated: Features, train: Features) -> np.ndarray:
    closest = nearest(generated, train)
    return closest.distance > nearest_other(train).distance[closest.index]


def _recovered(generated: Features, train: Features) -> np.ndarray:
    if len(generated) and generated.source.max() >= len(train):
        raise ValueError(f"Source {generated.source.max()} is no row of the {len(train)} training images")
    # <= and not the index, so that a duplicate of the source in the training set hides nothing.
    own = distances(generated.values, train.values, generated.source)
    return own <= nearest(generated, train).distance
