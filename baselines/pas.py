r"""PAS (Wang et al. 2024, arXiv:2411.06503): DDIM whose direction is corrected in a basis of its own trajectory.

A sample's way lies near a plane of few dimensions. With d = (x_i - D_i) / sigma_i and the directions before it, the
basis of step i is

    u_1 = d / |d|,    u_2, u_3, u_4 = the principal components of x_0, d_0, ..., d_i, made orthogonal in turn,

each with the sign of its product with x_i - x_0 (none where that is 0, as at step 0), and

    x_{i+1} = x_i + (sigma_{i+1} - sigma_i) sum_k c_ik u_k,

four numbers c_i a corrected step, shared by all samples: "about ten" in all. They are learned step by step from a
teacher's states, and a step is left as it is where that gains nothing. One evaluation a step. The authors minimise the
mean absolute error by gradient descent; here it is the squared one, whose minimum is known: c_ik is the mean product of
u_k and the direction to the teacher's next state.
"""

from collections.abc import Sequence

from baselines._steps import evaluated
from baselines._teacher import between, spent, trajectory
from dpmot.diffusion.protocols import Callback, Denoiser, Noise, Tensor
from dpmot.diffusion.sigmas import intervals, one_a_step

GRID = "karras"
LEARNS = ("coordinates",)
STARTS = 256  # from which it is learned
BASIS = 4
TEACHER = 100  # its evaluations, about
TOLERANCE = 1e-4  # root mean squared error that a correction must gain, of pixels in [-1, 1]
FLAT = 1e-8  # of the largest variance: a component with less is rounding
num_steps = one_a_step("PAS")


def check(*, coordinates: Sequence[float] = ()) -> None:
    """Refuse options that the method does not have."""
    if len(coordinates) % BASIS:
        raise ValueError(f"PAS's coordinates are {BASIS} numbers a step, got {len(coordinates)}")


def sample(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    noise: Noise | None = None,
    callback: Callback | None = None,
    coordinates: Sequence[float] = (),
) -> Tensor:
    """Run PAS from x at sigmas[0] to sigma 0; see :mod:`baselines`.

    Args:
        coordinates: c_i of every step, one after the other, four zeros for a step that is not corrected: learned, for
            one network, grid and start. Without any it is DDIM.

    Raises:
        ValueError: coordinates for another number of steps.
    """
    check(coordinates=coordinates)
    steps = intervals(sigmas)
    if coordinates and len(coordinates) != BASIS * (len(sigmas) - 1):
        told = f"{len(coordinates) // BASIS} steps, the grid has {len(sigmas) - 1}"
        raise ValueError(f"PAS's coordinates were learned for {told}")
    start, past = x, [x]
    for i, sigma, to in steps:
        d = (x - evaluated(denoiser, x, sigma, i, callback)) / sigma
        own = coordinates[BASIS * i : BASIS * (i + 1)]
        if any(own):
            d = sum(c * u for c, u in zip(own, basis(x - start, d, past), strict=True))
        past = [*past, d]
        x = x + (to - sigma) * d
    return x


def basis(moved: Tensor, d: Tensor, past: Sequence[Tensor]) -> list[Tensor]:
    """u_1, ..., u_4 of each sample, of shape (B, *S), 0 where there are no more; ``moved`` is x_i - x_0."""
    import torch

    rows = torch.stack([*past, d], dim=1).flatten(2)  # (B, m, numbers)
    rows = rows - rows.mean(1, keepdim=True)
    variances, vectors = torch.linalg.eigh(rows @ rows.transpose(1, 2))
    found = [_unit(d.flatten(1))]
    for k in range(1, min(BASIS, rows.shape[1] + 1)):
        kept = variances[:, -k] > FLAT * variances[:, -1]
        u = _unit((vectors[:, None, :, -k] @ rows)[:, 0])
        for other in found:
            u = u - (u * other).sum(1, keepdim=True) * other
        whole = kept & (u.norm(dim=1) > FLAT**0.5)
        sign = (u * moved.flatten(1)).sum(1).sign() * whole
        found.append(sign[:, None] * _unit(u))
    found += [torch.zeros_like(found[0])] * (BASIS - len(found))
    return [u.reshape(d.shape) for u in found]


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-300)


def learning(steps: int) -> int:
    """Evaluations of each start that learning takes: the teacher's, and one a step."""
    return spent(steps, TEACHER) + steps


def learn(denoiser: Denoiser, x: Tensor, sigmas: Tensor) -> dict[str, list[float]]:
    """The coordinates for starts like x (B, *S) on this grid.

    Args:
        denoiser: D; what it is asked is counted.
        x: starts at sigmas[0].
        sigmas: the grid that it will be run on, (n + 1,).
    """
    inner = between(len(sigmas) - 1, TEACHER)
    states = trajectory(denoiser, x, sigmas, inner=inner, finest=denoiser.sigma_min)
    start, past, coordinates = x, [x], list[float]()
    for i, sigma, to in intervals(sigmas):
        d, step = (x - denoiser(x, sigma)) / sigma, to - sigma
        wanted, axes = (states[i + 1] - x) / step, basis(x - start, d, past)
        own = [float((wanted * u).sum() / u.square().sum().clamp_min(1e-300)) for u in axes]
        corrected = sum(c * u for c, u in zip(own, axes, strict=True))
        errors = [float((step * (wanted - way)).square().mean().sqrt()) for way in (d, corrected)]
        if errors[0] - errors[1] > TOLERANCE:
            d = corrected
        else:
            own = [0.0] * BASIS
        coordinates += own
        past = [*past, d]
        x = x + step * d
    return {"coordinates": coordinates}
