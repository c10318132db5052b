"""Which component each image belongs to: k-means over all images, or over those of each class."""

import warnings

import torch
from torch import Tensor

FEW = 10_000  # images up to which every step of k-means sees all of them
BATCH, STEPS = 4096, 30


def clusters(x: Tensor, labels: Tensor, *, components: int, by: str, seed: int) -> Tensor:
    """Component of each image, int64 (n,): 0 .. K-1, each of at least one image.

    Args:
        x: images in [-1, 1], float32 (n, d).
        labels: classes, int64 (n,).
        components: K, or K of each class; where images coincide there may be fewer.
        by: "kmeans", or "labels" for k-means among the images of each class.
        seed: of k-means.

    Raises:
        ValueError: there are fewer images, or no classes.
    """
    if by == "kmeans":
        if components > len(x):
            raise ValueError(f"components: {components} are more than the {len(x)} images; give at most {len(x)}")
        return _kmeans(x, components, seed)
    classes, sizes = labels.unique(return_counts=True)
    if len(classes) < 2:
        raise ValueError("by: labels needs classes, and these images have one; give by: kmeans")
    if components > (least := int(sizes.min())):
        scarce = f"class {int(classes[sizes.argmin()])} has {least} images"
        raise ValueError(f"components: {components} a class are more than {scarce}; give at most {least}")
    found, first = torch.empty(len(x), dtype=torch.int64), 0
    for label in classes.tolist():
        rows = (labels == label).nonzero()[:, 0]
        found[rows] = first + _kmeans(x[rows], components, seed)
        first = int(found[rows].max()) + 1
    return found


def _kmeans(x: Tensor, components: int, seed: int) -> Tensor:
    if components in (1, len(x)):
        return torch.arange(len(x)) if components > 1 else torch.zeros(len(x), dtype=torch.int64)
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    options = {"n_clusters": components, "n_init": 1, "random_state": seed, "max_iter": STEPS}
    model = KMeans(**options) if len(x) <= FEW else MiniBatchKMeans(**options, batch_size=BATCH)
    with threadpool_limits(1), warnings.catch_warnings():  # with several, sums of centres have no fixed order
        warnings.simplefilter("ignore", ConvergenceWarning)  # of images that coincide: components are then fewer
        assigned = torch.from_numpy(model.fit_predict(x.numpy())).long()
    return assigned.unique(return_inverse=True)[1]
