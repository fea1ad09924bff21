# Every target does its own set-up; a second call skips what is done. Needs Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

unexport PYTHONDONTWRITEBYTECODE # many processes import torch and more: none should compile it again
.DEFAULT_GOAL := help
.PHONY: help demo test test-fast check bench fuzz conformance up base-model clean

help: ## show this help
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /	/' | column -t -s '	'

$(VENV)/.demo: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing (a few minutes without a package cache) ..."
	@$(PIP) --no-compile -e ".[demo]"
	@touch $@

$(VENV)/.dev: $(VENV)/.demo
	@$(PIP) -e ".[dev]"
	@touch $@

demo: $(VENV)/.demo ## teach the tiny model German digits, from speech to a proven demo
	@$(BIN)/voxfactory demo

test: $(VENV)/.dev ## every test, in two processes
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: $(VENV)/.dev ## the tests without a server and without training, under two minutes
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m fast

check: $(VENV)/.dev ## format, lint, types, import contracts, prefect.yaml
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m deployments.check_prefect_yaml

bench: $(VENV)/.dev ## measurements, as ratios in one run
	@$(BIN)/python -m tests.benchmarks.start
	@$(BIN)/python -m tests.benchmarks.hub
	@$(BIN)/python -m tests.benchmarks.orchestration
	@$(BIN)/python -m tests.benchmarks.evaluation
	@$(BIN)/python -m tests.benchmarks.ingest
	@$(BIN)/python -m tests.benchmarks.training
	@$(BIN)/python -m tests.benchmarks.demo

fuzz: $(VENV)/.dev ## 20,000 inputs for each of the doors through which files come
	@$(BIN)/python -m pytest tests/tasks/speech/test_fuzz.py --hypothesis-profile=fuzz --timeout=3600

conformance: $(VENV)/.dev ## huggingface_hub's own tests against the local Hub, two minutes
	@$(PIP) -e ".[conformance]"
	@$(BIN)/python -m tests.conformance

up: $(VENV)/.demo ## server, deployments and a worker on this machine, for the Prefect UI
	@$(BIN)/voxfactory up

base-model: $(VENV)/.demo ## train voxfactory-tiny again, three quarters of an hour
	@$(BIN)/python -m deployments.base_model

clean: ## remove the virtual environment and the factory's home
	rm -rf $(VENV) .voxfactory
