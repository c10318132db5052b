"""``dpmot doctor``: a configured network before it is used; results/<experiment>/doctor/ remembers what was found.

A loaded network is read anew from its own file, so that a check never sees weights of yesterday; a trained one is what
``dpmot train`` wrote. The images are those of split A, or of the split that an exact network is made of.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpmot import plugins
from dpmot.diffusion import weights
from dpmot.diffusion.protocols import is_posterior_mean
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.plan import Experiment, Network
from dpmot.runtime.files import read_json, write_json
from dpmot.runtime.fingerprint import digest

if TYPE_CHECKING:
    from torch import Tensor

    from dpmot.diffusion.doctor import Diagnosis
    from dpmot.diffusion.network import Network as Loaded

COMMITTED = plugins.ROOT / "results" / "reference"  # weights of this project, which its own tests check


def run(experiment: Experiment, layout: Layout, name: str, *, beside: Path | None = None) -> int:
    """Print what the doctor says of a network and remember it; 0 where no mistake was found, 1 where one was.

    Args:
        beside: a file with other weights of the same network, which should not be better.

    Raises:
        ValueError: no such network, or it is not trained yet; one line.
    """
    jobs = Jobs(experiment, layout)
    jobs.train(name)  # refuses a name that is not there
    if experiment.networks[name].how in ("trained", "student") and not layout.network(name).exists():
        raise ValueError(f"{name} is not trained yet: run `dpmot train {name}` first, with the same configuration")
    diagnosis = _diagnosed(jobs, name, beside)
    print(diagnosis, flush=True)
    given = experiment.networks[name]
    found = [{"grade": one.grade, "name": one.name, "told": one.told} for one in diagnosis.findings]
    write_json(_record(layout, name), {"network": _identity(given), "verdict": diagnosis.verdict, "findings": found})
    return int(diagnosis.verdict == "wrong")


def unchecked(experiment: Experiment, layout: Layout, command: str) -> Iterator[str]:
    """A line for the plan where weights from elsewhere were never checked, or found wrong; ``command`` calls dpmot."""
    never, wrong = [], []
    for name, given in experiment.networks.items():
        if not given.weights or COMMITTED in Path(given.weights).resolve().parents or not Path(given.weights).exists():
            continue
        known = read_json(_record(layout, name)) if _record(layout, name).exists() else {}
        if known.get("network") != _identity(given):
            never.append(name)
        elif known["verdict"] == "wrong":
            wrong.append(f"{name} ({known['findings'][0]['name']})")
    if wrong:
        yield f"doctor: mistakes were found in {', '.join(wrong)}: `dpmot doctor` shows them"
    if never:
        check = f"`dpmot doctor {never[0]} {command}`".replace(" `", "`")
        yield f"doctor: {', '.join(never)} never checked: {check} says in a minute whether it is a denoiser"


def _record(layout: Layout, name: str) -> Path:
    return layout.root / "doctor" / f"{name}.json"


def _identity(given: Network) -> str:
    """Digest of what is configured, and of size and time of the files: a plan reads no gigabytes."""
    files = weights.files(Path(given.weights)) if given.weights else []
    return digest([given.plain(), *([file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files)])


def _diagnosed(jobs: Jobs, name: str, beside: Path | None) -> "Diagnosis":
    from dpmot.diffusion.doctor import doctor
    from dpmot.experiment.stages import prepare
    from dpmot.experiment.stages._prepared import read_data

    if not jobs.layout.data.exists():
        prepare.run(jobs.prepare(), jobs.layout)
    parts, mixture, _ = read_data(jobs.layout.data)
    found = _network(jobs, name, parts, mixture)
    other = _beside(jobs, name, beside, parts, mixture) if beside else None
    counts = sorted(count for count in found.denoisers if count is not None)
    if counts:
        print(f"{name} has students of {counts} steps; that of {counts[-1]} is checked", flush=True)
    denoiser = found.denoisers[counts[-1] if counts else None]
    if not is_posterior_mean(denoiser):
        told = "with a coupling of noise and images; the noise of this check is independent, which it was not made for"
        print(f"{name} was trained {told}", flush=True)
    part = parts[getattr(getattr(denoiser, "parametrisation", None), "split", "A")]
    return doctor(
        denoiser,
        part.raw,
        labels=part.labels if found.classes else None,
        samples=found.card.get("distilled", {}).get("method") == "consistency" or _boundary(denoiser) > 0,
        beside=other,
    )


def _network(jobs: Jobs, name: str, parts: Any, mixture: "dict[str, Tensor]") -> "Loaded":
    from dpmot.diffusion import network
    from dpmot.experiment.stages import train

    job = jobs.train(name)
    if jobs.experiment.networks[name].how in ("loaded", "exact"):
        facts, tensors = train.loaded(job.task, parts, mixture)
        return network.of(facts, tensors)
    return network.load(jobs.layout.network(name))


def _beside(jobs: Jobs, name: str, file: Path, parts: Any, mixture: "dict[str, Tensor]") -> "Callable[..., Tensor]":
    given = jobs.experiment.networks[name]
    plain = given.but(weights=str(file), sha256=None)
    experiment = jobs.experiment.but(networks={**jobs.experiment.networks, name: plain})
    other = _network(replace(jobs, experiment=experiment), name, parts, mixture)
    return other.denoiser(max((count for count in other.denoisers if count), default=0))


def _boundary(denoiser: Any) -> float:
    return getattr(getattr(denoiser, "parametrisation", None), "boundary", 0.0)
