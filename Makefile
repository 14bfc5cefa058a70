# Everything a checkout needs: `make demo` shows the product, `make test` checks it. Both set up .venv first.
PYTHON ?= python3
UV_VERSION := 0.13.9
# Which torch build: cpu, or any other backend that `uv pip install --torch-backend` knows (cu128, rocm6.3, auto).
TORCH ?= cpu
TORCH_VERSION := 2.13.0
# Test processes. Each needs about 1 GB and ten seconds of CPU to import torch, MLflow, Prefect and Evidently.
JOBS ?= 2
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -n $(JOBS)
# Telemetry of the parts off; nothing here phones home.
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
# Every process imports torch, MLflow and more: without cached bytecode each of them compiles those anew, twice the time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test lint types contracts docs unit prove bench lock clean
# `test` runs its steps in the order given and stops at the first that fails, also under -j.
.NOTPARALLEL:

help:  ## This list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: .venv/.ready ## Watch a model break, heal, remember, learn from a rule, refuse and step back (ARGS="--json FILE")
	@$(BIN)/selfheal demo $(ARGS)

test: lint ## Every quick check: lint, types, import contracts, docs, tests (under eight minutes on two cores)
	@echo "== types, contracts, docs, tests"
	@$(PYTEST) -q tests

lint: .venv/.ready ## Style, docstrings, complexity (ruff)
	@echo "== lint"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: .venv/.ready ## Strict types (mypy)
	@echo "== types"
	@$(BIN)/mypy

contracts: .venv/.ready ## Imports point down, one door per library, public names, import budget, lock, infra
	@echo "== contracts"
	@$(PYTEST) -q tests/architecture

docs: .venv/.ready ## Every block of the README, docs/ and the docstrings is run
	@echo "== docs"
	@$(PYTEST) -q tests/docs

unit: .venv/.ready ## The tests of the parts and of the whole (ARGS="-k name")
	@echo "== tests"
	@$(PYTEST) -q tests --ignore=tests/architecture --ignore=tests/docs $(ARGS)

prove: .venv/.ready ## Long proofs, of which `test` runs a sample (seeded; results in build/prove)
	@$(PYTEST) tests -m prove --timeout=3600 $(ARGS)

bench: .venv/.ready ## Measure against peers in the same run; a table and build/bench.json (ARGS="part of a name")
	@$(BIN)/python -m tests.bench $(ARGS)

# A torch wheel the machine already offers to pip (PIP_FIND_LINKS) comes first, then PyTorch's own CPU build,
# and where neither can be had the registry's default build with the CUDA packages that it needs.
.venv/.ready: requirements.lock pyproject.toml Makefile
	@echo "setting up .venv (once; a few minutes where packages must be fetched)"
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit("selfheal needs Python >= 3.11, this is " + sys.version.split()[0] + "; try: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q "uv==$(UV_VERSION)"
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/python -c 'import torch; assert torch.__version__.split("+")[0] == "$(TORCH_VERSION)"' 2>/dev/null \
	  || { [ "$(TORCH)" = cpu ] && $(BIN)/python -m pip install -q --no-index --no-deps "torch==$(TORCH_VERSION)" 2>/dev/null; } \
	  || $(BIN)/uv pip install -q --python $(BIN)/python --torch-backend $(TORCH) "torch==$(TORCH_VERSION)" 2>/dev/null \
	  || $(BIN)/uv pip install -q --python $(BIN)/python "torch==$(TORCH_VERSION)"
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@

COMPILE = $(BIN)/uv pip compile -q pyproject.toml --generate-hashes --universal --python-version 3.11 \
	  --no-header --no-emit-package torch --constraint build/torch.txt
lock: ## Compile the locks anew with hashes, without index addresses (ARGS=--upgrade: newer versions)
	@test -x $(BIN)/uv || { $(PYTHON) -m venv .venv && $(BIN)/python -m pip install -q "uv==$(UV_VERSION)"; }
	@mkdir -p build && echo "torch==$(TORCH_VERSION)" > build/torch.txt
	$(COMPILE) $(ARGS) --extra worker --extra postgres --extra delta --group dev -o requirements.lock
	$(COMPILE) --no-annotate --extra postgres --constraint requirements.lock -o infra/scoring.lock
	$(COMPILE) --no-annotate --extra worker --extra postgres --extra delta --constraint requirements.lock -o infra/worker.lock

clean: ## Remove what was built and the embedded state (.venv, .selfheal, build)
	rm -rf .venv .selfheal build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
