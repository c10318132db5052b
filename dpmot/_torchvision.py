"""torchvision for those who import it: torch-fidelity, and diffusers' networks."""

from functools import lru_cache

import torch

TRAP = "operator torchvision::nms does not exist"


def make_importable() -> None:
    """Import torchvision, also one that was built for another torch.

    torchvision's CUDA build on a CPU-only torch fails while it registers shapes of operators that it does not have. Who
    imports it here needs none of them, so declaring their schemas is enough; every other error is the user's to see.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if TRAP not in str(error):
            raise
        _declare_missing_operators()
        import torchvision  # noqa: F401


@lru_cache(maxsize=1)
def _declare_missing_operators() -> torch.library.Library:
    library = torch.library.Library("torchvision", "DEF")  # kept by the cache: its schemas vanish with it
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
