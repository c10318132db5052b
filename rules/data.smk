# Data.


rule prepare:
    """Data: load, and split into A (networks, atoms), B (classifier), C (reference)."""
    input:
        code=code(JOBS.prepare()),
    output:
        JOBS.prepare().outputs,
    log:
        f"{LOG}/prepare.log",
    params:
        task=task(JOBS.prepare()),
    shell:
        f"dpmot prepare {GIVEN} > {{log}} 2>&1"
