# Everything a checkout needs: `make demo` shows the product, `make test` checks it. Both set up .venv first.
SHELL := /bin/bash
PYTHON ?= python3
UV_VERSION := 0.13.9
# Which torch build: cpu, or any other backend that `uv pip install --torch-backend` knows (cu128, rocm6.3, auto).
TORCH ?= cpu
TORCH_VERSION := 2.13.0
BIN := .venv/bin
# Telemetry of the parts off; nothing here phones home.
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false

.DEFAULT_GOAL := help
.PHONY: help demo test lint types contracts unit prove bench lock clean

help:  ## This list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

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

lock: ## Compile requirements.lock anew (hashes, every platform, no index addresses)
	@test -x $(BIN)/uv || { $(PYTHON) -m venv .venv && $(BIN)/python -m pip install -q "uv==$(UV_VERSION)"; }
	$(BIN)/uv pip compile -q pyproject.toml --extra worker --extra postgres --group dev --generate-hashes --universal \
	  --python-version 3.11 --no-emit-package torch --no-header \
	  --constraint <(echo "torch==$(TORCH_VERSION)") -o requirements.lock

clean: ## Remove what was built and the embedded state (.venv, .selfheal, build)
	rm -rf .venv .selfheal build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
