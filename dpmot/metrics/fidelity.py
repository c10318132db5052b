"""Fidelity: do samples lie where real images lie? Means over samples.

A real image's ball reaches to its k-th nearest other real image, edge included (prdc leaves the edge out, which only
ties can tell).

- precision (Kynkaanniemi et al. 2019, k = 3): the share of samples that lie in a ball.
- density (Naeem et al. 2020, k = 5): the number of balls that a sample lies in, over k; 1 for real images, more where
  samples crowd in dense places.

Their intervals are those of the mean over samples, against the images of this reference.
"""

from dpmot.features import Features
from dpmot.metrics import Arrays, Fact, References
from dpmot.metrics._neighbours import DENSITY_K, PRECISION_K, balls, with_balls

FACTS = {
    "precision": Fact("higher", "precision", "Precision (k = 3)", digits=3, least=0.01, share=True),
    "density": Fact("higher", "density", "Density (k = 5)", digits=3, least=0.01),
}
SPACE = "features"


def pointwise(generated: Features, references: References) -> Arrays:
    """``precision_<extractor>`` (booleans) and ``density_<extractor>`` (float64) against every reference, (n,) each."""
    result: Arrays = {}
    for name in references:
        inside = balls(generated, with_balls(generated, references, name, "Precision", "precision")).inside
        result[f"precision_{generated.extractor}", name] = inside[PRECISION_K] > 0
        result[f"density_{generated.extractor}", name] = inside[DENSITY_K] / DENSITY_K
    return result
