# Every target first sets up what it needs; a second run costs nothing. PYTHON names another interpreter (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
PROTOS := $(wildcard proto/headrace/v1/*.proto)
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header

.PHONY: help setup run test soak check bench bench-engine proto fmt lock clean
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' Makefile

setup: .venv/installed headrace/v1/__init__.py ## prepare .venv and the generated wire code

run: setup ## control plane, local agent and demo pipeline, until Ctrl-C
	$(BIN)/headrace up

test: setup ## the whole suite but the soak tests
	$(BIN)/pytest -m "not soak" -n 3 --dist worksteal

soak: setup ## the long fault and load tests
	$(BIN)/pytest -m soak
	$(BIN)/pytest -m "hypothesis and not soak" -n 2 --hypothesis-profile deep

check: setup ## style, types, import rules, wire schema
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/buf lint && $(BIN)/buf format --diff --exit-code
	@tag=$$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null) \
	  && $(BIN)/buf breaking --against ".git#tag=$$tag" || { test -z "$$tag" && echo "buf breaking: no v* tag yet"; }

bench: setup ## measure speed and size, JSON out
	$(BIN)/python -m tests.bench

bench-engine: setup ## the embedded engine's lines per CPU second, beside Fluent Bit's
	$(BIN)/python -m tests.bench --only engine

proto: setup ## generate headrace/v1 from proto/
	$(BIN)/python hatch_build.py

fmt: setup ## format Python and the wire schema
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format . && $(BIN)/buf format --write

lock: setup ## resolve the requirements files anew
	$(LOCK) --upgrade pyproject.toml --group dev --extra all --output-file requirements-dev.txt
	$(LOCK) --constraints requirements-dev.txt --group build --output-file requirements-build.txt
	$(LOCK) --constraints requirements-dev.txt pyproject.toml --extra agent --output-file requirements-agent.txt
	$(LOCK) --constraints requirements-dev.txt pyproject.toml --extra cli --extra control --extra postgres \
	  --output-file requirements-control.txt

clean: ## remove everything that is not in git, .venv included
	rm -rf .venv headrace/v1 build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# Stamps: the tools that install and build, what they install, and the project itself.
.venv/tools: requirements-build.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -qq --disable-pip-version-check --require-hashes -r requirements-build.txt
	@touch $@
.venv/synced: requirements-dev.txt .venv/tools
	$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements-dev.txt
	@touch $@
.venv/installed: pyproject.toml hatch_build.py .venv/synced
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@
headrace/v1/__init__.py: $(PROTOS) | .venv/installed
	$(BIN)/python hatch_build.py
