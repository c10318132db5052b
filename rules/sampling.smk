# Sampling, and what the map from noise to samples is like.


if any(method.learns for method in EXPERIMENT.drawn.values()):

    rule learn:
        """Learning: a solver's coefficients or a grid, of one method, from starts that no table uses."""
        input:
            lambda wildcards: JOBS.learn(wildcards.method).inputs,
        output:
            JOBS.layout.learned("{method}"),
            JOBS.layout.timing("learn_{method}"),
        log:
            f"{LOG}/learn_{{method}}.log",
        threads: EXPERIMENT.threads
        resources:
            gpu=GPU,
        params:
            task=lambda wildcards: task(JOBS.learn(wildcards.method)),
            code=lambda wildcards: code(JOBS.learn(wildcards.method)),
        shell:
            f"dpmot learn {{wildcards.method}} {GIVEN} > {{log}} 2>&1"


rule sample:
    """Sampling: one method at every level, NFE budget and seed."""
    input:
        lambda wildcards: JOBS.sample(wildcards.method).inputs,
    output:
        JOBS.layout.samples("{method}"),
        JOBS.layout.timing("sample_{method}"),
    log:
        f"{LOG}/sample_{{method}}.log",
    threads: EXPERIMENT.threads
    resources:
        gpu=GPU,
    params:
        task=lambda wildcards: task(JOBS.sample(wildcards.method)),
        code=lambda wildcards: code(JOBS.sample(wildcards.method)),
    shell:
        f"dpmot sample {{wildcards.method}} {GIVEN} > {{log}} 2>&1"


if EXPERIMENT.coupling:

    rule couple:
        """The coupling itself: transport cost, smoothness in the noise, interpolation between noises."""
        input:
            JOBS.couple().inputs,
        output:
            JOBS.couple().outputs,
        log:
            f"{LOG}/couple.log",
        threads: EXPERIMENT.threads
        resources:
            gpu=GPU,
        params:
            task=task(JOBS.couple()),
            code=code(JOBS.couple()),
        shell:
            f"dpmot couple {GIVEN} > {{log}} 2>&1"
