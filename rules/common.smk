# What every rule asks of its job.


def code(job):
    """The source files behind a job: an edit re-runs what uses the edited file, and nothing else."""
    return [os.path.relpath(path) for path in closure(job.code)]


def task(job):
    """What a job does, as text: a change of its part of the configuration re-runs it.

    A name in braces, as in `edm_t{training_seed}.safetensors`, is no wildcard: its brace is written as JSON's escape.
    """
    return re.sub(r"\{(?=\w)", r"\\u007b", json.dumps(job.identity, sort_keys=True))
