# `make help` lists the targets; each sets up .venv by itself.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Two workers; each runs neighbouring tests, which share fixtures, and takes over from the other at the end; why tests
# were skipped is said last.
PYTEST := $(BIN)/pytest -n 2 --dist worksteal -rs
SNAKEFILES := Snakefile $(wildcard rules/*.smk)

.DEFAULT_GOAL := help
.PHONY: help run report smoke gate gate_bugs test test-all coverage lint types format bench docs venv

help:  ## list the targets
	@sed -n 's/^\([a-z_-]*\):.*## /\1\t/p' Makefile | expand -t 11

run: venv  ## the digits experiment, into results/digits/
	$(BIN)/snakemake --cores all

report: venv  ## the same run, and all its pages in one file: results/digits/report.html
	$(BIN)/snakemake --cores all html

smoke: venv  ## the paper's MNIST experiment, every network and method, tiny
	$(BIN)/snakemake --cores all --configfile config/mnist.yaml --config scale=smoke

gate: venv  ## the regression gate: the numbers must be those of results/reference/gate/
	$(BIN)/snakemake --cores all --configfile config/gate.yaml
	$(BIN)/dpmot gate results/gate results/reference/gate --junit results/gate/gate.xml

gate_bugs: gate  ## three planted bugs, which the gate must see
	$(BIN)/python -m benchmarks.gate_power --bugs truncation heights_zero nfe_miscounted --redraws 0 --reference results/gate

test: venv  ## the fast tests
	$(PYTEST) -m "not slow"

test-all: venv  ## every test, and which took longest
	$(PYTEST) --durations=30

coverage: venv  ## every test; fails below 90 % of the lines and branches
	$(PYTEST) --cov --cov-report=term

lint: venv  ## style, unused names, annotations; Snakefiles too
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check $(SNAKEFILES)
	$(BIN)/snakemake --lint

types: venv  ## mypy over dpmot, baselines and paper_figures
	$(BIN)/mypy

format: venv  ## rewrite files as lint wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt $(SNAKEFILES)

bench: venv  ## sampling, metrics, gate and transport against their peers
	$(BIN)/python -m benchmarks.sampling
	$(BIN)/python -m benchmarks.noise
	$(BIN)/python -m benchmarks.metrics
	$(BIN)/python -m benchmarks.coverage
	$(BIN)/python -m benchmarks.gate_power --redraws 0
	$(BIN)/python -m benchmarks.transport --solvers ours
	$(BIN)/python -m benchmarks.transport_hard --seeds 3

docs: .venv-docs/.ready  ## the site, into site/; a link that leads nowhere stops it
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet

# An environment of its own: the site needs neither torch nor dpmot, and .venv, whose packages stand in fingerprints, stays.
.venv-docs/.ready: docs/requirements.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --disable-pip-version-check --quiet -r docs/requirements.txt
	touch $@

venv: $(READY)  ## .venv with the locked versions

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed, found " + sys.version.split()[0] + "; try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	touch $(READY)
