"""Samplers that ask for D of a span, D(x, sigma, to), as they are planned. Nothing here imports torch."""

from typing import TYPE_CHECKING

from dpmot import plugins

if TYPE_CHECKING:
    from dpmot.experiment.plan import Experiment, Method


def check(experiment: "Experiment", method: "Method", where: str) -> None:
    """Refuse such a sampler on a network that knows no spans; what a fetched one knows is told when it is read.

    Raises:
        ValueError: it knows none.
    """
    if method.sampler == "none" or plugins.constant("baselines", method.sampler, "SPANS") is not True:
        return
    network = experiment.networks[method.network]
    told, kind = f"{where}: sampler {method.sampler} asks for D of a span, D(x, sigma, to)", network.kind
    if network.distillation:
        raise ValueError(f"{told}, and student {method.network} was distilled without spans; give its teacher")
    knows = kind is None or getattr(plugins.find("networks", kind).Parametrisation, "spans", False)
    if not knows:
        raise ValueError(f"{told}, and network {method.network} of kind {kind} knows none; give one of kind meanflow")
    if method.cost > 1:
        raise ValueError(f"{told}, which is not guided; leave guidance out")
