# Networks: the denoisers of the methods, and the classifier that judges them.


if JOBS.pairings:

    rule pair:
        """Couplings: the map from noise to clean images, by which networks are coupled in training."""
        input:
            lambda wildcards: JOBS.pair(wildcards.pairing).inputs,
        output:
            JOBS.layout.pairing("{pairing}"),
            JOBS.layout.timing("pair_{pairing}"),
        log:
            f"{LOG}/pair_{{pairing}}.log",
        wildcard_constraints:
            pairing="|".join(JOBS.pairings),
        priority: 15
        threads: EXPERIMENT.threads
        resources:
            gpu=GPU,
        params:
            task=lambda wildcards: task(JOBS.pair(wildcards.pairing)),
            code=lambda wildcards: code(JOBS.pair(wildcards.pairing)),
        shell:
            f"dpmot pair {{wildcards.pairing}} {GIVEN} > {{log}} 2>&1"


rule train:
    """Networks: train, distil or load one of them."""
    input:
        lambda wildcards: JOBS.train(wildcards.network).inputs,
    output:
        JOBS.layout.network("{network}"),
        JOBS.layout.timing("train_{network}"),
    log:
        f"{LOG}/train_{{network}}.log",
    priority: 10
    threads: lambda wildcards: JOBS.train(wildcards.network).cores
    resources:
        gpu=lambda wildcards: GPU * JOBS.train(wildcards.network).processes,
    params:
        task=lambda wildcards: task(JOBS.train(wildcards.network)),
        code=lambda wildcards: code(JOBS.train(wildcards.network)),
    shell:
        f"dpmot train {{wildcards.network}} {GIVEN} > {{log}} 2>&1"


if JOBS.needs_classifier:

    rule classify:
        """Mode-mixture classifier and feature network, trained on split B."""
        input:
            JOBS.classify().inputs,
        output:
            JOBS.classify().outputs,
        log:
            f"{LOG}/classify.log",
        priority: 20  # what does not fit is found before networks are trained
        threads: EXPERIMENT.threads
        params:
            task=task(JOBS.classify()),
            code=code(JOBS.classify()),
        shell:
            f"dpmot classify {GIVEN} > {{log}} 2>&1"
