"""The command line: one verb per compute rule of the workflow, and ``plan``. No logic lives here."""

import argparse
import importlib
import sys
from pathlib import Path

from dpmot import __version__
from dpmot.diffusion import published
from dpmot.experiment import jobs
from dpmot.experiment.config import describe, load

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
    "measure": ("measure every cell and write the tidy tables", None, "dpmot measure"),
    "timings": ("gather where the time of every job went", None, "dpmot timings"),
}
USER_ERRORS = (ValueError, OSError, ArithmeticError)


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
            epilog=f"example: {example}" + (f" --configfile {DEFAULT}" if verb != "cards" else ""),
        )
        if verb == "cards":
            continue
        if subject:
            one.add_argument("name", help=f"name of the {subject} in the configuration")
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


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; a user's error is one line on standard error and exit status 1."""
    options = parser().parse_args(arguments)
    try:
        if options.verb == "cards":
            print(published.describe())
            return 0
        config = load(options.configfile or [DEFAULT], [text for group in options.config for text in group])
        if options.verb == "plan":
            print("\n".join([*describe(config), jobs.cost(config)]))
            return 0
        subject = [options.name] if "name" in options else []
        job = getattr(jobs, options.verb)(config, *subject)
        layout = jobs.Layout(options.results / config["experiment"])
        jobs.record(config, layout)
        stage = importlib.import_module(f"{jobs.STAGES}.{job['stage']}")
        stage.run(job, layout)
    except USER_ERRORS as error:
        line = " ".join(str(error).split())
        print(f"dpmot {options.verb}: {line}", file=sys.stderr)
        return 1
    return 0
