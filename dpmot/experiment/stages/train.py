"""Train a network on split A, distil a student from a teacher, or load published weights.

By several processes (`processes:`) each runs this stage up to the end of the training; the first one writes what it
gives. Those that torchrun started find each other; else this one starts them and waits.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dpmot import plugins, seeds
from dpmot.device import chosen
from dpmot.diffusion import hub, network
from dpmot.diffusion.acceleration import Acceleration
from dpmot.diffusion.conditioning import FEW, compare
from dpmot.diffusion.ranks import Ranks, Shared
from dpmot.diffusion.schedule import Schedule
from dpmot.diffusion.training import Alone, Diverged, Drop, Losses, batch_of, fit
from dpmot.diffusion.unet import UNet
from dpmot.diffusion.weights import read_folder, read_tensors, verify, weights_file
from dpmot.experiment.stages._prepared import Part, read_data
from dpmot.experiment.stages._rewiring import check_shape, coupled, level_of, rewired, weights_of
from dpmot.images import to_float
from dpmot.runtime import together
from dpmot.runtime.files import atomic
from dpmot.runtime.session import Fault, Session, session
from dpmot.runtime.together import Place

if TYPE_CHECKING:
    from dpmot.experiment.jobs import Job, Train
    from dpmot.experiment.layout import Layout
    from dpmot.experiment.plan import Network


def run(job: "Job[Train]", layout: "Layout") -> None:
    """Write ``networks/<name>.safetensors``: averaged weights and the card."""
    place = together.of_torchrun(job.processes)
    if job.processes > 1 and place is None:
        return together.launch(one_of_several, (job, layout), job.processes)
    return one_of_several(job, layout, place)


def one_of_several(job: "Job[Train]", layout: "Layout", place: Place | None) -> None:
    """What :func:`run` does in one of the processes, or alone for None."""
    task, given = job.task, job.task.network
    with together.quiet(place) as aside, session(job, aside or layout) as stage:
        parts, mixture, _ = read_data(layout.data)
        if given.how in ("loaded", "exact"):
            facts, weights = loaded(task, parts, mixture)
        elif given.how == "student":
            facts, weights = _told_of(_distil, job, layout, stage, parts)
        elif place is None:
            facts, weights = _told_of(_train, job, layout, stage, parts)
        else:
            with together.joined(place, chosen(job.device)):
                facts, weights = _told_of(_train, job, layout, stage, parts, place, keeps=place.first)
        if aside is None:
            with stage.watch.io(), atomic(layout.network(task.name)) as temporary:
                network.save(temporary, {**facts, "name": task.name}, weights)


def _told_of(train: Callable[..., tuple[dict, dict]], *given: Any, keeps: bool = True) -> tuple[dict, dict]:
    """Card and weights of a training; where it diverges its batch is kept by a process whose folder stays."""
    try:
        return train(*given)
    except Diverged as error:
        if not keeps:
            raise ArithmeticError(str(error)) from None
        raise Fault(str(error), {"sigma": error.losses.sigma, **error.losses.batch}) from None


def loaded(task: "Train", parts: Mapping[str, Part], mixture: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict]:
    """Card and weights of a network that is not trained: from its file, tried out, or from the data themselves.

    Raises:
        ValueError: it does not fit the data set, or cannot sample.
    """
    given = task.network
    if given.how == "exact":
        return _facts(task, parts), {None: _exact(given, parts, mixture)}
    facts, weights = _load(task, parts)
    where = given.weights or str(given.card)
    check_shape(facts, parts["A"].raw.shape[1:], where)
    _check_classes(network.classes(facts), parts, where)
    for tensors in weights.values():
        model = network.build(facts, tensors)
        network.try_out(facts, model, where)
        _check_conditioning(facts, model, parts["A"], given)
    return facts, weights


def _exact(given: "Network", parts: Mapping[str, Part], mixture: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """What a network that is known exactly is made of: the images of a split, or the mixture."""
    split = getattr(network.parametrisation(given.plain()), "split", None)
    return {"points": parts[split].raw} if split else mixture


def _facts(task: "Train", parts: Mapping[str, Part]) -> dict[str, Any]:
    given, shape = task.network, list(parts["A"].raw.shape[1:])
    unet = given.unet.given()
    if given.label_dropout and not given.has_own_model:
        unet |= {"no_class": True}
    known = {"no_class": True} if given.label_dropout or given.unet.no_class else {}
    return {"kind": given.kind, "options": given.options, "shape": shape, "unet": unet, **known}


def _load(task: "Train", parts: Mapping[str, Part]) -> tuple[dict[str, Any], dict]:
    given = task.network
    if not given.fetched:
        return _read(task, Path(str(given.weights)), parts)
    with hub.fetched(str(given.card), download=task.download) as folder:
        return _read(task, folder, parts)


def _read(task: "Train", path: Path, parts: Mapping[str, Part]) -> tuple[dict[str, Any], dict]:
    given = task.network
    file = weights_file(path)
    stated = given.sha256 if isinstance(given.sha256, str) else None  # digests by seed were told apart in the plan
    sha256 = verify(file, stated)
    if network.is_own(file):
        loaded = network.load(file)
        _check_same(loaded, given, file)
        return {**loaded.card, "loaded": {"sha256": sha256}}, weights_of(loaded)
    if not given.kind:
        raise ValueError(f"{file} does not say what it is: give network {task.name} a kind, or a card")
    facts = _facts(task, parts)
    if path.is_dir():
        if given.unet.given().keys() - {"no_class"}:
            print(f"networks.{task.name}.unet is not used: {path} says itself what it is", flush=True)
        described, tensors = read_folder(path, given.kind, given.options, no_class=bool(given.unet.no_class))
        facts |= described
    else:
        tensors = getattr(plugins.find("networks", given.kind), "read", read_tensors)(file)
    try:
        model = network.build(facts, tensors)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    if isinstance(model, UNet):
        tensors = model.state_dict()  # by our names, without a wrapper's prefix
    if given.sha256 is None:
        what = given.card if given.fetched else file
        print(f"{what} is taken as it is; to pin it, networks.{task.name} may say sha256: {sha256}", flush=True)
    facts["published"] = {"card": given.card, "sha256": sha256, "verified": given.sha256 is not None}
    return facts, {None: tensors}


def _train(
    job: "Job[Train]", layout: "Layout", stage: Session, parts: Mapping[str, Part], place: Place | None = None
) -> tuple[dict, dict]:
    task, given, device = job.task, job.task.network, chosen(job.device)
    images = parts["A"].raw.to(device)
    facts, tensors = rewired(task, layout, parts) if given.rewires else (_facts(task, parts), None)
    _check_classes(network.classes(facts), parts, f"networks.{task.name}.unet")
    labels = parts["A"].labels.to(device) if network.classes(facts) else None
    streams = task.origin or task.name
    torch.manual_seed(int(seeds.generator(task.seed, "initialisation", streams).integers(2**31)))
    model = network.build(facts, tensors).to(device)
    schedule, accelerated = split(task.network)
    if slowed := accelerated.slowed(device):
        print(f"networks.{task.name}.{slowed}", flush=True)
    paired, facts = coupled(task, layout, facts, images, labels)
    level = level_of(task, facts)
    ranks = Alone() if place is None else Ranks(place, schedule.batch)
    trained_with = accelerated(model)
    if isinstance(ranks, Ranks):
        trained_with = Shared(trained_with, ranks, f"networks.{task.name}")
    denoiser = network.NetworkDenoiser(network.parametrisation(facts), trained_with)
    none = network.no_class(facts)
    drop = None if none is None else Drop(task.network.label_dropout, none)

    def losses_of(step: int) -> Losses:
        batch = batch_of(paired, task.seed, "training", streams, step, size=schedule.batch)
        return denoiser.losses(batch if level is None else batch._replace(u=level(batch.u)), labels, drop=drop)

    def loss_at(step: int) -> Losses:
        stage.watch.images += schedule.batch
        return losses_of(step)

    def trained(steps: int) -> dict:
        parameters = sum(p.numel() for p in model.parameters())
        own: dict[str, Any] = {"seed": task.seed, "images_seen": steps * schedule.batch, "parameters": parameters}
        own |= {} if ranks.sizes == [1] else {"processes": ranks.sizes}
        before = facts.get("rewired", {}).get("images_seen")
        return own if before is None else {**own, "images_seen_in_all": before + own["images_seen"]}

    def snapshot(steps: int, weights: Mapping) -> None:
        name = f"{task.name}_{steps}"
        with atomic(layout.snapshot(task.name, steps)) as temporary:
            network.save(temporary, {**facts, "name": name, "trained": trained(steps)}, {None: weights})

    with stage.watch.arithmetic():
        if isinstance(ranks, Ranks) and isinstance(trained_with, Shared):
            first = batch_of(paired, task.seed, "training", streams, 0, size=schedule.batch)
            ranks.check([first.x0, first.noise, first.u], f"networks.{task.name}")
            trained_with.check(lambda: losses_of(0).values)
        kept: dict[str, Any] = {"checkpoint": stage.checkpoint("training"), "snapshot": snapshot} if ranks.first else {}
        result = fit(model, loss_at, schedule, seed=task.seed, description=task.name, together=ranks, **kept)
    facts["trained"] = {**trained(schedule.steps), "losses": result.losses}
    return facts, {None: result.weights}


def _distil(job: "Job[Train]", layout: "Layout", stage: Session, parts: Mapping[str, Part]) -> tuple[dict, dict]:
    task, given, device = job.task, job.task.network, chosen(job.device)
    teacher = network.load(layout.network(str(given.teacher)), device=device)
    method, options = plugins.find("distillation", str(given.distillation)), dict(given.options)
    if given.step_counts:
        options["step_counts"] = given.step_counts
    images, labels = parts["A"].raw.to(device), parts["A"].labels.to(device) if teacher.classes else None
    paired, _ = coupled(task, layout, dict(teacher.card), images, labels)
    with stage.watch.arithmetic():
        weights = method.train(
            teacher.denoiser(0),
            teacher.chain,
            paired,
            split(given)[0],
            seed=task.seed,
            labels=labels,
            checkpoint=stage.checkpoint,
            **options,
        )
    facts = {key: value for key, value in teacher.card.items() if key != "trained"}
    facts["distilled"] = {"method": given.distillation, "teacher": given.teacher, "seed": task.seed, **given.options}
    facts["distilled"] |= given.training.given() if given.training else {}
    if own := plugins.constant("distillation", str(given.distillation), "COUPLING"):
        facts["coupling"] = {"kind": own}
    return facts | ({"step_counts": sorted(given.step_counts)} if given.step_counts else {}), weights


def split(given: "Network") -> tuple[Schedule, Acceleration]:
    """The options of a network's ``training``, by what they are of."""
    options = given.training.given() if given.training else {}

    def own(kind: type) -> dict[str, Any]:  # label_dropout, coupling and level are of the batches, and of neither
        return {entry.name: options[entry.name] for entry in fields(kind) if entry.name in options}

    return Schedule(**own(Schedule)), Acceleration(**own(Acceleration))


def _check_same(loaded: network.Network, given: "Network", file: Path) -> None:
    """The experiment was planned with what the configuration says of a network: the file must hold that."""
    card = loaded.card
    if given.kind:
        same = card["kind"] == given.kind
        if not (same and network.parametrisation(given.plain()) == network.parametrisation(card)):
            described = f"kind {card['kind']} with options {card['options']}"
            raise ValueError(f"{file} is of {described}; give these, not kind {given.kind} with {given.options}")
    counts, planned = card.get("step_counts", []), sorted(given.step_counts or ())
    if counts != planned:
        shown = f"students of {counts} steps" if counts else "no students"
        raise ValueError(f"{file} holds {shown}; distillation, teacher and step_counts must say so, got {planned}")


def _check_conditioning(card: Mapping, model: Any, part: Part, given: "Network") -> None:
    """Of a network whose kind has several ways to be told its level: the one that is not stated must be a good one."""
    if not hasattr(network.parametrisation(card), "alternatives") or part.raw.is_floating_point():
        return
    images, labels = to_float(part.raw[:FEW]), part.labels[:FEW] if network.classes(card) else None
    if told := compare(card, model, images, labels, given.weights):
        if "conditioning" not in given.options:
            raise ValueError(f"{told} State which it is")
        print(told, flush=True)


def _check_classes(classes: int, parts: Mapping, where: str) -> None:
    known = 1 + max(int(part.labels.max()) for part in parts.values())
    if classes not in (0, known):
        told = f"a network of {classes} classes does not fit a data set of {known}; give {known} or 0"
        if classes == known + 1:
            told += ", or unet: {no_class: true} where the last label of a loaded network is that of no class"
        raise ValueError(f"{where}: {told}")
