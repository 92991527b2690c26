# Everything runs from a virtual environment in .venv, made on first use.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST_ARGS ?=
JOBS ?= 2
MINUTES ?= 20
DATA ?= fer2013.npz

.PHONY: help demo setup test lint format bench bench-live bench-scrape soak reproduce models docs dashboards build clean

help:  ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/serve.stamp  ## run the pipeline on the sample clip (installs what serving needs)
	@$(BIN)/streamfer demo

setup: .venv/setup.stamp  ## a .venv with everything that tests and training need

test: .venv/setup.stamp  ## run all tests
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

lint: .venv/setup.stamp  ## check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/setup.stamp  ## put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/setup.stamp  ## measure this machine; writes benchmarks/results.md
	$(BIN)/streamfer bench --out benchmarks/results.md

bench-live: .venv/setup.stamp  ## measure live mode: latency, streams; writes benchmarks/live.md
	$(BIN)/python -m benchmarks.live

bench-scrape: .venv/setup.stamp  ## measure what a scrape costs; writes benchmarks/scrape.md
	$(BIN)/python -m benchmarks.scrape

soak: .venv/setup.stamp  ## 20 minutes of kills, stalls and overload (longer: make soak MINUTES=600)
	$(BIN)/python -m tests.soak --minutes $(MINUTES)

reproduce: .venv/setup.stamp  ## run the literature's experiments again (a day; resumable): DATA=… CKPLUS=…
	$(BIN)/python -m benchmarks.reproduction --data $(DATA) $(if $(CKPLUS),--ckplus $(CKPLUS))

models: .venv/setup.stamp  ## compare the shipped models on FER2013 (DATA=…); writes docs/models.md
	$(BIN)/python docs/make_models.py $(DATA)

docs: .venv/setup.stamp  ## write docs/metrics.md from the code
	$(BIN)/python docs/make_metrics.py

dashboards: .venv/setup.stamp  ## build the Grafana dashboards into deploy/grafana/dashboards
	$(BIN)/python -m deploy.grafana.builder

build: .venv/setup.stamp  ## build the wheel into dist/
	$(BIN)/python -m build --no-isolation --wheel

clean:  ## remove the environment and what was built
	rm -rf .venv build dist out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(f"Python 3.11 or later is needed, {sys.executable} is {v.major}.{v.minor}; name one: make PYTHON=/path/to/python3.11" if v < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --upgrade 'pip>=25.1'

.venv/serve.stamp: .venv/bin/python pyproject.toml constraints.txt
	@echo 'Installing what serving needs …'
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

.venv/setup.stamp: .venv/bin/python pyproject.toml constraints.txt
	@echo 'Installing what tests and training need (with TensorFlow, a few minutes) …'
	$(PIP) install --quiet --constraint constraints.txt --editable '.[train]' --group dev
	@touch $@ .venv/serve.stamp
