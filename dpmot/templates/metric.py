"""Radius: how far from the centre of the real images a sample lies, |f(x) - mean f(real)|, in units of the features."""

from collections.abc import Mapping

import numpy as np

from dpmot.features import Features
from dpmot.metrics import Fact
from dpmot.metrics._neighbours import required

FACTS = {"template_name": Fact("none", "radius", digits=3, least=0.01, quality=False)}
SPACE = "features"


def pointwise(generated: Features, references: Mapping[str, Features]) -> dict[tuple[str, str], np.ndarray]:
    """``template_name_<extractor>`` against every reference, float64 (n,)."""
    result = {}
    for name in references:
        centre = required(generated, references, name, "Radius").values.mean(axis=0, dtype=np.float64)
        result[f"template_name_{generated.extractor}", name] = np.linalg.norm(generated.values - centre, axis=1)
    return result
