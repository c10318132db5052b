# The optimal-transport start, and the level from which it may be used.


rule solve:
    """Semi-discrete optimal transport from the prior to the noisy latents, at every level."""
    input:
        JOBS.solve().inputs,
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
        code=code(JOBS.solve()),
    shell:
        f"dpmot solve {GIVEN} > {{log}} 2>&1"


if JOBS.fits:

    rule fit:
        """Starts that are fitted to images: Gaussian mixtures, one file each, whatever network follows."""
        input:
            lambda wildcards: JOBS.fit(wildcards.fit).inputs,
        output:
            JOBS.layout.fit("{fit}"),
            JOBS.layout.facts_of_fit("{fit}"),
            JOBS.layout.timing("fit_{fit}"),
        log:
            f"{LOG}/fit_{{fit}}.log",
        wildcard_constraints:
            fit="|".join(JOBS.fits),
        priority: 15  # what does not fit is found before networks are trained
        threads: EXPERIMENT.threads
        params:
            task=lambda wildcards: task(JOBS.fit(wildcards.fit)),
            code=lambda wildcards: code(JOBS.fit(wildcards.fit)),
        shell:
            f"dpmot fit {{wildcards.fit}} {GIVEN} > {{log}} 2>&1"


if EXPERIMENT.selection:

    rule select:
        """sigma_M*: the smallest level at which DPM-OT stops copying."""
        input:
            JOBS.select().inputs,
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
            code=code(JOBS.select()),
        shell:
            f"dpmot select {GIVEN} > {{log}} 2>&1"
