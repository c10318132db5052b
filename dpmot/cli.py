"""The command line: one verb per compute rule of the workflow, and ``plan``. No logic lives here."""

import argparse
import importlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from dpmot import __version__, plugins
from dpmot.diffusion import weights
from dpmot.evaluation import command as evaluation
from dpmot.experiment import checkup, members
from dpmot.experiment.config import describe, load
from dpmot.experiment.cost import cost, training_cost
from dpmot.experiment.jobs import STAGES, Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.missing import missing_data
from dpmot.experiment.schema import json_schema
from dpmot.experiment.shards import numbered
from dpmot.runtime import gpus
from dpmot.templates import KINDS, new
from dpmot.theory import command as prediction

DEFAULT, RESULTS = "config/digits.yaml", Path("results")
INTERRUPTED, CLOSED = 130, 141  # exit statuses as a shell has them of SIGINT and SIGPIPE
VERBS = {
    "plan": "show what would run: every method, its counted evaluations, and what is skipped and why",
    "list": "list what can be named in a configuration, one line each, read from the files themselves",
    "schema": "print the JSON schema of configurations, by which editors complete them",
    "cards": "list published weights that can be loaded: address, licence, reported numbers",
    "doctor": "say within a minute whether a network is a denoiser, and which mistake was likely made",
    "new": "write a new file of your own, a working example with its contract filled in",
    "prepare": "load and split the data set",
    "pair": "solve the map from noise to clean images, by which networks are coupled in training",
    "train": "train, distil, rewire or load one network",
    "classify": "train the classifier that judges the samples",
    "solve": "solve every transport problem",
    "fit": "fit a start to images, such as a Gaussian mixture",
    "select": "find sigma_M*, where DPM-OT stops copying",
    "learn": "learn what one method leaves open, its solver's coefficients or its grid",
    "sample": "draw all samples of one method",
    "ideal": "say how often an exact denoiser would hand back the image behind its start, at each level of the tables",
    "couple": "measure the coupling of noise and samples: transport cost, smoothness, interpolation",
    "measure": "measure every cell and write the tidy tables",
    "evaluate": "measure samples from elsewhere against real images, without a configuration",
    "trainings": "gather what each network saw in training, and how its noise and images were coupled",
    "predict": "say from images alone how often starts made of them come back as the image behind",
    "timings": "gather where the time of every job went",
    "status": "say what of a run is done, runs, waits or failed, and how long the rest takes",
    "show": "print the headline of a table of a run in the terminal, or all of it",
    "gate": "compare a run with a reference: exit status 0 passed, 1 regressed, 2 cannot compare",
}
SUBJECTS = {"pair": "map", "train": "network", "fit": "fit", "learn": "method", "sample": "method", "doctor": "network"}
EXAMPLES = {  # what follows a verb in the example of its help
    "list": "samplers",
    "schema": "> config/schema.json",
    "cards": "",
    "doctor": f"edm --configfile {DEFAULT}",
    "new": "sampler midpoint",
    "pair": "clean_chi2_0_01 --configfile config/coupling.yaml",
    "train": f"edm --configfile {DEFAULT}",
    "sample": f"ddim --configfile {DEFAULT}",
    "learn": f"NAME --configfile {DEFAULT}",
    "couple": "--configfile config/singular.yaml",
    "fit": "mixture_components_10 --configfile config/mixture.yaml",
    "status": "digits",
    "show": "table_1 digits --results results/reference --all",
    "gate": "results/gate results/reference/gate",
    "evaluate": evaluation.EXAMPLE,
    "predict": prediction.EXAMPLE,
}
UNCONFIGURED = ("list", "schema", "cards", "gate", "evaluate", "predict", "new", "status", "show")
ASKED = {"evaluate": evaluation, "predict": prediction}
FOLLOWING = ("status", "show")
SHARDED = ("sample", "measure")
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
    for verb, text in VERBS.items():
        example = f"example: dpmot {verb} {EXAMPLES.get(verb, f'--configfile {DEFAULT}')}".rstrip()
        one = verbs.add_parser(verb, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=example)
        add = one.add_argument
        if verb == "gate":
            _add_gate(one)
        if verb in ASKED:
            ASKED[verb].add_arguments(one)
        if verb == "list":
            add("kind", choices=plugins.LISTED, help="what to list")
        if verb in FOLLOWING:
            _add_following(one)
        if verb == "new":
            add("kind", choices=KINDS, help="what to write")
            add("name", help="its name in a configuration, and of its file")
        if verb in UNCONFIGURED:
            continue
        if verb == "plan":
            add("--rules", action="store_true", help="the rules of the workflow, in the order of the paper")
        if verb in SUBJECTS:
            add("name", help=f"name of the {SUBJECTS[verb]} in the configuration")
        if verb == "doctor":
            told = "other weights of the same network, raw ones beside averaged ones: the doctor says which are better"
            add("--beside", type=Path, metavar="FILE", help=told)
        if verb == "measure":
            add("--cores", type=_positive, default=1, help="for methods side by side, `threads` each (default 1)")
        if verb in SHARDED:
            add(
                "--shard",
                type=_positive,
                metavar="K",
                help="only this of the shards that `shards:` asks for, from 1 on",
            )
        add("--configfile", action="append", metavar="FILE", help=f"experiment (default {DEFAULT}); repeatable")
        override = "override one key, value in YAML"
        add("--config", action="append", nargs="+", default=[], metavar="KEY=VALUE", help=override)
        add(
            "--results",
            type=Path,
            default=RESULTS,
            metavar="FOLDER",
            help="results go to FOLDER/<experiment>/ (default results)",
        )
    return top


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is no number from 1 on')
    return int(text)


def _add_gate(one: argparse.ArgumentParser) -> None:
    one.add_argument("candidate", type=Path, help="results folder, or its metrics.csv")
    one.add_argument("reference", type=Path, help="the same of the run that is trusted")
    one.add_argument("--alpha", type=float, default=0.005, help="chance of one false alarm in a run (default 0.005)")
    one.add_argument("--junit", type=Path, metavar="FILE", help="write the result as JUnit XML")
    one.add_argument("--github", action="store_true", help="print annotations for GitHub's workflows")
    one.add_argument("--update", action="store_true", help="make the candidate the reference; needs --reason")
    one.add_argument("--reason", default="", metavar="TEXT", help="why the numbers changed, for the log of updates")


def _add_following(one: argparse.ArgumentParser) -> None:
    if one.prog.endswith("show"):
        one.add_argument("table", help="its name or number, as table_1")
        shown = one.add_mutually_exclusive_group()
        shown.add_argument("--all", action="store_true", help="all its rows (default: its headline, at most ten)")
        shown.add_argument("--metric", metavar="NAME", help="all rows of one of the table's metrics")
    told = "experiment: its name, or its folder (default: where something happened last)"
    one.add_argument("experiment", nargs="?", help=told)
    one.add_argument(
        "--configfile", action="append", metavar="FILE", help="the experiment of a configuration; repeatable"
    )
    one.add_argument(
        "--config", action="append", nargs="+", default=[], metavar="KEY=VALUE", help="and what it overrides"
    )
    one.add_argument(
        "--results", type=Path, default=RESULTS, metavar="FOLDER", help="folder of results (default results)"
    )


def _following(options: argparse.Namespace) -> Iterator[str]:
    """The lines of ``status`` or ``show``."""
    folders, name = importlib.import_module("dpmot.monitor.folders"), options.experiment
    if options.verb == "show" and (Path(options.table) / "experiment.json").is_file():
        raise ValueError(
            f"{options.table} is the folder of an experiment; the table comes first: dpmot show TABLE FOLDER"
        )
    if options.configfile or options.config:
        if name:
            raise ValueError(f"{name} and --configfile both name an experiment; give one of them")
        name = load(options.configfile or [DEFAULT], _overrides(options)).experiment
    root = folders.folder(options.results, name)
    if options.verb == "status":
        return iter(importlib.import_module("dpmot.monitor.status").status(root))
    tables = importlib.import_module("dpmot.monitor.tables")
    shown = {"width": shutil.get_terminal_size((120, 24)).columns, "colour": sys.stdout.isatty()}
    asked = {"metric": options.metric, "everything": options.all}
    return iter(tables.show(tables.find(root, options.table), root.name, **asked, **shown))


def _gate(options: argparse.Namespace) -> int:
    report, update = (importlib.import_module(f"dpmot.gate.{name}") for name in ("report", "update"))
    if options.reason and not options.update:
        raise ValueError("--reason is for --update: give both, or neither")
    if options.update:
        print(update.update(options.candidate, options.reference, options.reason))
        return 0
    if not 0 < options.alpha < 1:
        raise ValueError(f"--alpha is a chance between 0 and 1, got {options.alpha}")
    shown = {"alpha": options.alpha, "junit_file": options.junit, "github": options.github}
    return report.run(options.candidate, options.reference, **shown)


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; a user's error is one line on standard error and exit status 1 (of the gate: what it says).

    Ctrl-C is one line too, and 130; a reader that wants no more, as ``head``, ends the verb quietly with 141.
    """
    verb = ""
    try:
        try:
            options = parser().parse_args(arguments)
            verb = options.verb
            return _verb(options)
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        told = (
            "" if verb in (*UNCONFIGURED, "plan", "doctor") else "; run the same command again: it goes on where it was"
        )
        print(f"dpmot {verb}: interrupted{told}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # lest the interpreter flush into it again
        return CLOSED


def _verb(options: argparse.Namespace) -> int:
    try:
        if options.verb == "gate":
            return _gate(options)
        return _run(options) or 0
    except BrokenPipeError:
        raise
    except USER_ERRORS as error:
        line = " ".join(str(error).split())
        print(f"dpmot {options.verb}: {line}", file=sys.stderr)
        if options.verb != "gate":
            return 1
        refuse = importlib.import_module("dpmot.gate.report").refuse
        return refuse(line, junit_file=options.junit, github=options.github)


def _run(options: argparse.Namespace) -> int | None:
    if options.verb == "cards":
        return print(weights.describe())
    if options.verb in ASKED:
        return ASKED[options.verb].run(options)
    if options.verb == "schema":
        return print(json.dumps(json_schema(), indent=1))
    if options.verb == "list":
        return print("\n".join(_listed(plugins.LISTED[options.kind])))
    if options.verb == "new":
        return print(new(options.kind, options.name))
    if options.verb == "plan" and options.rules:
        return print("\n".join(_rules()))
    if options.verb in FOLLOWING:
        return print("\n".join(_following(options)))
    experiment = load(options.configfile or [DEFAULT], _overrides(options))
    if options.verb == "plan":
        layout, absent = Layout(options.results / experiment.experiment), missing_data(experiment)
        jobs = Jobs(experiment, layout)
        jobs.compute()  # refuses what cannot be run
        lines = [*describe(experiment), cost(experiment), *([f"data: {absent}"] if absent else [])]
        lines += checkup.unchecked(
            jobs.each.experiment, layout, " ".join(f"--configfile {file}" for file in options.configfile or [])
        )
        lines += importlib.import_module("dpmot.monitor.ending").left_out(experiment)
        return print("\n".join(lines))
    for note in (*experiment.notes, *experiment.left_out, *members.told(experiment)):
        print(f"note: {note}", file=sys.stderr)
    jobs = Jobs(experiment, Layout(options.results / experiment.experiment))
    if options.verb == "doctor":
        return checkup.run(jobs.each.experiment, jobs.layout, options.name, beside=options.beside)
    subject = [options.name] if "name" in options else []
    job = getattr(jobs, options.verb)(*subject)  # which refuses an unknown name
    if getattr(options, "shard", None):
        shards = jobs.shards(*subject) if subject else jobs.measure_shards()
        job = numbered(shards, options.shard, of=job.name)
    with gpus.claimed(job.device, job.processes):  # before anything asks CUDA
        if options.verb == "train" and (told := training_cost(jobs.each.experiment, options.name)):
            print(told, flush=True)
        jobs.record()
        stage = importlib.import_module(f"{STAGES}.{job.stage}")
        stage.run(job, jobs.layout, **({"cores": options.cores} if "cores" in options else {}))
    return None


def _overrides(options: argparse.Namespace) -> list[str]:
    return [text for group in options.config for text in group]


def _listed(kind: str) -> list[str]:
    """Every file of a kind, with the first sentence that it says of itself."""
    names = plugins.names(kind)
    return [f"{name.ljust(max(map(len, names)))}  {plugins.first_line(kind, name)}" for name in names]


def _rules() -> list[str]:
    """Rules and their docstrings, in the order in which the Snakefile has or includes them."""
    top = (plugins.ROOT / "Snakefile").read_text(encoding="utf-8")
    included = [(plugins.ROOT / name).read_text(encoding="utf-8") for name in re.findall('^include: "(.*)"', top, re.M)]
    rules = re.findall(r'^ *rule (\w+):\n *"""(.*?)"""', "\n".join([top, *included]), re.M | re.S)
    return [f"{name:10}  {told}" for name, told in rules if name != "all"]
