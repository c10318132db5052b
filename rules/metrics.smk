# Metrics.


rule measure:
    """Metrics: quality, mode mixture and the copying audit of every cell, with intervals."""
    input:
        JOBS.measure().inputs,
    output:
        JOBS.measure().outputs,
    log:
        f"{LOG}/measure.log",
    threads: min(4, os.cpu_count())  # methods side by side, each with memory of its own: --set-threads measure=1 needs the least
    resources:
        gpu=GPU,
    params:
        task=task(JOBS.measure()),
        code=code(JOBS.measure()),
    shell:
        f"dpmot measure --cores {{threads}} {GIVEN} > {{log}} 2>&1"
