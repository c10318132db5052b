r"""ONNX: a graph G(y, c) that somebody exported, as whatever it predicts; it is only loaded, and runs on the processor.

With y = s x and the condition c of sigma, D(x, sigma) = a x + b G(s x, c), t = sigma / (1 + sigma), d = sigma_data:

    parametrisation        a                     b                            s, c by default
    denoiser, consistency  0                     1                            1 (ve), sigma
    score                  1                     s sigma^2                    1 (ve), sigma
    edm                    d^2 / (sigma^2+d^2)   sigma d / sqrt(sigma^2+d^2)  1 / sqrt(sigma^2+d^2) (edm), ln(sigma) / 4
    epsilon                1                     -sigma                       1 / sqrt(1+sigma^2) (vp), timestep
    v_prediction           1 / (1+sigma^2)       -sigma / sqrt(1+sigma^2)     vp, timestep
    sample                 0                     1                            vp, timestep
    velocity               1 - t                 -t                           1 - t (flow), time t
    velocity_to_data       1 - t                 t                            flow, time 1 - t

A ``consistency`` function is one whose D is a sample: use it with the sampler ``consistency``. ``timestep`` counts the
levels of the vp chain, 0..T-1, and ``time`` is (timestep + 1) / T there; both times ``scale``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dpmot import graphs
from dpmot.diffusion import onnx_network, onnx_roles
from dpmot.diffusion.protocols import RawNetwork, Tensor
from dpmot.diffusion.sigmas import Chain, check_levels, ddpm_chain, edm_chain, flow_chain, time_of

NEEDS = {"onnxruntime": "onnx"}
SUFFIX = ".onnx"
USUAL = {  # parametrisation -> its scaling and its conditioning, where the options do not say
    **dict.fromkeys(("denoiser", "consistency", "score"), ("ve", "sigma")),
    "edm": ("edm", "log_sigma"),
    **dict.fromkeys(("epsilon", "v_prediction", "sample"), ("vp", "timestep")),
    **dict.fromkeys(("velocity", "velocity_to_data"), ("flow", "time")),
}
CONDITIONINGS = {  # scaling -> what a graph may be told of sigma
    **dict.fromkeys(("ve", "edm"), ("sigma", "log_sigma")),
    "vp": ("timestep", "time", "sigma", "log_sigma"),
    "flow": ("time", "sigma", "log_sigma"),
}
LEVELS = {"ve": 18, "edm": 18, "vp": 1000, "flow": 1000}
NAMED = {  # name of an input -> what it may be told without being asked
    **dict.fromkeys(("sigma", "sigmas"), ("sigma", "log_sigma")),
    **dict.fromkeys(("t", "time", "times", "timestep", "timesteps"), ("timestep", "time")),
}
EXAMPLE = """<ir_version: 9, opset_import: ["": 18]>
ideal (float[n, 1, 8, 8] x, float[n, 1, 1, 1] sigma) => (float[n, 1, 8, 8] denoised)
<float four = {4.0}, float one = {1.0}> {
    squared = Mul(sigma, sigma)
    ratio = Mul(squared, four)
    total = Add(ratio, one)
    denoised = Div(x, total)
}"""
NUMBERS = (
    *("scale", "num_levels", "sigma_min", "sigma_max", "sigma_data"),
    *("beta_min", "beta_max", "low", "high", "classes"),
)
OF_SCALING = {  # options that only some take
    **dict.fromkeys(("sigma_min", "sigma_max"), ("ve", "edm")),
    **dict.fromkeys(("beta_min", "beta_max", "schedule"), ("vp",)),
}


@dataclass(frozen=True)
class Parametrisation:
    """Options: what the graph predicts, sees (``scaling``) and is told (``conditioning``, times ``scale``), its levels,
    the range of its images, its classes, and its inputs: the names of x, sigma and label, and constants for the rest.

    Levels and sigma_data are in the units of its own images, which lie in [low, high].
    """

    parametrisation: str = "denoiser"
    conditioning: str = ""
    scaling: str = ""
    scale: float = 1.0
    num_levels: int = 0
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    sigma_data: float = 0.5
    beta_min: float = 1e-4
    beta_max: float = 0.02
    schedule: str = "linear"
    low: float = -1.0
    high: float = 1.0
    classes: int = 0
    inputs: Mapping[str, str] = field(default_factory=dict, hash=False)
    constants: Mapping[str, float] = field(default_factory=dict, hash=False)
    output: str = ""

    def __post_init__(self) -> None:
        for option, told in (("inputs", str), ("constants", (int, float))):
            given = getattr(self, option)
            if not isinstance(given, Mapping) or not all(isinstance(one, told) for one in given.values()):
                raise ValueError(f"ONNX: {option} says {'names' if told is str else 'numbers'} by input; got {given!r}")
        numbers = [*self.constants.values(), *(getattr(self, name) for name in NUMBERS)]
        if wrong := [one for one in numbers if not isinstance(one, int | float) or abs(one) == float("inf")]:
            raise ValueError(f"ONNX: {wrong[0]!r} should be a finite number")
        for option, allowed in (("parametrisation", USUAL), ("scaling", ("", *CONDITIONINGS))):
            if (given := getattr(self, option)) not in allowed:
                shown = ", ".join(filter(None, allowed))
                raise ValueError(f"ONNX: {option} is one of {shown}; got {given!r}")
        if self.told not in (known := CONDITIONINGS[self.sees]):
            advice = "; a time in 0..1000 is conditioning time, scale 1000" if self.sees == "flow" else ""
            raise ValueError(f"ONNX: of {self.sees} the conditioning is {', '.join(known)}; got {self.told!r}{advice}")
        check_levels(self.num_levels or 2, self.sigma_min, self.sigma_max)
        if not (self.sigma_data > 0 and self.low < self.high and self.classes >= 0 and self.scale != 0):
            raise ValueError(
                f"ONNX needs sigma_data > 0, low < high, classes >= 0 and a scale, got sigma_data {self.sigma_data}, "
                f"low {self.low}, high {self.high}, classes {self.classes}, scale {self.scale}"
            )
        for option, scalings in OF_SCALING.items():
            if self.sees not in scalings and getattr(self, option) != getattr(type(self), option):
                raise ValueError(f"ONNX: {option} is of scaling {' and '.join(scalings)}, not of {self.sees}")

    @property
    def sees(self) -> str:
        """The scaling of its input: ve, vp, flow or edm."""
        return self.scaling or USUAL[self.parametrisation][0]

    @property
    def told(self) -> str:
        """Its conditioning: sigma, log_sigma, time or timestep."""
        usual, allowed = USUAL[self.parametrisation][1], CONDITIONINGS[self.sees]
        return self.conditioning or (usual if usual in allowed else allowed[0])

    @cached_property
    def chain(self) -> Chain:
        """Karras' grid (ve, edm), a DDPM's levels (vp) or flow matching's, for images in [-1, 1]."""
        chain, half = self._own, (self.high - self.low) / 2
        if half == 1:
            return chain
        levels = {
            key: getattr(chain, key) / half for key in ("sigmas", "sigma_min", "sigma_max", "prior_std", "data_std")
        }
        return replace(chain, **levels)

    @cached_property
    def _own(self) -> Chain:
        """The same in the units of its images."""
        number = self.num_levels or LEVELS[self.sees]
        if self.sees == "vp":
            return ddpm_chain(num_levels=number, beta_min=self.beta_min, beta_max=self.beta_max, schedule=self.schedule)
        if self.sees == "flow":
            return flow_chain(num_levels=number)
        ends = {"sigma_min": self.sigma_min, "sigma_max": self.sigma_max}
        return edm_chain(num_levels=number, data_std=self.sigma_data, **ends)

    def model(self, tensors: Mapping[str, Tensor] | None) -> RawNetwork:
        """The graph of the bytes that :func:`read` gives."""
        if tensors is None:
            raise ValueError("An ONNX network is only loaded: give its file, weights: FILE.onnx")
        return onnx_network.OnnxNetwork(tensors, self.roles, classes=self.classes, doubled=self.sees == "vp")

    def denoise(self, model: RawNetwork, x: Tensor, sigma: Tensor) -> Tensor:
        """x (B, *S), sigma (B,) -> D(x, sigma), (B, *S)."""
        if (self.low, self.high) == (-1, 1):
            return self._denoised(model, x, sigma)
        centre, half = (self.high + self.low) / 2, (self.high - self.low) / 2
        return (self._denoised(model, centre + half * x, half * sigma) - centre) / half

    def _denoised(self, model: RawNetwork, x: Tensor, sigma: Tensor) -> Tensor:
        """D in the units of its images."""
        wide = sigma.reshape(-1, *[1] * (x.dim() - 1))
        total, both, t = 1 + wide**2, wide**2 + self.sigma_data**2, wide / (1 + wide)
        scaled = {"ve": x, "vp": x / total.sqrt(), "flow": x / (1 + wide), "edm": x / both.sqrt()}[self.sees]
        answer = model(scaled, self.condition(sigma))
        if self.parametrisation in ("denoiser", "consistency", "sample"):
            return answer
        if self.parametrisation == "epsilon":
            return x - wide * answer
        if self.parametrisation == "score":  # of what the graph sees: by the chain rule its scale comes out
            by = {"ve": 1 + 0 * wide, "vp": total**-0.5, "flow": 1 - t, "edm": both**-0.5}
            return x + wide**2 * by[self.sees] * answer
        if self.parametrisation == "v_prediction":
            return x / total - wide / total.sqrt() * answer
        if self.parametrisation == "edm":
            return self.sigma_data**2 / both * x + wide * self.sigma_data / both.sqrt() * answer
        return (1 - t) * x + (t if self.parametrisation == "velocity_to_data" else -t) * answer

    def condition(self, sigma: Tensor) -> Tensor:
        """What the graph is told of levels (B,), in the units of its images."""
        if self.told in ("sigma", "log_sigma"):
            return self.scale * (sigma if self.told == "sigma" else sigma.log() / 4)
        if self.sees == "flow":
            return self.scale * (1 if self.parametrisation == "velocity_to_data" else sigma) / (1 + sigma)
        level = sigma.new_tensor(time_of(np.asarray(sigma.detach().cpu(), dtype=np.float64), self._own.levels))
        return self.scale * (level - 1 if self.told == "timestep" else level / len(self._own.levels))

    @property
    def conditioned(self) -> str:
        """Its conditioning as the options that say it."""
        return f"{{conditioning: {self.told}{f', scale: {self.scale:g}' if self.scale != 1 else ''}}}"

    def alternatives(self) -> "Iterator[Parametrisation]":
        """The same with each other conditioning and usual scale, to compare with."""
        for told in CONDITIONINGS[self.sees]:
            for scale in (1.0, 1000.0) if told in ("time", "log_sigma") else (1.0,):
                if (told, scale) != (self.told, self.scale):
                    yield replace(self, conditioning=told, scale=scale)

    def roles(self, graph: graphs.Graph, where: object = "the graph") -> onnx_roles.Roles:
        """Which input of a graph is what.

        Raises:
            ValueError: the options do not say, or say what is not so.
        """
        found = onnx_roles.roles(
            graph,
            inputs=self.inputs,
            constants=self.constants,
            output=self.output,
            labelled=self.classes > 0,
            where=where,
        )
        if not self.conditioning and self.told not in NAMED.get(found.sigma.name.lower(), (self.told,)):
            called = f"is usually told its {self.told}, but this input is called {found.sigma.name}"
            allowed = ", ".join(CONDITIONINGS[self.sees])
            raise ValueError(f"{where}: a {self.parametrisation} {called}: state the conditioning, one of {allowed}")
        if found.sigma.kind not in graphs.FLOATS and self.told != "timestep" and self.scale == 1:
            raise ValueError(f"{where}: {found.sigma} holds integers, which no {self.told} is: state the conditioning")
        return found


def check(file: Path, *, options: Mapping[str, Any], shape: tuple[int, ...] | None = None) -> None:
    """Refuse a file that cannot be run, or that the options do not fit, before anything runs.

    Args:
        file: that ``weights`` names.
        options: of the parametrisation.
        shape: of the data set's images, (C, H, W), where it is known.

    Raises:
        ValueError: it is no ONNX file, or its inputs, outputs and shapes are not what the options say.
    """
    if file.suffix != SUFFIX:
        raise ValueError(f"{file}: kind onnx is read from a file that ends in {SUFFIX}")
    stated = Parametrisation(**options)
    found = stated.roles(graphs.read(file), file)
    onnx_roles.check_shape(found, shape, file, doubled=stated.sees == "vp")


def read(file: Path) -> dict[str, Tensor]:
    """The bytes of an ONNX file and of those beside it that it names, uint8 (n,), as the tensors of ``model``."""
    import torch

    names = [onnx_network.GRAPH, *(onnx_network.BESIDE + name for name in graphs.read(file).external)]
    contents = (bytearray(part.read_bytes()) for part in graphs.files(file))
    return {name: torch.frombuffer(content, dtype=torch.uint8) for name, content in zip(names, contents, strict=True)}


def example() -> tuple[dict[str, Tensor], Tensor]:
    """The ideal denoiser of N(0, 1/4) pixels, x / (1 + 4 sigma^2), and clean inputs (6, 1, 8, 8)."""
    import torch
    from onnx import parser

    content = parser.parse_model(EXAMPLE).SerializeToString()
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return {onnx_network.GRAPH: torch.frombuffer(bytearray(content), dtype=torch.uint8)}, images
