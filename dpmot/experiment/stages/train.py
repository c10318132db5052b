"""Train a network on split A, distil a student from a teacher, or load published weights."""

from collections.abc import Mapping

import torch

from dpmot import plugins, seeds
from dpmot.diffusion import network
from dpmot.diffusion.training import Schedule, batch_of, fit
from dpmot.experiment.records import atomic
from dpmot.experiment.stages._session import read_data, session


def run(job: Mapping, layout) -> None:
    """Write ``networks/<name>.safetensors``: averaged weights and the card."""
    inputs = [layout.data] + ([layout.network(job["teacher"])] if job["teacher"] else [])
    with session(job, layout, inputs) as stage:
        parts, mixture, _ = read_data(layout.data)
        card = job["card"]
        if "weights" in card:
            loaded = network.load(card["weights"])
            _check_shape(loaded.card, parts["A"].raw.shape[1:], card["weights"])
            facts, weights = loaded.card, _weights_of(loaded)
        elif mixture and not job["teacher"]:
            facts, weights = _facts(job, parts, unet={}), {None: mixture}
        elif job["teacher"]:
            facts, weights = _distil(job, layout, stage, parts["A"].floats)
        else:
            facts, weights = _train(job, stage, parts)
        with stage.watch.io(), atomic(layout.network(job["network"])) as temporary:
            network.save(temporary, facts, weights)


def _facts(job: Mapping, parts: Mapping, *, unet: Mapping) -> dict:
    card = job["card"]
    shape = list(parts["A"].raw.shape[1:])
    return {"kind": card["kind"], "options": card.get("options", {}), "shape": shape, "unet": dict(unet)}


def _train(job: Mapping, stage, parts: Mapping) -> tuple[dict, dict]:
    card, images = job["card"], parts["A"].floats
    facts = _facts(job, parts, unet=card.get("unet", {}))
    torch.manual_seed(int(seeds.generator(job["seed"], "initialisation", job["network"]).integers(2**31)))
    model = network.build(facts)
    denoiser = network.NetworkDenoiser(network.parametrisation(facts), model)
    schedule = Schedule(**card["training"])

    def loss_at(step: int) -> torch.Tensor:
        x0, noise, u = batch_of(images, job["seed"], "training", job["network"], step, size=schedule.batch)
        return denoiser.loss(x0, noise, u).mean()

    with stage.watch.arithmetic():
        result = fit(model, loss_at, schedule, description=job["network"], checkpoint=stage.checkpoint("training"))
    facts["trained"] = {"seed": job["seed"], "images_seen": schedule.steps * schedule.batch, "losses": result.losses}
    facts["trained"]["parameters"] = sum(p.numel() for p in model.parameters())
    return facts, {None: result.weights}


def _distil(job: Mapping, layout, stage, images: torch.Tensor) -> tuple[dict, dict]:
    card, teacher = job["card"], network.load(layout.network(job["teacher"]))
    method, counts = plugins.find("distillation", card["distillation"]), tuple(card["step_counts"])
    with stage.watch.arithmetic():
        weights = method.train(
            teacher.denoiser(0),
            teacher.chain,
            images,
            Schedule(**card["training"]),
            seed=job["seed"],
            step_counts=counts,
            checkpoint=stage.checkpoint,
        )
    facts = {key: value for key, value in teacher.card.items() if key != "trained"}
    distilled = {"method": card["distillation"], "teacher": job["teacher"], "seed": job["seed"], **card["training"]}
    return {**facts, "step_counts": sorted(counts), "distilled": distilled}, weights


def _check_shape(card: Mapping, shape, path: str) -> None:
    if list(shape) != list(card["shape"]):
        raise ValueError(f"{path} was made for images of shape {card['shape']}, the data set has {list(shape)}")


def _weights_of(loaded: network.Network) -> dict:
    return {count: one.model.state_dict() for count, one in loaded.denoisers.items()}
