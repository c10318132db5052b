"""Which input of an ONNX graph is what: x, sigma, label, or a constant; and whether it fits the images.

Inputs are mapped by the names that the options give, or guessed where names and shapes leave no doubt. Whatever else
the graph asks for is a constant that the options state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dpmot.graphs import FLOATS, Graph, Port

ROLES = ("x", "sigma", "label")
USUAL = {  # role -> what exporters call it, in small letters
    "x": {"x", "xt", "x_t", "x_noisy", "noisy", "noisy_image", "noisy_images", "noisy_sample", "sample", "samples"}
    | {"image", "images", "img", "input", "latent", "latents"},
    "sigma": {"sigma", "sigmas", "c_noise", "noise_level", "noise_levels", "t", "time", "times", "timestep"}
    | {"timesteps", "noise_labels"},
    "label": {"label", "labels", "y", "class", "classes", "class_label", "class_labels"},
}


@dataclass(frozen=True)
class Roles:
    """What the inputs of a graph are, and which output is the network's answer."""

    x: Port
    sigma: Port
    label: Port | None
    constants: Mapping[str, float]
    output: Port

    @property
    def batch(self) -> int | None:
        """Rows that the graph takes at a time; None: any number."""
        return self.x.shape[0] if self.x.shape and isinstance(self.x.shape[0], int) else None

    @property
    def scalar(self) -> bool:
        """Whether it takes one level for all rows."""
        shape = self.sigma.shape
        return shape is not None and (len(shape) == 0 or (shape[0] == 1 and self.batch != 1))


def roles(
    graph: Graph,
    *,
    inputs: Mapping[str, str],
    constants: Mapping[str, float],
    output: str = "",
    labelled: bool = False,
    where: object = "the graph",
) -> Roles:
    """Which input is what.

    Args:
        inputs: role ("x", "sigma", "label") -> name of an input.
        constants: name of an input -> the number that it is always given.
        output: name of the answer; of one output it need not be said.
        labelled: whether the network takes class labels.

    Raises:
        ValueError: names that there are not, inputs that cannot be told apart, or types and shapes of no such role.
    """
    ports = {port.name: port for port in graph.inputs}
    listed = f"{where} takes {', '.join(map(str, graph.inputs)) or 'no input'}"
    if foreign := [role for role in inputs if role not in ROLES]:
        raise ValueError(f"inputs: {foreign[0]!r} is none of {', '.join(ROLES)}; another input is one of constants")
    if unknown := [name for name in [*inputs.values(), *constants] if name not in ports]:
        raise ValueError(f"no input {unknown[0]!r}: {listed}")
    if twice := {*constants} & {*inputs.values()}:
        raise ValueError(f"{min(twice)} is both an input and a constant; leave one out")
    wanted = ROLES if labelled else ROLES[:2]
    if len(ports) < 2:
        raise ValueError(f"{listed}, and no sigma: a network of all levels is told its own; export it so")
    if "label" in inputs and not labelled:
        raise ValueError(f"inputs: {inputs['label']} is the label; say how many classes there are, classes: 10")
    found = dict(inputs)
    free = [name for name in ports if name not in constants and name not in inputs.values()]
    for role in wanted:
        if role not in found:
            guess = _guessed(role, [ports[name] for name in free])
            if guess is None:
                raise ValueError(f"{listed}; {_advice(graph, wanted)}")
            found[role] = guess
            free.remove(guess)
    if free:
        raise ValueError(f"{listed}; nothing is said of {', '.join(free)}: {_advice(graph, wanted)}")
    of = {role: ports[name] for role, name in found.items()}
    answer = _answer(graph, output, where)
    result = Roles(of["x"], of["sigma"], of.get("label"), dict(constants), answer)
    _check_ports(result, ports, where)
    return result


def _guessed(role: str, free: Sequence[Port]) -> str | None:
    """The only input with a usual name, or the only one of such a shape; None where there is a doubt."""
    named = [port.name for port in free if port.name.lower() in USUAL[role]]
    if len(named) == 1:
        return named[0]
    shapes = {port.name: port.shape for port in free if port.shape is not None}
    others = [name for name, shape in shapes.items() if all(side == 1 for side in shape[1:])]
    images = [name for name, shape in shapes.items() if len(shape) == 4 and name not in others]
    alike = {"x": images, "sigma": others if len(free) == 1 else [], "label": []}[role]
    return alike[0] if len(alike) == 1 and not named else None


def _advice(graph: Graph, wanted: Sequence[str]) -> str:
    names = [port.name for port in graph.inputs]
    roles = ", ".join(f"{role}: {name}" for role, name in zip(wanted, [*names, *["NAME"] * 3], strict=False))
    rest = names[len(wanted) :]
    constants = f", constants: {{{rest[0]}: NUMBER}}" if rest else ""
    return f"say which is which, such as options: {{inputs: {{{roles}}}{constants}}}"


def _answer(graph: Graph, output: str, where: object) -> Port:
    ports = {port.name: port for port in graph.outputs}
    if (output and output not in ports) or (not output and len(ports) > 1):
        told = f"no output {output!r}" if output else "several outputs"
        shown = ", ".join(map(str, graph.outputs))
        raise ValueError(f"{told}: {where} gives {shown}; say which is the network's answer, output: NAME")
    return ports[output] if output else graph.outputs[0]


def _check_ports(found: Roles, ports: Mapping[str, Port], where: object) -> None:
    """Types and shapes."""
    for port in (found.x, found.output):
        if port.kind not in FLOATS:
            raise ValueError(f"{where}: {port} holds no floats; allowed: {', '.join(FLOATS)}: export it so")
    if found.sigma.kind is None or found.sigma.kind == "bool":
        raise ValueError(f"{where}: {found.sigma} holds no numbers that a level can be")
    sides = found.x.shape
    if sides is not None and len(sides) < 2:
        raise ValueError(f"{where}: {found.x} is no batch of images")
    if sides is not None and len(sides) == 4 and sides[3] in (1, 3) and sides[1] == sides[2] not in (1, sides[3]):
        raise ValueError(f"{where}: {found.x} has its channels last: export it for images (n, C, H, W)")
    for port in (found.sigma, found.label) if found.label else (found.sigma,):
        first = port.shape[0] if port.shape else None
        if isinstance(first, int) and first not in (found.batch, 1):
            raise ValueError(f"{where}: {port} does not fit {found.x}: their batches differ")
    if any(isinstance(side, int) and side != 1 for side in (found.sigma.shape or ())[1:]):
        raise ValueError(f"{where}: {found.sigma} is no level of each image; give as sigma an input (B,), (B, 1) or ()")
    for name, value in found.constants.items():
        port = ports[name]
        if port.kind is None or (port.kind not in FLOATS and value != int(value)):
            raise ValueError(f"{where}: {port} cannot be {value:g}")
        if port.shape is None or any(isinstance(side, str) for side in port.shape[1:]):
            raise ValueError(f"{where}: the shape of {port} is not known, so it can be no constant: export it anew")


def check_shape(found: Roles, shape: Sequence[int] | None, where: object, *, doubled: bool = False) -> None:
    """Compare the images that a graph takes and gives with those of the data, (C, H, W).

    Args:
        doubled: whether the answer may have twice the channels, of which the first are the network's.

    Raises:
        ValueError: they differ.
    """
    for port in (found.x, found.output) if shape else ():
        sides = port.shape[1:] if port.shape is not None else None
        if sides is None or shape is None:
            continue
        allowed = [tuple(shape), (2 * shape[0], *shape[1:])][: 2 if doubled and port is found.output else 1]
        if not any(_fits(sides, one) for one in allowed):
            told = "give data of its shape, or a graph of this one"
            raise ValueError(f"{where}: {port} does not fit images of shape {list(shape)} (C, H, W): {told}")


def _fits(sides: Sequence[int | str], shape: Sequence[int]) -> bool:
    same = (isinstance(side, str) or side == length for side, length in zip(sides, shape, strict=False))
    return len(sides) == len(shape) and all(same)
