"""Train a network on split A, distil a student from a teacher, or load published weights."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import torch

from dpmot import plugins, seeds
from dpmot.device import chosen
from dpmot.diffusion import network
from dpmot.diffusion.acceleration import Acceleration
from dpmot.diffusion.training import Diverged, Losses, Schedule, batch_of, fit
from dpmot.diffusion.weights import read_folder, read_tensors, verify, weights_file
from dpmot.experiment.stages._prepared import Part, read_data
from dpmot.runtime.files import atomic
from dpmot.runtime.session import Fault, session


def run(job: Mapping, layout) -> None:
    """Write ``networks/<name>.safetensors``: averaged weights and the card."""
    inputs = [layout.data] + ([layout.network(job["teacher"])] if job["teacher"] else [])
    with session(job, layout, inputs) as stage:
        parts, mixture, _ = read_data(layout.data)
        card = job["card"]
        if "weights" in card:
            facts, weights = _load(job, parts)
            _check_shape(facts, parts["A"].raw.shape[1:], card["weights"])
            _check_classes(network.classes(facts), parts, card["weights"])
        elif exact := _exact(card, parts, mixture):
            facts, weights = _facts(job, parts, unet={}), {None: exact}
        else:
            try:
                facts, weights = (
                    _distil(job, layout, stage, parts["A"]) if job["teacher"] else _train(job, layout, stage, parts)
                )
            except Diverged as error:
                raise Fault(str(error), {"sigma": error.losses.sigma, **error.losses.batch}) from None
        with stage.watch.io(), atomic(layout.network(job["network"])) as temporary:
            network.save(temporary, {**facts, "name": job["network"]}, weights)


def _exact(card: Mapping, parts: Mapping, mixture: Mapping) -> Mapping:
    """What a network that is known exactly is made of: the images of a split, or the mixture; empty for all others."""
    if "kind" not in card:
        return {}
    split = getattr(network.parametrisation({"options": {}, **card}), "split", None)
    return {"points": parts[split].raw} if split else mixture


def _facts(job: Mapping, parts: Mapping, *, unet: Mapping) -> dict:
    card = job["card"]
    shape = list(parts["A"].raw.shape[1:])
    return {"kind": card["kind"], "options": card.get("options", {}), "shape": shape, "unet": dict(unet)}


def _load(job: Mapping, parts: Mapping) -> tuple[dict, dict]:
    card = job["card"]
    path = Path(card["weights"])
    file = weights_file(path)
    found_hash = verify(file, card.get("sha256"))
    if network.is_own(file):
        loaded = network.load(file)
        _check_same(loaded, card, file)
        return {**loaded.card, "loaded": {"sha256": found_hash}}, _weights_of(loaded)
    if "kind" not in card:
        raise ValueError(f"{file} does not say what it is: give network {job['network']} a kind, or a card")
    facts = _facts(job, parts, unet=card.get("unet", {}))
    if path.is_dir():
        found, tensors = read_folder(path, card["kind"], facts["options"])
        facts |= found
    else:
        tensors = read_tensors(file)
    try:
        network.build(facts, tensors)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    facts["published"] = {"card": card.get("card"), "sha256": found_hash, "verified": "sha256" in card}
    return facts, {None: tensors}


def _train(job: Mapping, layout, stage, parts: Mapping) -> tuple[dict, dict]:
    card, device = job["card"], chosen(job["device"])
    images = parts["A"].raw.to(device)
    facts = _facts(job, parts, unet=card.get("unet", {}))
    _check_classes(network.classes(facts), parts, f"networks.{job['network']}.unet")
    labels = parts["A"].labels.to(device) if network.classes(facts) else None
    torch.manual_seed(int(seeds.generator(job["seed"], "initialisation", job["network"]).integers(2**31)))
    model = network.build(facts).to(device)
    schedule, accelerated = split(card["training"])
    denoiser = network.NetworkDenoiser(network.parametrisation(facts), accelerated(model))

    def loss_at(step: int) -> Losses:
        stage.watch.images += schedule.batch
        batch = batch_of(images, job["seed"], "training", job["network"], step, size=schedule.batch)
        return denoiser.losses(batch, labels)

    def trained(steps: int) -> dict:
        parameters = sum(p.numel() for p in model.parameters())
        return {"seed": job["seed"], "images_seen": steps * schedule.batch, "parameters": parameters}

    def snapshot(steps: int, weights: Mapping) -> None:
        name = f"{job['network']}_{steps}"
        with atomic(layout.snapshot(job["network"], steps)) as temporary:
            network.save(temporary, {**facts, "name": name, "trained": trained(steps)}, {None: weights})

    with stage.watch.arithmetic():
        kept = {"checkpoint": stage.checkpoint("training"), "snapshot": snapshot}
        result = fit(model, loss_at, schedule, seed=job["seed"], description=job["network"], **kept)
    facts["trained"] = {**trained(schedule.steps), "losses": result.losses}
    return facts, {None: result.weights}


def _distil(job: Mapping, layout, stage, part: Part) -> tuple[dict, dict]:
    card, device = job["card"], chosen(job["device"])
    teacher = network.load(layout.network(job["teacher"]), device=device)
    method, options = plugins.find("distillation", card["distillation"]), dict(card.get("options", {}))
    if "step_counts" in card:
        options["step_counts"] = tuple(card["step_counts"])
    with stage.watch.arithmetic():
        weights = method.train(
            teacher.denoiser(0),
            teacher.chain,
            part.raw.to(device),
            split(card["training"])[0],
            seed=job["seed"],
            labels=part.labels.to(device) if teacher.classes else None,
            checkpoint=stage.checkpoint,
            **options,
        )
    facts = {key: value for key, value in teacher.card.items() if key != "trained"}
    facts["distilled"] = {"method": card["distillation"], "teacher": job["teacher"], "seed": job["seed"]}
    facts["distilled"] |= {**card.get("options", {}), **card["training"]}
    return facts | ({"step_counts": sorted(card["step_counts"])} if "step_counts" in card else {}), weights


def split(training: Mapping) -> tuple[Schedule, Acceleration]:
    """The options of ``training`` in the configuration, by what they are of."""
    names = {field.name for field in fields(Acceleration)}
    faster = {key: value for key, value in training.items() if key in names}
    return Schedule(**{key: value for key, value in training.items() if key not in names}), Acceleration(**faster)


def _check_same(loaded: network.Network, card: Mapping, file: Path) -> None:
    """The experiment was planned with what the configuration says of a network: the file must hold that."""
    held, options = loaded.card, card.get("options", {})
    if "kind" in card:
        same = held["kind"] == card["kind"]
        if not (same and network.parametrisation({**card, "options": options}) == network.parametrisation(held)):
            described = f"kind {held['kind']} with options {held['options']}"
            raise ValueError(f"{file} is of {described}; give these, not kind {card['kind']} with {options}")
    counts, planned = held.get("step_counts", []), sorted(card.get("step_counts", []))
    if counts != planned:
        shown = f"students of {counts} steps" if counts else "no students"
        raise ValueError(f"{file} holds {shown}; distillation, teacher and step_counts must say so, got {planned}")


def _check_classes(classes: int, parts: Mapping, where: str) -> None:
    known = 1 + max(int(part.labels.max()) for part in parts.values())
    if classes not in (0, known):
        raise ValueError(
            f"{where}: a network of {classes} classes does not fit a data set of {known}; give {known} or 0"
        )


def _check_shape(card: Mapping, shape, path: str) -> None:
    if list(shape) != list(card["shape"]):
        raise ValueError(f"{path} was made for images of shape {card['shape']}, the data set has {list(shape)}")


def _weights_of(loaded: network.Network) -> dict:
    return {count: one.model.state_dict() for count, one in loaded.denoisers.items()}
