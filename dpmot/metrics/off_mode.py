"""True off-mode share: on a Gaussian mixture that is known, the share of samples farther than 3 s from every centre.

Real samples in two dimensions have exp(-9/2) = 0.011. It needs no classifier and no threshold of probabilities.
"""

from dpmot.features import Features
from dpmot.metrics import Arrays, Fact, References

FACTS = {
    "off_mode": Fact(
        "lower", "off-mode", "True off-mode share (3 standard deviations)", digits=3, least=0.01, share=True
    )
}
SPACE = "features"


def pointwise(generated: Features, references: References) -> Arrays:
    """``off_mode_<extractor>``, true off every mode, (n,); nothing where no mixture is known."""
    if generated.off_mode is None:
        return {}
    return {(f"off_mode_{generated.extractor}", "none"): generated.off_mode}
