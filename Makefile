# make run | smoke | gate | gate_bugs | test | coverage | venv | lint | bench: each sets up .venv by itself.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: run smoke gate gate_bugs test coverage venv lint bench

run: venv
	$(BIN)/snakemake --cores all

smoke: venv
	$(BIN)/snakemake --cores all --configfile config/mnist.yaml --config scale=smoke

gate: venv
	$(BIN)/snakemake --cores all --configfile config/gate.yaml
	$(BIN)/dpmot gate results/gate results/reference/gate --junit results/gate/gate.xml

gate_bugs: venv
	$(BIN)/python -m benchmarks.gate_power --bugs truncation heights_zero nfe_miscounted --redraws 0

test: venv
	$(BIN)/pytest

coverage: venv
	$(BIN)/pytest --cov --cov-report=term

lint: venv
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/snakemake --lint

bench: venv
	$(BIN)/python -m benchmarks.sampling
	$(BIN)/python -m benchmarks.noise
	$(BIN)/python -m benchmarks.metrics
	$(BIN)/python -m benchmarks.coverage
	$(BIN)/python -m benchmarks.gate_power --redraws 0
	$(BIN)/python -m benchmarks.transport --solvers ours
	$(BIN)/python -m benchmarks.transport_hard --seeds 3

venv: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed, found " + sys.version.split()[0] + "; try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r requirements.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	touch $(READY)
