# Tables, figures, and where the time went.


rule table:
    """Tables of the paper, as Markdown, LaTeX and CSV."""
    input:
        lambda wildcards: JOBS.page(wildcards.page).inputs,
    output:
        report(
            f"{JOBS.layout.root}/tables/{{page}}.md", category="Tables", labels=titled, caption="../report/table.rst"
        ),
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
        code=lambda wildcards: code(JOBS.page(wildcards.page)),
    shell:
        f"python -m paper_figures.{{wildcards.page}} --results {JOBS.layout.root} > {{log}} 2>&1"


rule figure:
    """Figures of the paper, as PNG and PDF."""
    input:
        lambda wildcards: JOBS.page(wildcards.page).inputs,
    output:
        report(
            f"{JOBS.layout.root}/figures/{{page}}.png",
            category="Figures",
            labels=titled,
            caption="../report/figure.rst",
        ),
        f"{JOBS.layout.root}/figures/{{page}}.pdf",
        JOBS.layout.timing("{page}"),
    log:
        f"{LOG}/{{page}}.log",
    wildcard_constraints:
        page="|".join(EXPERIMENT.figures) or "none",
    params:
        task=lambda wildcards: task(JOBS.page(wildcards.page)),
        code=lambda wildcards: code(JOBS.page(wildcards.page)),
    shell:
        f"python -m paper_figures.{{wildcards.page}} --results {JOBS.layout.root} > {{log}} 2>&1"


rule trainings:
    """What each network saw in training, and how its noise and images were coupled."""
    input:
        JOBS.trainings().inputs,
    output:
        JOBS.trainings().outputs,
    log:
        f"{LOG}/trainings.log",
    params:
        task=task(JOBS.trainings()),
        code=code(JOBS.trainings()),
    shell:
        f"dpmot trainings {GIVEN} > {{log}} 2>&1"


rule timings:
    """Where the time of every job went."""
    input:
        JOBS.timings().inputs,
    output:
        JOBS.timings().outputs,
    log:
        f"{LOG}/timings.log",
    params:
        code=code(JOBS.timings()),
    shell:
        f"dpmot timings {GIVEN} > {{log}} 2>&1"


rule html:
    """All pages in one file for a browser, report.html: verdict, tables that sort, figures, what was not run."""
    input:
        [file for page in JOBS.pages() for file in page.outputs],
        JOBS.timings().outputs,
    output:
        f"{JOBS.layout.root}/report.html",
    log:
        f"{LOG}/report.log",
    params:
        code=CODE.digest(["paper_figures._report"], (ROOT / "paper_figures" / "report").iterdir()),
    shell:
        f"python -m paper_figures._report --results {JOBS.layout.root} > {{log}} 2>&1"
