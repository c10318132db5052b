# Tables, figures, and where the time went.


rule table:
    """Tables of the paper, as Markdown, LaTeX and CSV."""
    input:
        lambda wildcards: JOBS.page(wildcards.page).inputs,
        code=lambda wildcards: code(JOBS.page(wildcards.page)),
    output:
        report(f"{JOBS.layout.root}/tables/{{page}}.md", category="Tables", caption="../report/table.rst"),
        f"{JOBS.layout.root}/tables/{{page}}.tex",
        f"{JOBS.layout.root}/tables/{{page}}_full.tex",
        f"{JOBS.layout.root}/tables/{{page}}.csv",
        JOBS.layout.timing("{page}"),
    log:
        f"{LOG}/{{page}}.log",
    wildcard_constraints:
        page="|".join(EXPERIMENT.tables) or "none",
    params:
        task=lambda wildcards: task(JOBS.page(wildcards.page)),
    shell:
        f"python -m paper_figures.{{wildcards.page}} --results {JOBS.layout.root} > {{log}} 2>&1"


rule figure:
    """Figures of the paper, as PNG and PDF."""
    input:
        lambda wildcards: JOBS.page(wildcards.page).inputs,
        code=lambda wildcards: code(JOBS.page(wildcards.page)),
    output:
        report(f"{JOBS.layout.root}/figures/{{page}}.png", category="Figures", caption="../report/figure.rst"),
        f"{JOBS.layout.root}/figures/{{page}}.pdf",
        JOBS.layout.timing("{page}"),
    log:
        f"{LOG}/{{page}}.log",
    wildcard_constraints:
        page="|".join(EXPERIMENT.figures) or "none",
    params:
        task=lambda wildcards: task(JOBS.page(wildcards.page)),
    shell:
        f"python -m paper_figures.{{wildcards.page}} --results {JOBS.layout.root} > {{log}} 2>&1"


rule timings:
    """Where the time of every job went."""
    input:
        JOBS.timings().inputs,
        code=code(JOBS.timings()),
    output:
        JOBS.timings().outputs,
    log:
        f"{LOG}/timings.log",
    shell:
        f"dpmot timings {GIVEN} > {{log}} 2>&1"
