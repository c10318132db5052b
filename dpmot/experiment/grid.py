"""The grid of cells: which (budget, level, seed) each method samples, and with which sigmas.

A cell is plain data, so that it can be a parameter of a Snakemake rule: the workflow re-runs what a change of the
configuration reaches and nothing else. Network evaluations are counted at run time; here they are predicted.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from dpmot import plugins
from dpmot.diffusion.sigmas import Chain, Grid, UnattainableBudget

SELECTION_SEED, COUPLING_SEED = 1000, 2000


def chain_of(config: Mapping, network: str) -> Chain:
    """The noise levels of a configured network; a student has its teacher's, and its step counts."""
    card = config["networks"][network]
    if "kind" in card:
        return plugins.find("networks", card["kind"]).Parametrisation(**card.get("options", {})).chain
    counts = card.get("step_counts")
    return replace(chain_of(config, card["teacher"]), step_counts=tuple(sorted(counts)) if counts else None)


def numeric_levels(config: Mapping, method: Mapping) -> list[float]:
    """The explicit sigma_M of a method, including the candidates for sigma_M*."""
    level = method.get("level", "as_paper")
    if level == "star":
        return list(config["selection"]["sigmas"])
    if isinstance(level, str):
        return []
    return list(level) if isinstance(level, list) else [level]


def cells(config: Mapping, name: str) -> Iterator[dict]:
    """All cells of one method, in the order level, budget, seed.

    A cell that cannot be met carries its ``reason``; ``sigma_start`` is None where it is sigma_M*, found at run time.
    """
    method = config["methods"][name]
    seeds = method.get("sample_seeds", config["sample_seeds"])
    level = method.get("level", None if method.get("start", "prior") == "prior" else "as_paper")
    for one in level if isinstance(level, list) else [level]:
        chain, shown = chain_of(config, method["network"]), {}
        for budget in method.get("nfe_budgets", config["nfe_budgets"]):
            cell = _cell(chain, method, one, budget)
            first = shown.setdefault(cell["steps"], budget)
            if chain.step_counts and first != budget and not cell["reason"]:
                cell["reason"] = (
                    f"NFE {budget}: the student has no more than {cell['steps']} steps, shown at NFE {first}"
                )
            for seed in seeds:
                key = f"{budget}-{one if isinstance(level, list) else 'level'}-{seed}"
                yield {"key": key, "nfe_budget": budget, "sample_seed": seed, **cell}


@dataclass(frozen=True)
class Budgeted:
    """A sampler with the options that decide what its steps cost.

    Attributes:
        family: the grid family the sampler prefers; None for the network's own.
        num_steps: nfe -> most steps within it.
    """

    family: str | None
    num_steps: Callable[[int], int]

    @classmethod
    def of(cls, method: Mapping) -> "Budgeted | None":
        """The sampler of a configured method; None where the start itself is the sample."""
        if method["sampler"] == "none":
            return None
        sampler = plugins.find("baselines", method["sampler"])
        options, counted = method.get("options", {}), inspect.signature(sampler.num_steps).parameters
        return cls(sampler.GRID, partial(sampler.num_steps, **{k: v for k, v in options.items() if k in counted}))

    def evaluations(self, steps: int) -> int:
        """Smallest number of evaluations with which the sampler takes ``steps`` steps."""
        nfe = steps
        while self._fitting(nfe) < steps:
            nfe += 1
        return nfe

    def _fitting(self, nfe: int) -> int:
        try:
            return self.num_steps(nfe)
        except UnattainableBudget:
            return 0


def _cell(chain: Chain, method: Mapping, level: str | float | None, budget: int | str) -> dict:
    sampler = Budgeted.of(method)
    cell = {"steps": 0, "sigma_start": None, "sigma_atoms": None, "family": None, "nfe": 0, "reason": None}
    try:
        steps = _steps(chain, sampler, budget)
        start, atoms, family, steps = _levels(chain, sampler, method, level, steps)
    except UnattainableBudget as error:
        return {**cell, "reason": f"NFE {budget}: {error}"}
    cell.update(sigma_start=start, sigma_atoms=atoms, family=family)
    if sampler is None:
        return cell
    cell["steps"] = steps
    cell["nfe"] = sampler.evaluations(steps) + (method.get("nfe") == "as_code")
    return cell if start is None else checked(chain, {"nfe_budget": budget, **cell})


def checked(chain: Chain, cell: Mapping) -> dict:
    """The cell, with its reason if its grid does not fit below its start."""
    try:
        sigmas(chain, cell)
    except UnattainableBudget as error:
        return {**cell, "reason": f"NFE {cell['nfe_budget']}: {error}"}
    return dict(cell)


def _steps(chain: Chain, sampler: "Budgeted | None", budget: int | str) -> int:
    if budget == "full":
        return len(chain.sigmas) - 1
    steps = budget if sampler is None else sampler.num_steps(budget)
    if chain.step_counts is None:
        return steps
    fitting = [count for count in chain.step_counts if count <= steps]
    if not fitting:
        counts = ", ".join(map(str, chain.step_counts))
        raise UnattainableBudget(f"the student was distilled for {counts} steps; use one of these")
    return fitting[-1]


def _levels(chain: Chain, sampler, method: Mapping, level, steps: int):
    """(sigma_start, sigma_atoms, family, steps); family "tail" is the end of the full chain."""
    own = method.get("grid") or (sampler and sampler.family) or chain.family
    if level is None:
        full = steps == len(chain.sigmas) - 1 and own == chain.family
        return chain.sigma_max, None, "tail" if full else own, steps
    if level == "star":
        return None, None, own, steps
    if level == "as_paper":
        sigma = float(chain.tail(steps)[0])
        return sigma, sigma, "tail", steps
    if level == "as_code":
        # The authors' latents lie backSteps levels before the end, their chain starts at backSteps / 5 levels, because
        # NCSNv2 spends five Langevin steps on a level (three on FFHQ, where theirs is a third). A sampler with one
        # evaluation a level spends one fifth.
        spent = sampler.evaluations(steps) if sampler else steps
        fewer = min(steps, -(-spent // method.get("options", {}).get("steps_per_level", 5)))
        return float(chain.tail(fewer)[0]), float(chain.tail(spent)[0]), "tail", fewer
    return float(level), float(level), own, steps


def sigmas(chain: Chain, cell: Mapping) -> Grid:
    """The sampler's grid of a cell, (steps + 1,), descending, last 0.

    Raises:
        UnattainableBudget: the family has not so many steps below the start.
    """
    if cell["family"] == "tail":
        return chain.tail(cell["steps"])
    return chain.grid(cell["steps"], cell["sigma_start"], family=cell["family"])


def coupled(config: Mapping, name: str) -> dict:
    """The configuration as the coupling job sees one of its methods: one budget, one seed."""
    coupling = config["coupling"]
    seed = coupling.get("sample_seed", COUPLING_SEED)
    method = {**config["methods"][name], "nfe_budgets": [coupling["nfe"]], "sample_seeds": [seed]}
    return {**config, "methods": {name: method}}


def problem(split: str, source: str, sigma: float, noises: int = 1) -> str:
    """Name of one transport problem; no network is part of it, because the map does not depend on any."""
    return f"{split}-{source}-{sigma:.8g}" + (f"-{noises}-noises" if noises > 1 else "")


def transport_options(method: Mapping) -> tuple[str, str]:
    """(split of the atoms, source measure) of a method."""
    split = "C" if method.get("targets") == "as_code" else "A"
    return split, "uniform" if method.get("source_measure") == "as_code" else "normal"


def problems(config: Mapping) -> list[dict]:
    """Every transport problem of the experiment: split, source, sigma, noises an image if several, name; sorted."""
    found = {}

    def add(split: str, source: str, sigma: float, noises: int = 1) -> None:
        name = problem(split, source, sigma, noises)
        found[name] = {"name": name, "split": split, "source": source, "sigma": sigma}
        found[name] |= {"noises": noises} if noises > 1 else {}

    for name, method in config["methods"].items():
        if method.get("start") != "transport" or method.get("heights") == "zero":
            continue
        options, noises = transport_options(method), method.get("noises", 1)
        for cell in cells(config, name):
            if cell["sigma_atoms"] is not None and not cell["reason"]:
                add(*options, cell["sigma_atoms"], noises)
        if method.get("level") == "star":
            for sigma in config["selection"]["sigmas"]:
                add(*options, sigma, noises)
    for name in config.get("coupling", {}).get("methods", []):
        method = config["methods"][name]
        if method.get("start") == "transport" and method.get("heights") != "zero":
            for cell in cells(coupled(config, name), name):
                add(*transport_options(method), cell["sigma_atoms"], method.get("noises", 1))
    for sigma in config.get("selection", {}).get("sigmas", []):
        add("A", "normal", sigma)
    return [found[name] for name in sorted(found)]
