# Metrics.


SHARDED = EXPERIMENT.shards > 1

if JOBS.stores_images:

    rule ideal:
        """What an exact denoiser of the stored images hands back, from each level: predicted from the images alone."""
        input:
            JOBS.ideal().inputs,
        output:
            JOBS.ideal().outputs,
        log:
            f"{LOG}/ideal.log",
        threads: EXPERIMENT.threads
        params:
            task=task(JOBS.ideal()),
            code=code(JOBS.ideal()),
        shell:
            f"dpmot ideal {GIVEN} > {{log}} 2>&1"


rule measure:
    """Metrics: quality, mode mixture and the copying audit of every cell, with intervals."""
    input:
        JOBS.measure().inputs,
    output:
        JOBS.measure().outputs,
    log:
        f"{LOG}/measure.log",
    threads: 1 if SHARDED else min(4, os.cpu_count())  # methods side by side, each with memory of its own: --set-threads measure=1 needs the least
    resources:
        gpu=GPU,
    params:
        task=task(JOBS.measure()),
        code=code(JOBS.measure()),
    shell:
        f"dpmot measure --cores {{threads}} {GIVEN} > {{log}} 2>&1"


if SHARDED:

    rule measure_shard:
        """Metrics of some methods, to be put together."""
        input:
            lambda wildcards: JOBS.measure_shards()[int(wildcards.number) - 1].inputs,
        output:
            temp(JOBS.layout.measured_shard("measure_{number}-of-{of}")),
            JOBS.layout.timing("measure_{number}-of-{of}"),
        log:
            f"{LOG}/measure_{{number}}-of-{{of}}.log",
        threads: min(4, os.cpu_count())
        resources:
            gpu=GPU,
        params:
            task=lambda wildcards: task(JOBS.measure_shards()[int(wildcards.number) - 1]),
            code=lambda wildcards: code(JOBS.measure_shards()[int(wildcards.number) - 1]),
        shell:
            f"dpmot measure --shard {{wildcards.number}} --cores {{threads}} {GIVEN} > {{log}} 2>&1"
