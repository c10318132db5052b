# What every rule asks of its job.


CODE = Code()  # read once; an edit during a run is seen by the next


def code(job):
    """The digest of the source files behind a job: an edit re-runs what uses the edited file, and nothing else."""
    return CODE.digest(job.code)


def shard(wildcards):
    """The job that draws one shard of a method's samples."""
    return JOBS.shards(wildcards.method)[int(wildcards.number) - 1]


def titled(wildcards):
    """How Snakemake's report names and orders a page: by its number, with two digits, and its name in words."""
    kind, number, *words = wildcards.page.split("_")
    return {"page": f"{kind.capitalize()} {number:0>2}", "shows": " ".join(words)}


def task(job):
    """What a job does, as text: a change of its part of the configuration re-runs it.

    A name in braces, as in `edm_t{training_seed}.safetensors`, is no wildcard: its brace is written as JSON's escape.
    """
    return re.sub(r"\{(?=\w)", r"\\u007b", json.dumps(job.identity, sort_keys=True))
