"""The grid of cells: which (budget, level, seed) each method samples, and with which sigmas.

A cell is plain data, so that it can be a parameter of a Snakemake rule: the workflow re-runs what a change of the
configuration reaches and nothing else. Network evaluations are counted at run time; here they are predicted.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

from dpmot import plugins
from dpmot.diffusion import gits
from dpmot.diffusion.budget import Budgeted
from dpmot.diffusion.sigmas import Chain, Grid, UnattainableBudget
from dpmot.experiment.cells import Cell, Problem
from dpmot.experiment.plan import Given

if TYPE_CHECKING:
    from dpmot.experiment.plan import Experiment, Method

FAR = 100.0  # sigma from which t = sigma / (1 + sigma) is above .99
LONG = 1000.0  # sigma_max from which on most of Karras' levels are above that


def chain_of(experiment: "Experiment", name: str) -> Chain:
    """The noise levels of a configured network; a student has its teacher's, and its step counts."""
    network = experiment.networks[name]
    if network.kind:
        return _chain(network.kind, json.dumps(network.options, sort_keys=True))
    counts = tuple(sorted(network.step_counts)) if network.step_counts else None
    return replace(chain_of(experiment, str(network.teacher)), step_counts=counts)


@cache
def _chain(kind: str, options: str) -> Chain:
    return plugins.find("networks", kind).Parametrisation(**json.loads(options)).chain


def numeric_levels(experiment: "Experiment", method: "Method") -> list[float]:
    """The explicit sigma_M of a method, including the candidates for sigma_M*."""
    candidates = experiment.selection.sigmas if method.level == "star" and experiment.selection else method.levels
    return [level for level in candidates if isinstance(level, int | float)]


def cells(experiment: "Experiment", name: str) -> Iterator[Cell]:
    """All cells of one method, in the order level, budget, seed."""
    method = experiment.methods[name]
    return iter(method.cells()) if isinstance(method, Given) else cells_of(experiment, method)


def cells_of(experiment: "Experiment", method: "Method") -> Iterator[Cell]:
    """The same of a method that need not be among the experiment's."""
    for level in method.levels:
        chain = chain_of(experiment, method.network)
        shown: dict[int, int | str] = {}
        for budget in method.nfe_budgets:
            cell = _cell(chain, method, level, budget)
            first = shown.setdefault(cell.steps, budget)
            if chain.step_counts and first != budget and not cell.reason:
                told = f"the student has no more than {cell.steps} steps, shown at NFE {first}"
                cell = replace(cell, reason=f"NFE {budget}: {told}")
            for seed in method.sample_seeds:
                key = f"{budget}-{level if isinstance(method.level, tuple) else 'level'}-{seed}"
                yield replace(cell, key=key, sample_seed=seed)


def _cell(chain: Chain, method: "Method", level: Any, budget: int | str) -> Cell:
    sampler, cell = Budgeted.of(method.sampler, method.options, method.cost), Cell("", budget, 0)
    try:
        steps = _steps(chain, sampler, budget)
        start, atoms, family, steps = _levels(chain, sampler, method, level, steps)
    except UnattainableBudget as error:
        return replace(cell, reason=f"NFE {budget}: {error}")
    cell = replace(cell, sigma_start=start, sigma_atoms=atoms, family=family)
    if sampler:
        cell = replace(cell, steps=steps, nfe=sampler.evaluations(steps) + method.cost * (method.nfe == "as_code"))
    return checked(chain, cell) if sampler and start is not None else cell


def checked(chain: Chain, cell: Cell) -> Cell:
    """The cell, with its reason if its grid does not fit below its start."""
    try:
        sigmas(chain, cell)
    except UnattainableBudget as error:
        return replace(cell, reason=f"NFE {cell.nfe_budget}: {error}")
    return cell


def resolved(cell: Cell, star: Mapping[str, Any] | None, chain: Chain) -> Cell:
    """The cell with sigma_M* filled in, or with the reason why there is none."""
    if star is None or cell.reason:
        return cell
    if star["sigma"] is None:
        return replace(cell, reason=f"no sigma_M*: {star['reason']}")
    found = replace(cell, sigma_start=star["sigma"], sigma_atoms=star["sigma"])
    return found if not cell.steps else checked(chain, found)


def _steps(chain: Chain, sampler: Budgeted | None, budget: int | str) -> int:
    if isinstance(budget, str):  # "full"
        return len(chain.sigmas) - 1
    steps = budget if sampler is None else sampler.num_steps(budget)
    if chain.step_counts is None:
        return steps
    fitting = [count for count in chain.step_counts if count <= steps]
    if not fitting:
        counts = ", ".join(map(str, chain.step_counts))
        raise UnattainableBudget(f"the student was distilled for {counts} steps; use one of these")
    return fitting[-1]


def _levels(
    chain: Chain, sampler: Budgeted | None, method: "Method", level: Any, steps: int
) -> tuple[float | None, float | None, str, int]:
    """(sigma_start, sigma_atoms, family, steps); family "tail" is the end of the full chain."""
    own = method.grid or (sampler and sampler.family) or chain.family
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
        spent = sampler.evaluations(steps) // sampler.cost if sampler else steps
        default = plugins.constant("baselines", "ncsnv2", "STEPS_PER_LEVEL")
        fewer = min(steps, -(-spent // method.options.get("steps_per_level", default)))
        return float(chain.tail(fewer)[0]), float(chain.tail(spent)[0]), "tail", fewer
    return float(level), float(level), own, steps


def sigmas(chain: Chain, cell: Cell) -> Grid:
    """The sampler's grid of a cell, (steps + 1,), descending, last 0.

    Raises:
        UnattainableBudget: the family has not so many steps below the start.
    """
    if cell.family == "tail":
        return chain.tail(cell.steps)
    if cell.family == "gits":  # its levels are learned: a plan knows no more than their number and their ends
        gits.check(cell.steps)
        cell = replace(cell, family="karras")
    if cell.sigma_start is None:
        raise ValueError(f"cell {cell.key} has no level before sigma_M* is found")
    return chain.grid(cell.steps, cell.sigma_start, family=cell.family)


def far(experiment: "Experiment") -> Iterator[str]:
    """What is said of grids that spend much of a budget between a flow network's far end and sigma ``FAR``.

    At its sigma_max, 1e5 by default, grids that are even in some power or the logarithm of sigma have most of their
    levels where a sample is noise alone.
    """
    for name, network in experiment.networks.items():
        way = network.distillation
        own = plugins.constant("distillation", way, "GRID") if way and not network.weights else None
        if (
            own
            and (teacher := chain_of(experiment, str(network.teacher))).family == "flow"
            and teacher.sigma_max > LONG
        ):
            told = f"{way} trains on the {own} grid, which is mostly above sigma {FAR:g} from {teacher.sigma_max:g} on"
            yield f"networks.{name}: {told}; give teacher {network.teacher} options sigma_max: null, or use reflow"
    for name, method in experiment.drawn.items():
        chain = chain_of(experiment, method.network)
        if chain.family != "flow":
            continue
        for cell in cells_of(experiment, method.but(sample_seeds=method.sample_seeds[:1])):
            if cell.reason or cell.sigma_start is None or not cell.steps or cell.family in ("tail", "flow"):
                continue
            spent = int((sigmas(chain, cell)[1:] > FAR).sum())  # besides the first step, which begins there anyway
            if 4 * spent >= cell.steps:
                where = f"above sigma {FAR:g}, where a sample of flow network {method.network} is noise alone"
                told = f"grid {cell.family} begins {spent + 1} of {cell.steps} steps {where}"
                yield f"methods.{name}: {told}; grid: flow begins one there"
                break


def stored_levels(experiment: "Experiment") -> tuple[tuple[float, ...], bool]:
    """Levels from which a network that is told no class is started at images of split A, ascending; and if sigma_M* is.

    Where a sampler is told another level than that of its start's noise, as in the authors' code, there is none.
    """
    levels, star = set(), False
    for method in experiment.drawn.values():
        network = experiment.networks[method.network]
        told = (
            network.classes or experiment.networks[str(network.teacher)].classes if network.teacher else network.classes
        )
        if told or method.split != "A" or not plugins.constant("starts", method.start, "STORES_IMAGES"):
            continue
        star |= method.level == "star"
        cells = (
            cell for cell in cells_of(experiment, method.but(sample_seeds=method.sample_seeds[:1])) if not cell.reason
        )
        levels |= {
            cell.sigma_atoms for cell in cells if cell.sigma_atoms is not None and cell.sigma_atoms == cell.sigma_start
        }
    return tuple(sorted(levels)), star


def problems(experiment: "Experiment") -> list[Problem]:
    """Every transport problem of the experiment, each once, sorted by name."""
    coupling = experiment.coupling
    drawn = [*experiment.drawn.values()]
    drawn += [coupling.of(experiment.drawn[name]) for name in coupling.methods] if coupling else []
    wanted = {
        Problem(method.split, method.law, sigma, method.noises, method.per_class)
        for method in drawn
        if method.needs_heights
        for sigma in [
            *(c.sigma_atoms for c in cells_of(experiment, method) if c.sigma_atoms is not None and not c.reason),
            *(numeric_levels(experiment, method) if method.level == "star" else ()),
        ]
    }
    wanted |= {Problem("A", "normal", sigma) for sigma in (experiment.selection.sigmas if experiment.selection else ())}
    return sorted({problem.name: problem for problem in wanted}.values(), key=lambda problem: problem.name)
