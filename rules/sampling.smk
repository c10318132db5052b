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
    threads: lambda wildcards: 1 if JOBS.shards(wildcards.method) else EXPERIMENT.threads
    resources:
        gpu=lambda wildcards: 0 if JOBS.shards(wildcards.method) else GPU,
    params:
        task=lambda wildcards: task(JOBS.sample(wildcards.method)),
        code=lambda wildcards: code(JOBS.sample(wildcards.method)),
    shell:
        f"dpmot sample {{wildcards.method}} {GIVEN} > {{log}} 2>&1"


if EXPERIMENT.shards > 1:

    rule sample_shard:
        """Sampling: some of one method's samples, to be put together."""
        input:
            lambda wildcards: shard(wildcards).inputs,
        output:
            temp(JOBS.layout.shard("{method}-{number}-of-{of}")),
            JOBS.layout.timing("sample_{method}-{number}-of-{of}"),
        log:
            f"{LOG}/sample_{{method}}-{{number}}-of-{{of}}.log",
        threads: EXPERIMENT.threads
        resources:
            gpu=GPU,
        params:
            task=lambda wildcards: task(shard(wildcards)),
            code=lambda wildcards: code(shard(wildcards)),
        shell:
            f"dpmot sample {{wildcards.method}} --shard {{wildcards.number}} {GIVEN} > {{log}} 2>&1"


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
