.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.8

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## make .venv with everything at the pinned versions

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[dev]'
	touch $@

demo: install ## FedDST against FedAvg on real digits, on a local Ray
	$(BIN)/sparsefleet demo

test: install ## the whole test suite, with line coverage
	$(BIN)/python -m pytest --cov --cov-report=term

fast: install ## the tests that start no Ray, without further variants
	$(BIN)/python -m pytest -m "not ray and not thorough"

lint: install ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install ## build the documentation site in site/, with warnings as errors
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env docs site

tutorials: install ## execute the notebooks of docs/tutorials and store their outputs
	$(BIN)/python -m tests.support.tutorials

screenshots: install ## make docs/images from a real sweep, with Chromium
	$(BIN)/python -m tests.support.screenshots

catalogue: install ## write docs/algorithms.md from the methods
	$(BIN)/python -m orchestrator.cli.catalogue > docs/algorithms.md

package: install ## build sdist and wheel, and run the demo and all steps of a user's project from the wheel
	.ci/package

bench: install ## the benchmark of docs/benchmarks.md
	$(BIN)/python -m tests.benchmarks.round_time
	$(BIN)/python -m tests.benchmarks.round_variants methods
	$(BIN)/python -m tests.benchmarks.round_variants executors
	$(BIN)/python -m tests.benchmarks.round_variants tasks
	$(BIN)/python -m tests.benchmarks.memory_format
	$(BIN)/python -m tests.benchmarks.submodel_step
	$(BIN)/python -m tests.benchmarks.masked_step
	$(BIN)/python -m tests.benchmarks.wire
	$(BIN)/python -m tests.benchmarks.transfer
	$(BIN)/python -m tests.benchmarks.shards
	$(BIN)/python -m tests.benchmarks.sweep_overhead
	$(BIN)/python -m tests.benchmarks.start

.PHONY: help install demo test fast lint docs tutorials screenshots catalogue package bench
