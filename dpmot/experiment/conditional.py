"""What is refused of networks that are told classes, and of methods that guide them. No torch is imported."""

from typing import TYPE_CHECKING

from dpmot import plugins
from dpmot.experiment.methods import Method
from dpmot.experiment.networks import Network

if TYPE_CHECKING:
    from dpmot.experiment.plan import Experiment


def check_network(network: Network, where: str) -> None:
    """Labels that are dropped in training, and the label of no class that the network so learns.

    Raises:
        ValueError: there is nothing to drop, or nobody who drops it.
    """
    if "guidance" in network.options:
        told = "methods are guided, not networks: methods.<name>.guidance"
        told += "; a student learns from its teacher as that is, and is not guided" if network.how == "student" else ""
        raise ValueError(f"{where}.options.guidance: {told}")
    if network.unet.no_class and network.how != "loaded":
        told = "it is of a loaded network; one that is trained here learns it by training: {label_dropout: 0.1}"
        raise ValueError(f"{where}.unet.no_class: {told}")
    if not network.label_dropout:
        return
    at = f"{where}.training.label_dropout"
    if network.how != "trained":
        raise ValueError(f"{at}: a {network.how} network is made without it; leave it out")
    if not network.classes:
        raise ValueError(f"{at}: the network is told no classes; give it some, as unet: {{classes: 10}}")
    if network.has_own_model and not hasattr(_parametrisation(network), "no_class"):
        raise ValueError(f"{at}: kind {network.kind} has no label of no class (`no_class` of its Parametrisation)")


def check_method(method: Method, network: Network, where: str) -> None:
    """Guidance needs a network that learned to do without labels; what a loaded one knows is in its file.

    Raises:
        ValueError: it has not, or there is no evaluation to guide.
    """
    if method.guidance in (None, 1):
        return
    if method.sampler == "none":
        raise ValueError(f"{where}.guidance: sampler none spends no evaluation, so there is none to guide")
    if network.how != "loaded" and not network.label_dropout:
        told = f"network {method.network} knows no label of no class"
        do = "give one that is trained with unet: {classes: K} and training: {label_dropout: 0.1}"
        raise ValueError(f"{where}.guidance: {told}; {do}")


def check_balanced(experiment: "Experiment") -> None:
    """Samples that are kept by class need images, the classifier of these, and a network that is told no class.

    Raises:
        ValueError: a method lacks one of these, or is also to be coupled.
    """
    for name, method in experiment.drawn.items():
        if not method.balanced:
            continue
        where = f"methods.{name}.start_options.balanced"
        network = experiment.networks[method.network]
        teacher = experiment.networks.get(str(network.teacher), network)
        if experiment.has_mixture or experiment.image_shape is None:
            raise ValueError(f"{where}: it needs images and their classifier, which {experiment.dataset} does not have")
        if any(name in pair for pair in (experiment.identity.pairs if experiment.identity else ())):
            raise ValueError(f"identity.pairs: {name} pays for what it throws away, so no method has its evaluations")
        if teacher.classes:
            raise ValueError(f"{where}: network {method.network} is told its classes; leave it out")
        if experiment.coupling and name in experiment.coupling.methods:
            raise ValueError(f"coupling.methods: {name} throws samples away, so that it is no map of its noise")


def _parametrisation(network: Network) -> type:
    return plugins.find("networks", str(network.kind)).Parametrisation
