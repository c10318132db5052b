"""DPM-OT (Li et al., ICCV 2023), the whole experiment in the order of the paper.

snakemake --cores all                                        # digits, the default
snakemake --cores all --configfile config/smoke.yaml         # another experiment
dpmot plan --rules                                           # the rules, in this order (snakemake --list: by name)
"""

import json
import os
import re
import sys
from datetime import datetime
from pathlib import Path

from snakemake.logging import logger
from snakemake.settings.types import RerunTrigger

from dpmot.experiment.config import ConfigError, load
from dpmot.experiment.cost import cost
from dpmot.experiment.edits import edits, record
from dpmot.experiment.jobs import Jobs
from dpmot.experiment.layout import Layout
from dpmot.experiment.members import told
from dpmot.experiment.missing import missing_data, missing_weights
from dpmot.monitor.ending import finished, stopped
from dpmot.monitor.pace import paced
from dpmot.plugins import ROOT
from dpmot.runtime.closure import Code
from dpmot.runtime.gpus import COUNT

if not workflow.configfiles:

    configfile: "config/digits.yaml"


try:
    # As it was written: Snakemake's own reading of --config cuts a value at " #".
    EXPERIMENT = load(workflow.configfiles, workflow.config_settings.config_args or ())
    JOBS = Jobs(EXPERIMENT, Layout(Path("results") / EXPERIMENT.experiment))
    JOBS.compute()  # refuses what cannot be run
except ConfigError as error:
    raise SystemExit(f"config: {error}")

LOG = f"{JOBS.layout.root}/logs"
# Every job reads the resolved configuration. It is no input: what a job depends on is in its params.
GIVEN = f"--configfile {JOBS.layout.config}"
GPU = int(JOBS.uses_gpu())  # one job at a time uses it: profiles/default has one, --resources gpu=2 two
# The same Python for every job, also where its environment is not activated.
os.environ.update(PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]))


include: "rules/common.smk"


# Plans (-n) are made without the data; a run that would need them stops here.
ABSENT = None if JOBS.layout.data.exists() else missing_data(EXPERIMENT)
NOTED = Path(".snakemake", "metadata").is_dir()  # how files were made, without which no edit runs anything again
EDITED = edits(JOBS.layout, CODE.read(module for job in JOBS.all() for module in job.code), noted=NOTED)
NOTES = (*EXPERIMENT.notes, *EXPERIMENT.left_out, *told(EXPERIMENT), *filter(None, [EDITED]))
for note in [f"data: {ABSENT}"] * bool(ABSENT) + [f"note: {note}" for note in NOTES]:
    print(note, file=sys.stderr)


onstart:
    if GPU and workflow.local_exec and "gpu" in workflow.global_resources:  # a cluster gives each job its own
        os.environ[COUNT] = str(workflow.global_resources["gpu"].value)
    if wanting := ABSENT or missing_weights(EXPERIMENT):
        raise SystemExit(f"config: {wanting}")
    workflow.scheduler.job_rate_limiter = paced(workflow.scheduler.job_rate_limiter, local=workflow.local_exec)
    print(cost(EXPERIMENT), file=sys.stderr)
    if not JOBS.layout.config.exists():
        record(JOBS.layout, CODE.files())
    JOBS.record()


onsuccess:
    if not workflow.dag_settings.targets and RerunTrigger.PARAMS in workflow.dag_settings.rerun_triggers:
        record(JOBS.layout, CODE.files())  # all that uses an edited file was made anew
    logger.info(finished(EXPERIMENT, JOBS.layout, (datetime.now() - workflow.start_time).total_seconds()))


onerror:
    logger.info(stopped(EXPERIMENT, JOBS.layout, (datetime.now() - workflow.start_time).total_seconds()))


report: "report/workflow.rst"


# For clusters that deploy software by container; the lock file is to be installed in it. Local runs ignore it.
container: "docker://python:3.12"


localrules:  # seconds each, and without torch: a cluster makes them where Snakemake runs
    all,
    table,
    figure,
    trainings,
    timings,
    html,


wildcard_constraints:
    network="|".join(JOBS.each.experiment.networks) or "none",
    method="|".join(JOBS.each.experiment.methods),
    number=r"\d+",  # of a shard
    of=r"\d+",


rule all:
    """Every table and figure of the experiment, and where the time went."""
    input:
        [file for page in JOBS.pages() for file in page.outputs],
        JOBS.timings().outputs,


include: "rules/data.smk"
include: "rules/networks.smk"
include: "rules/transport.smk"
include: "rules/sampling.smk"
include: "rules/metrics.smk"
include: "rules/pages.smk"
