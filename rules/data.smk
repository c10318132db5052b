# Data.


rule prepare:
    """Data: load, and split into A (networks, atoms), B (classifier), C (reference)."""
    output:
        JOBS.prepare().outputs,
    log:
        f"{LOG}/prepare.log",
    params:
        task=task(JOBS.prepare()),
        code=code(JOBS.prepare()),
    shell:
        f"dpmot prepare {GIVEN} > {{log}} 2>&1"
