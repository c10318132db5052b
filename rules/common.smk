# What every rule asks of its job.


def code(job):
    """The source files behind a job: an edit re-runs what uses the edited file, and nothing else."""
    return [os.path.relpath(path) for path in closure(job.code)]


def task(job):
    """What a job does, as text: a change of its part of the configuration re-runs it."""
    return json.dumps(job.identity, sort_keys=True)
