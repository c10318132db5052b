"""An experiment with several training seeds, written out: each network and method once for every seed.

With ``training_seeds: [0, 1]`` the network ``edm``, which is trained, is two networks, ``edm_t0`` and ``edm_t1``, and
the method ``ddim`` on it is two methods, ``ddim_t0`` and ``ddim_t1``: its *members*. Each is trained, drawn, measured
and audited by a job of its own, as if it stood in the configuration. What no training changes stays one: exact
networks, one file of weights, the methods on them, samples from elsewhere; and so do classifier, atoms and heights.

Training seed t draws with the sample seeds s + 100,000 t. So members share no noise, and the values of S members are S
independent repetitions of the whole: training and sampling. Their Student t interval holds both. Methods still see the
same noise at the same training seed, and are compared in pairs of these.

What asks one network alone takes the first training seed: the search for sigma_M*, the coupling, and the methods of the
identity test, whose units are sample seeds.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dpmot.experiment.methods import Given, Method
from dpmot.experiment.networks import Network
from dpmot.experiment.plan import Experiment
from dpmot.experiment.values import LONGEST
from dpmot.results import NO_TRAINING, member

STRIDE = 100_000  # from the sample seeds of one training seed to those of the next


class Clash(ValueError):
    """Members that would be one, or that cannot be."""


@dataclass(frozen=True)
class Members:
    """The networks and methods that are trained and drawn.

    Attributes:
        experiment: with one training seed, the first, and every member among its networks and methods.
        of: name of a configured method -> those of its members, in the order of the seeds; itself where it has none.
        seeds: name of a network or method, a member or not -> its training seed; None where no training changes it.
        origin: name of a network -> that in the configuration, by which its random numbers are drawn.
    """

    experiment: Experiment
    of: Mapping[str, tuple[str, ...]]
    seeds: Mapping[str, int | None]
    origin: Mapping[str, str]

    @property
    def repeated(self) -> dict[str, tuple[str, ...]]:
        """The methods that have members."""
        return {name: members for name, members in self.of.items() if members != (name,)}

    @property
    def firsts(self) -> dict[str, str]:
        """Configured method -> the one that is drawn, at the first training seed."""
        return {name: members[0] for name, members in self.of.items()}

    def training_seed(self, method: str) -> int | str:
        """What metrics.csv has of a method that is drawn, or of real images."""
        seed = self.seeds.get(method)
        return self.experiment.training_seed if not self.repeated else NO_TRAINING if seed is None else seed


def members(experiment: Experiment) -> Members:
    """The members of an experiment; of one training seed, its networks and methods as they are.

    Raises:
        Clash: a member has the name of another network or method, or sample seeds that are too large or not its own.
    """
    trainings, several = experiment.trainings, len(experiment.trainings) > 1
    if not several and not any(network.by_seed for network in experiment.networks.values()):
        seeds = dict.fromkeys((*experiment.networks, *experiment.methods), experiment.training_seed)
        same = {name: (name,) for name in experiment.methods}
        return Members(experiment, same, seeds, {name: name for name in experiment.networks})
    varies = {name for name, network in experiment.networks.items() if network.varies and several}
    once = {name for pair in (experiment.identity.pairs if experiment.identity else ()) for name in pair}
    networks: dict[str, Network] = {}
    methods: dict[str, Method | Given] = {}
    of: dict[str, tuple[str, ...]] = {}
    origin: dict[str, str] = {}
    known: dict[str, int | None] = {}
    for name, network in experiment.networks.items():
        for seed in trainings if name in varies else trainings[:1]:
            one = member(name, seed) if name in varies else name
            own, before = network.of_seed(seed), {"teacher": network.teacher, "rewires": network.rewires}
            moved = {key: member(other, seed) for key, other in before.items() if other in varies}
            _add(networks, one, own.but(**moved) if moved else own)
            origin[one], known[one] = name, seed if name in varies or not several else None
    for name, method in experiment.methods.items():
        repeated = method.network in varies
        own_seeds = trainings if repeated and name not in once else trainings[:1]
        of[name] = tuple(member(name, seed) if len(own_seeds) > 1 else name for seed in own_seeds)
        for one, seed in zip(of[name], own_seeds, strict=True):
            _add(methods, one, _of_seed(name, method, seed) if isinstance(method, Method) and repeated else method)
            known[one] = seed if repeated or not several else None
    if both := [name for name in of if of[name] != (name,) and name in methods] + sorted(varies & {*networks}):
        raise Clash(f"training_seeds: {both[0]} is the name of two; rename one of them")
    changes: dict[str, Any] = {"networks": networks, "methods": methods, "training_seed": trainings[0]}
    if selection := experiment.selection:
        asked = selection.network
        changes["selection"] = selection.but(network=member(asked, trainings[0]) if asked in varies else asked)
    if coupling := experiment.coupling:
        changes["coupling"] = coupling.but(methods=tuple(of[name][0] for name in coupling.methods))
    # the headline names methods of the configuration, whose rows are over their members
    kept = {key: getattr(experiment, key) for key in experiment.model_fields_set - {"training_seeds", "headline"}}
    return Members(Experiment.model_validate({**kept, **changes}), of, known, origin)


def _add(table: dict, name: str, one: object) -> None:
    if len(name) > LONGEST:
        raise Clash(f"training_seeds: {name} has more than {LONGEST} letters; give it a shorter name")
    if name in table:
        raise Clash(f"training_seeds: {name} is the name of two; rename one of them")
    table[name] = one


def _of_seed(name: str, method: Method, seed: int) -> Method:
    """A method as one training seed draws it."""
    seeds = tuple(one + STRIDE * seed for one in method.sample_seeds)
    if max(seeds) >= 2**31 or max(method.sample_seeds) >= STRIDE:
        told = f"training seed t draws {name} with sample seeds s + {STRIDE} t, which must stay below 2^31"
        raise Clash(f"training_seeds: {told}, and s below {STRIDE}; give smaller ones")
    return method.but(network=member(method.network, seed), sample_seeds=seeds)


def told(experiment: Experiment) -> Iterator[str]:
    """What a plan says of several training seeds: what is repeated, and what is not."""
    if not experiment.training_seeds:
        return
    each = members(experiment)
    listed = ", ".join(map(str, experiment.trainings))
    yield f"training seeds {listed}: {', '.join(each.repeated) or 'no method'} once each, tables pool over them"
    if single := [name for name in each.of if name not in each.repeated]:
        yield f"one training seed or none: {', '.join(single)}"
    asked = {"sigma_M*": experiment.selection, "the coupling": experiment.coupling, "identity": experiment.identity}
    if first := [name for name, block in asked.items() if block]:
        yield f"training seed {experiment.trainings[0]} alone: {', '.join(first)}"
