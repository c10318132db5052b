r"""Parametrisations: what a network F predicts, D = a x + b F.

    epsilon   D = x - sigma F                       x0    D = F
    v         D = (x / c - sigma F) / c             flow  D = (x - sigma F) / (1 + sigma),   c = sqrt(1 + sigma^2)
    score     D = x + sigma^2 F                     edm   D = (s^2 x + sigma s C F) / C^2,   C = sqrt(sigma^2 + s^2)

A minus sign before F is a form of its own.
"""


def forms(sigma: float, s: float) -> dict[str, tuple[float, float]]:
    """Parametrisation -> (a, b) of D = a x + b F at level sigma; s is EDM's sigma_data."""
    c, total = (1 + sigma**2) ** 0.5, sigma**2 + s**2
    positive = {
        "epsilon": (1.0, -sigma),
        "x0": (0.0, 1.0),
        "v": (1 / c**2, -sigma / c),
        "flow velocity": (1 / (1 + sigma), -sigma / (1 + sigma)),
        "score": (1.0, sigma**2),
        "EDM's F": (s**2 / total, sigma * s / total**0.5),
    }
    negative = {f"minus {name}": (a, -b) for name, (a, b) in positive.items() if name != "x0"}
    return positive | negative


FORMS_OF = {  # (kind, prediction) -> form
    ("ddpm", "epsilon"): "epsilon",
    ("ddpm", "v_prediction"): "v",
    ("ddpm", "sample"): "x0",
    ("edm", "epsilon"): "EDM's F",
    ("edm", "v_prediction"): "minus EDM's F",
    ("flow", None): "flow velocity",
    ("meanflow", None): "flow velocity",
    ("ncsnv2", None): "minus epsilon",
}
LIKELY_WITH_EDM = ({"EDM's F", "minus EDM's F"}, {"EDM's F", "epsilon"})
