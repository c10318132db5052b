"""From two sets of images to estimates: features kept by content, every metric with its interval, the copying audit.

Shared by the stage ``measure`` and by ``dpmot evaluate``.
"""
