"""Label entropy: mode mixture without a classifier. Do the real neighbours of a sample agree on its class?

H = -sum_k q_k log q_k in nats, q the classes' shares among the 10 nearest real images in pixels. 0 where all agree,
log 10 at most; real images have their own, the floor, because pixels know classes imperfectly.
"""

import numpy as np

from dpmot.features import Features
from dpmot.metrics import Arrays, Fact, References
from dpmot.metrics._neighbours import neighbours, required

FACTS = {
    "label_entropy": Fact(
        "lower", "label entropy", "Label entropy of the 10 nearest real images (pixels)", digits=3, least=0.01
    )
}
SPACE = "pixels"
NEIGHBOURS = 10


def pointwise(generated: Features, references: References) -> Arrays:
    """``label_entropy_<extractor>`` against every reference with labels, float64 (n,)."""
    result = {}
    for name, reference in references.items():
        if reference.labels is None:
            continue
        told, stem = "Label entropy", "label_entropy"
        known = required(generated, references, name, told, least=NEIGHBOURS, stem=stem)
        index, _ = neighbours(generated, known, NEIGHBOURS)
        shares = (reference.labels[index][:, :, None] == np.unique(reference.labels)).mean(axis=1)
        entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=1)
        result[f"label_entropy_{generated.extractor}", name] = entropy
    return result
