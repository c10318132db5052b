"""DPM-OT (Li et al., ICCV 2023), the whole experiment in the order of the paper.

    snakemake --cores all                                        # digits, the default
    snakemake --cores all --configfile config/smoke.yaml         # another experiment
    snakemake --list                                             # the rules, below
"""

import json
import os
import sys
from pathlib import Path

from dpmot.diffusion.weights import weights_file
from dpmot.experiment import jobs
from dpmot.experiment.config import ConfigError, combined, missing_data, missing_weights, typed, validate
from dpmot.experiment.cost import cost
from dpmot.runtime.closure import closure

if not workflow.configfiles:

    configfile: "config/digits.yaml"


OVERRIDES = typed(workflow.config_settings.config)
try:
    EXPERIMENT = validate(combined(config, OVERRIDES))
except ConfigError as error:
    raise SystemExit(f"config: {error}")

ROOT = Path("results") / EXPERIMENT["experiment"]
LAYOUT = jobs.Layout(ROOT)
LOG = f"{ROOT}/logs"
# Every job reads the resolved configuration. It is no input: what a job depends on is in its params.
GIVEN = f"--configfile {LAYOUT.config}"
# The same Python for every job, also where its environment is not activated.
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]))


def code(*modules):
    """The source files behind modules: an edit re-runs what uses the edited file, and nothing else."""
    return [os.path.relpath(path) for path in closure(modules)]


def parameters(job):
    """A job as text: a change of its part of the configuration re-runs it."""
    return json.dumps({key: value for key, value in job.items() if key not in ("code", "all_code", "download", "classes")}, sort_keys=True)


def page_code(wildcards):
    """The source files behind a table or figure."""
    return code(f"paper_figures.{wildcards.page}")


def page_inputs(wildcards):
    """What a table or figure reads."""
    samples = [LAYOUT.samples(name) for name in EXPERIMENT["methods"]] if wildcards.page.startswith("figure") else []
    star = [LAYOUT.star] if "selection" in EXPERIMENT else []
    coupling = [LAYOUT.coupling, LAYOUT.strips] if "coupling" in EXPERIMENT else []
    timed = ["solve", *(f"sample_{name}" for name in EXPERIMENT["methods"])] if wildcards.page == "table_8_break_even" else []
    measured = [ROOT / name for name in ("metrics.csv", "audit.csv", "identity.csv")]
    read = [*measured, "paper_figures/reported.csv", LAYOUT.data, *samples, *star, *coupling]
    return [*read, *map(LAYOUT.timing, timed)]


def trained_from(wildcards):
    """A student also reads its teacher."""
    teacher = EXPERIMENT["networks"][wildcards.network].get("teacher")
    weights = EXPERIMENT["networks"][wildcards.network].get("weights")
    return [LAYOUT.data, *([LAYOUT.network(teacher)] if teacher else []), *([weights_file(Path(weights))] if weights else [])]


def sampled_from(job):
    """Files that a sampling job reads."""
    files = [LAYOUT.data, LAYOUT.network(job["network"])]
    return files + [LAYOUT.heights] * job["needs_heights"] + [LAYOUT.star] * job["needs_star"]


def uses_gpu(device):
    """Whether jobs use a GPU. "auto" looks for one where the workflow is started (torch takes seconds to import)."""
    if device != "auto":
        return device == "cuda"
    from dpmot.device import chosen

    return chosen(device).type == "cuda"


MEASURE = jobs.measure(EXPERIMENT)
VIT = [Path(EXPERIMENT["vit"]["weights"]) / name for name in ("config.json", "model.safetensors", "preprocessor_config.json")] if "vit" in EXPERIMENT["features"] else []
VIT = [file for file in VIT if file.is_file()]  # the last need not be there
GPU = int(uses_gpu(EXPERIMENT["device"]))  # one job at a time uses it: profiles/default has one, --resources gpu=2 two
CLASSIFIER = [LAYOUT.classifier] if jobs.needs_classifier(EXPERIMENT) else []


wildcard_constraints:
    network="|".join(EXPERIMENT["networks"]),
    method="|".join(EXPERIMENT["methods"]),


# For clusters that deploy software by container; the lock file is to be installed in it. Local runs ignore it.
container: "docker://python:3.12"


localrules:
    all,
    timings,


# Plans (-n) are made without the data; a run that would need them stops here.
ABSENT = None if LAYOUT.data.exists() else missing_data(EXPERIMENT)
if ABSENT:
    print(f"data: {ABSENT}", file=sys.stderr)


onstart:
    if wanting := ABSENT or missing_weights(EXPERIMENT):
        raise SystemExit(f"config: {wanting}")
    print(cost(EXPERIMENT), file=sys.stderr)
    jobs.record(EXPERIMENT, LAYOUT)


rule all:
    """Every table and figure of the experiment, and where the time went."""
    input:
        expand(f"{ROOT}/tables/{{page}}.{{kind}}", page=EXPERIMENT["tables"], kind=["md", "tex", "csv"]),
        expand(f"{ROOT}/figures/{{page}}.{{kind}}", page=EXPERIMENT["figures"], kind=["png", "pdf"]),
        f"{ROOT}/timings.csv",
    default_target: True


rule prepare:
    """Data: load, and split into A (networks, atoms), B (classifier), C (reference)."""
    input:
        code=code(*jobs.prepare(EXPERIMENT)["code"]),
    output:
        LAYOUT.data,
        LAYOUT.timing("prepare"),
    log:
        f"{LOG}/prepare.log",
    params:
        job=parameters(jobs.prepare(EXPERIMENT)),
    shell:
        f"dpmot prepare {GIVEN} > {{log}} 2>&1"


rule train:
    """Networks: train, distil or load one of them."""
    input:
        trained_from,
        code=lambda wildcards: code(*jobs.train(EXPERIMENT, wildcards.network)["code"]),
    output:
        LAYOUT.network("{network}"),
        LAYOUT.timing("train_{network}"),
    threads: EXPERIMENT["threads"]
    resources:
        gpu=GPU,
    log:
        f"{LOG}/train_{{network}}.log",
    params:
        job=lambda wildcards: parameters(jobs.train(EXPERIMENT, wildcards.network)),
    priority: 10
    shell:
        f"dpmot train {{wildcards.network}} {GIVEN} > {{log}} 2>&1"


rule classify:
    """Mode-mixture classifier and feature network, trained on split B."""
    input:
        LAYOUT.data,
        [EXPERIMENT["classifier"]["weights"]] if "weights" in EXPERIMENT["classifier"] else [],
        code=code(*jobs.classify(EXPERIMENT)["code"]),
    output:
        LAYOUT.classifier,
        LAYOUT.timing("classify"),
    threads: EXPERIMENT["threads"]
    log:
        f"{LOG}/classify.log",
    params:
        job=parameters(jobs.classify(EXPERIMENT)),
    shell:
        f"dpmot classify {GIVEN} > {{log}} 2>&1"


rule solve:
    """Semi-discrete optimal transport from the prior to the noisy latents, at every level."""
    input:
        LAYOUT.data,
        code=code(*jobs.solve(EXPERIMENT)["code"]),
    output:
        LAYOUT.heights,
        LAYOUT.timing("solve"),
    threads: EXPERIMENT["threads"]
    resources:
        gpu=GPU,
    log:
        f"{LOG}/solve.log",
    params:
        job=parameters(jobs.solve(EXPERIMENT)),
    priority: 5
    shell:
        f"dpmot solve {GIVEN} > {{log}} 2>&1"


if "selection" in EXPERIMENT:
    SELECT = jobs.select(EXPERIMENT)

    rule select:
        """sigma_M*: the smallest level at which DPM-OT stops copying."""
        input:
            sampled_from(SELECT),
            code=code(*SELECT["code"]),
        output:
            LAYOUT.star,
            LAYOUT.timing("select"),
        threads: EXPERIMENT["threads"]
        resources:
            gpu=GPU,
        log:
            f"{LOG}/select.log",
        params:
            job=parameters(SELECT),
        priority: 5
        shell:
            f"dpmot select {GIVEN} > {{log}} 2>&1"


rule sample:
    """Sampling: one method at every level, NFE budget and seed."""
    input:
        lambda wildcards: sampled_from(jobs.sample(EXPERIMENT, wildcards.method)),
        code=lambda wildcards: code(*jobs.sample(EXPERIMENT, wildcards.method)["code"]),
    output:
        LAYOUT.samples("{method}"),
        LAYOUT.timing("sample_{method}"),
    threads: EXPERIMENT["threads"]
    resources:
        gpu=GPU,
    log:
        f"{LOG}/sample_{{method}}.log",
    params:
        job=lambda wildcards: parameters(jobs.sample(EXPERIMENT, wildcards.method)),
    shell:
        f"dpmot sample {{wildcards.method}} {GIVEN} > {{log}} 2>&1"


if "coupling" in EXPERIMENT:
    COUPLE = jobs.couple(EXPERIMENT)

    rule couple:
        """The coupling itself: transport cost, smoothness in the noise, interpolation between noises."""
        input:
            sorted({str(file) for job in COUPLE["samples"].values() for file in sampled_from(job)}),
            code=code(*COUPLE["code"]),
        output:
            LAYOUT.coupling,
            LAYOUT.strips,
            LAYOUT.timing("couple"),
        threads: EXPERIMENT["threads"]
        resources:
            gpu=GPU,
        log:
            f"{LOG}/couple.log",
        params:
            job=parameters(COUPLE),
        shell:
            f"dpmot couple {GIVEN} > {{log}} 2>&1"


rule measure:
    """Metrics: quality, mode mixture and the copying audit of every cell, with intervals."""
    input:
        LAYOUT.data,
        CLASSIFIER,
        [EXPERIMENT["inception_weights"]] if "inception_weights" in EXPERIMENT else [],
        VIT,
        [LAYOUT.samples(name) for name in EXPERIMENT["methods"]],
        code=code(*MEASURE["code"]),
    output:
        ROOT / "metrics.csv",
        ROOT / "replicates.csv",
        ROOT / "audit.csv",
        ROOT / "identity.csv",
        ROOT / "fingerprint.json",
        LAYOUT.timing("measure"),
    threads: min(4, os.cpu_count())  # methods side by side, each with memory of its own: --set-threads measure=1 needs the least
    resources:
        gpu=GPU,
    log:
        f"{LOG}/measure.log",
    params:
        job=parameters(MEASURE),
    shell:
        f"dpmot measure --cores {{threads}} {GIVEN} > {{log}} 2>&1"


rule table:
    """Tables of the paper, as Markdown, LaTeX and CSV."""
    input:
        page_inputs,
        code=page_code,
    output:
        report(f"{ROOT}/tables/{{page}}.md", category="Tables"),
        f"{ROOT}/tables/{{page}}.tex",
        f"{ROOT}/tables/{{page}}.csv",
        LAYOUT.timing("{page}"),
    wildcard_constraints:
        page="|".join(EXPERIMENT["tables"]) or "none",
    params:
        root=lambda wildcards, output: Path(output[0]).parents[1],
        config=json.dumps(EXPERIMENT, sort_keys=True),
    log:
        f"{LOG}/{{page}}.log",
    shell:
        "python -m paper_figures.{wildcards.page} --results {params.root} > {log} 2>&1"


rule figure:
    """Figures of the paper, as PNG and PDF."""
    input:
        page_inputs,
        code=page_code,
    output:
        report(f"{ROOT}/figures/{{page}}.png", category="Figures"),
        f"{ROOT}/figures/{{page}}.pdf",
        LAYOUT.timing("{page}"),
    wildcard_constraints:
        page="|".join(EXPERIMENT["figures"]) or "none",
    params:
        root=lambda wildcards, output: Path(output[0]).parents[1],
        config=json.dumps(EXPERIMENT, sort_keys=True),
    log:
        f"{LOG}/{{page}}.log",
    shell:
        "python -m paper_figures.{wildcards.page} --results {params.root} > {log} 2>&1"


rule timings:
    """Where the time of every job went."""
    input:
        [LAYOUT.timing(name) for name in jobs.timings(EXPERIMENT)["jobs"]],
        code=code(*jobs.timings(EXPERIMENT)["code"]),
    output:
        f"{ROOT}/timings.csv",
    log:
        f"{LOG}/timings.log",
    shell:
        f"dpmot timings {GIVEN} > {{log}} 2>&1"
