"""The jobs at the end of the workflow: tables, figures, and what gathers the facts of the other jobs."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpmot import plugins
from dpmot.experiment.code import STAGES, modules
from dpmot.experiment.pairings import drawing
from dpmot.experiment.tasks import Trained
from dpmot.runtime.job import Job

if TYPE_CHECKING:
    from dpmot.experiment.jobs import Jobs


def page(jobs: "Jobs", name: str) -> Job[Mapping[str, Any]]:
    """The job that draws one table or figure; its text depends on everything that the configuration says."""
    layout, e, root = jobs.layout, jobs.experiment, jobs.layout.root
    metrics, replicates, audit, identity, copies, mixed, fingerprint = layout.measured
    timed = [*(["solve"] if e.drawn else []), *(f"sample_{method}" for method in jobs.each.experiment.methods)]
    reads = {
        "identity": [identity],
        "replicates": [replicates],
        "copies": [copies],
        "mixed": [mixed],
        "coupling": [layout.coupling] if e.coupling else [],
        "star": [layout.star] if e.selection else [],
        "ideal": [layout.ideal] if jobs.stores_images else [],
        "data": [layout.data],
        "strips": [layout.strips] if e.coupling else [],
        "samples": [layout.samples(method) for method in jobs.each.firsts.values()],
        "timings": [layout.timing(job) for job in timed],
        "reported": [Path("paper_figures/reported.csv")],
        "fits": [layout.facts_of_fit(fit) for fit in jobs.fits],
        "trainings": [layout.trainings],
    }
    asked: Any = plugins.constant("pages", name, "READS") or ()
    inputs = [metrics, audit, fingerprint, *(file for kind in asked for file in reads[kind])]
    table, figure = ("tables", (".md", ".tex", "_full.tex", ".csv")), ("figures", (".png", ".pdf"))
    folder, endings = table if name in e.tables else figure
    files = [root / folder / f"{name}{ending}" for ending in endings]
    facts = [("metrics", metric) for metric in plugins.names("metrics")]  # dpmot.results finds both by name
    facts += [("features", extractor) for extractor in jobs.extractors]
    task = {"name": name, "config": e.written()}
    return Job("page", name, task, tuple(inputs), (*files, layout.timing(name)), modules(("pages", name), *facts))


def trainings(jobs: "Jobs") -> Job[tuple[Trained, ...]]:
    """The job that gathers what networks saw in training."""
    each, layout = jobs.each, jobs.layout
    networks = each.experiment.networks.items()
    maps = {one: drawing(each.experiment, one)[1] for one, _ in networks}
    task = tuple(Trained(one, each.origin[one], each.seeds[one], given.how, maps[one]) for one, given in networks)
    inputs = [file for one in maps for file in (layout.network(one), layout.timing(f"train_{one}"))]
    for one in dict.fromkeys(filter(None, maps.values())):
        inputs.append(layout.timing(f"pair_{one}"))
    code = (f"{STAGES}.trainings",)
    return Job("trainings", "trainings", task, tuple(inputs), (layout.trainings,), code)


def timings(jobs: "Jobs") -> Job[tuple[str, ...]]:
    """The job that gathers the timings of all others."""
    e = jobs.experiment
    names = tuple(job.name for job in (*jobs.compute(), *jobs.beside(), jobs.measure()))
    names += (*e.tables, *e.figures)
    inputs, code = tuple(map(jobs.layout.timing, names)), (f"{STAGES}.timings",)
    return Job("timings", "timings", names, inputs, (jobs.layout.timings,), code)
