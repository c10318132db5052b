"""Can the data set's classifier be trusted? On labelled images its accuracy and its expected calibration error (ECE).

ECE (Guo et al. 2017): the mean over 15 equal bins of the confidence, weighted by their images, of |accuracy -
confidence|. By chance a calibrated classifier has more than 0 too, the more the fewer images there are.
"""

from dpmot.features import Features
from dpmot.features._calibration import calibration
from dpmot.metrics import Fact, NotMeasurable, References, Values

FACTS = {
    "accuracy": Fact("higher", "accuracy", digits=3, least=0.01, quality=False, share=True),
    "ece": Fact("lower", "ECE", digits=3, least=0.01, quality=False, share=True),
}
OF_CLASSES = True
SPACE = "probabilities"
DEBIAS = False
RANGE = (0.0, 1.0)


def evaluate(generated: Features, references: References) -> Values:
    """``accuracy_<extractor>`` and ``ece_<extractor>`` in [0, 1]; nothing for images without labels."""
    if generated.labels is None:
        return {}
    if generated.probabilities is None:
        raise ValueError(f'Calibration needs class probabilities, "{generated.extractor}" gives none')
    suffix, known = generated.extractor, generated.probabilities.shape[1]
    if (most := generated.labels.max()) >= known:
        told = f"Calibration needs a class of each label: {most} is none of the {known} that {suffix} knows"
        raise NotMeasurable(told, f"accuracy_{suffix}", "none")
    found = calibration(generated.probabilities, generated.labels)
    return {(f"accuracy_{suffix}", "none"): found.accuracy, (f"ece_{suffix}", "none"): found.ece}
