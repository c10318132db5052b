"""Label accuracy: the share of samples that the classifier puts into the class that they were drawn for.

1/n sum_i [ argmax_k p(k | x_i) = c_i ], only where samples have a class c: those of a network that is told it, or of a
transport map per class, not those that this classifier chose (a balanced prior). Its floor is the classifier's own
accuracy on held-out real images (``accuracy``): beyond that a network draws what is easy to recognise, as strong
guidance does. The share that chance has is sum_c share_c q_c, q the classes' shares among the samples.
"""

from dpmot.features import Features
from dpmot.metrics import Arrays, Fact, NotMeasurable, References

FACTS = {
    "label_accuracy": Fact(
        "higher", "label accuracy", "Label accuracy", digits=3, least=0.01, quality=False, floor=False, share=True
    )
}
OF_CLASSES = True
OF_LABELLED = True
SPACE = "probabilities"


def pointwise(generated: Features, references: References) -> Arrays:
    """``label_accuracy_<extractor>``: true where a sample is of its class, (n,); nothing for samples without one."""
    if generated.drawn_for is None:
        return {}
    if generated.probabilities is None:
        raise ValueError(f'Label accuracy needs class probabilities, "{generated.extractor}" gives none')
    name, known = f"label_accuracy_{generated.extractor}", generated.probabilities.shape[1]
    if (most := generated.drawn_for.max()) >= known:
        told = f"Label accuracy needs classes that {generated.extractor} knows: {most} is none of its {known}"
        raise NotMeasurable(told, name, "none")
    return {(name, "none"): generated.probabilities.argmax(axis=1) == generated.drawn_for}
