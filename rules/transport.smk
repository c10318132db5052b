# The optimal-transport start, and the level from which it may be used.


rule solve:
    """Semi-discrete optimal transport from the prior to the noisy latents, at every level."""
    input:
        JOBS.solve().inputs,
        code=code(JOBS.solve()),
    output:
        JOBS.solve().outputs,
    log:
        f"{LOG}/solve.log",
    priority: 5
    threads: EXPERIMENT.threads
    resources:
        gpu=GPU,
    params:
        task=task(JOBS.solve()),
    shell:
        f"dpmot solve {GIVEN} > {{log}} 2>&1"


if EXPERIMENT.selection:

    rule select:
        """sigma_M*: the smallest level at which DPM-OT stops copying."""
        input:
            JOBS.select().inputs,
            code=code(JOBS.select()),
        output:
            JOBS.select().outputs,
        log:
            f"{LOG}/select.log",
        priority: 5
        threads: EXPERIMENT.threads
        resources:
            gpu=GPU,
        params:
            task=task(JOBS.select()),
        shell:
            f"dpmot select {GIVEN} > {{log}} 2>&1"
