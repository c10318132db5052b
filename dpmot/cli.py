"""The command line: one verb per compute rule of the workflow, and ``plan``. No logic lives here."""

import argparse
import importlib
import sys
from pathlib import Path

from dpmot import __version__
from dpmot.diffusion import weights
from dpmot.experiment import jobs
from dpmot.experiment.config import describe, load, missing_data
from dpmot.experiment.cost import cost, training_cost

DEFAULT = "config/digits.yaml"
VERBS = {
    "plan": (
        "show what would run: every method, its counted evaluations, and what is skipped and why",
        None,
        "dpmot plan",
    ),
    "cards": ("list published weights that can be loaded: address, licence, reported numbers", None, "dpmot cards"),
    "prepare": ("load and split the data set", None, "dpmot prepare"),
    "train": ("train, distil or load one network", "network", "dpmot train edm"),
    "classify": ("train the classifier that judges the samples", None, "dpmot classify"),
    "solve": ("solve every transport problem", None, "dpmot solve"),
    "select": ("find sigma_M*, where DPM-OT stops copying", None, "dpmot select"),
    "sample": ("draw all samples of one method", "method", "dpmot sample ddim"),
    "couple": (
        "measure the coupling of noise and samples: transport cost, smoothness, interpolation",
        None,
        "dpmot couple",
    ),
    "measure": ("measure every cell and write the tidy tables", None, "dpmot measure"),
    "timings": ("gather where the time of every job went", None, "dpmot timings"),
    "gate": (
        "compare a run with a reference: exit status 0 passed, 1 regressed, 2 cannot compare",
        None,
        "dpmot gate results/gate results/reference/gate",
    ),
}
USER_ERRORS = (ValueError, OSError, ArithmeticError, MemoryError)


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = argparse.ArgumentParser(
        prog="dpmot",
        description="Benchmark of DPM-OT and its rivals, one stage at a time. `snakemake` runs them all in order.",
        epilog="example: dpmot plan --configfile config/smoke.yaml",
    )
    top.add_argument("--version", action="version", version=f"dpmot {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, (text, subject, example) in VERBS.items():
        one = verbs.add_parser(
            verb,
            help=text,
            description=text[0].upper() + text[1:] + ".",
            epilog=f"example: {example}" + _configured(verb),
        )
        if verb == "gate":
            _add_gate(one)
        if verb in ("cards", "gate"):
            continue
        if subject:
            one.add_argument("name", help=f"name of the {subject} in the configuration")
        if verb == "measure":
            one.add_argument(
                "--cores", type=_positive, default=1, help="for methods side by side, `threads` each (default 1)"
            )
        one.add_argument(
            "--configfile", action="append", metavar="FILE", help=f"experiment (default {DEFAULT}); repeatable"
        )
        one.add_argument(
            "--config",
            action="append",
            nargs="+",
            default=[],
            metavar="KEY=VALUE",
            help="override one key, value in YAML",
        )
        one.add_argument(
            "--results",
            type=Path,
            default=Path("results"),
            metavar="FOLDER",
            help="results go to FOLDER/<experiment>/ (default results)",
        )
    return top


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is no number of cores; give 1 or more')
    return int(text)


def _configured(verb: str) -> str:
    if verb in ("cards", "gate"):
        return ""
    return f" --configfile {'config/singular.yaml' if verb == 'couple' else DEFAULT}"


def _add_gate(one: argparse.ArgumentParser) -> None:
    one.add_argument("candidate", type=Path, help="results folder, or its metrics.csv")
    one.add_argument("reference", type=Path, help="the same of the run that is trusted")
    one.add_argument("--alpha", type=float, default=0.005, help="chance of one false alarm in a run (default 0.005)")
    one.add_argument("--junit", type=Path, metavar="FILE", help="write the result as JUnit XML")
    one.add_argument("--github", action="store_true", help="print annotations for GitHub's workflows")
    one.add_argument("--update", action="store_true", help="make the candidate the reference; needs --reason")
    one.add_argument("--reason", default="", metavar="TEXT", help="why the numbers changed, for the log of updates")


def _gate(options: argparse.Namespace) -> int:
    report, update = (importlib.import_module(f"dpmot.gate.{name}") for name in ("report", "update"))
    try:
        if options.reason and not options.update:
            raise ValueError("--reason is for --update: give both, or neither")
        if options.update:
            print(update.update(options.candidate, options.reference, options.reason))
            return 0
        if not 0 < options.alpha < 1:
            raise ValueError(f"--alpha is a chance between 0 and 1, got {options.alpha}")
        return report.run(
            options.candidate,
            options.reference,
            alpha=options.alpha,
            junit_file=options.junit,
            github=options.github,
        )
    except USER_ERRORS as error:
        line = " ".join(str(error).split())
        print(f"dpmot gate: {line}", file=sys.stderr)
        return report.refuse(line, junit_file=options.junit, github=options.github)


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; a user's error is one line on standard error and exit status 1."""
    options = parser().parse_args(arguments)
    if options.verb == "gate":
        return _gate(options)
    try:
        if options.verb == "cards":
            print(weights.describe())
            return 0
        config = load(options.configfile or [DEFAULT], [text for group in options.config for text in group])
        if options.verb == "plan":
            absent = missing_data(config)
            print("\n".join([*describe(config), cost(config), *([f"data: {absent}"] if absent else [])]))
            return 0
        subject = [options.name] if "name" in options else []
        job = getattr(jobs, options.verb)(config, *subject)
        if options.verb == "train" and (told := training_cost(config, options.name)):
            print(told, flush=True)
        layout = jobs.Layout(options.results / config["experiment"])
        jobs.record(config, layout)
        stage = importlib.import_module(f"{jobs.STAGES}.{job['stage']}")
        stage.run(job, layout, **({"cores": options.cores} if "cores" in options else {}))
    except USER_ERRORS as error:
        line = " ".join(str(error).split())
        print(f"dpmot {options.verb}: {line}", file=sys.stderr)
        return 1
    return 0
