# One command, the same here and in CI. A fresh machine needs only `make` and Python 3.11 or newer; everything else
# goes into .venv from the locks in requirements/, each file compared with its hash.

PYTHON  ?= python3
ARGS    ?=
VENV    := .venv
BIN     := $(VENV)/bin
LOCKS   := requirements
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
           --python-version 3.11 --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade)

# Tests that need node take the one on the path, else the one that came with the development packages.
export PATH := $(PATH):$(CURDIR)/$(BIN)

.DEFAULT_GOAL := help
.PHONY: help demo chaos crash soak bench up test unit lint format setup lock clean python

help: ## What can be made
	@echo "usage: make <target> [ARGS=…]"
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.base ## Rehearse an on-sale on real servers and prove the result (ARGS="--help")
	@$(BIN)/fairgate demo $(ARGS)

chaos: $(VENV)/.base ## Break real servers under load and prove that nobody is lost (ARGS="--quick", "--help")
	@$(BIN)/fairgate chaos $(ARGS)

soak: $(VENV)/.base ## Half an hour under load with a fault every two minutes (ARGS="--minutes 60")
	@$(BIN)/fairgate chaos --soak $(ARGS)

bench: $(VENV)/.base ## Measure it (ARGS="--side-by-side", "--help")
	@$(BIN)/fairgate bench $(ARGS)

up: $(VENV)/.base ## Start Kafka, Valkey, PostgreSQL and all of Fairgate on this machine (ARGS="--brokers 3")
	@$(BIN)/fairgate up $(ARGS)

# Most tests wait for servers: two workers need half the time (which has what: tests/conftest.py).
test: lint ## Every check and every test: what CI runs (ARGS are pytest's)
	$(BIN)/pytest -n 2 $(ARGS)

crash: $(VENV)/.dev ## A process dies between every two side effects of the flow, on real servers (ARGS are pytest's)
	$(BIN)/pytest tests/chaos/test_crash_points.py $(ARGS)

unit: $(VENV)/.dev ## The tests that need no server (ARGS are pytest's)
	$(BIN)/pytest tests/unit $(ARGS)

lint: $(VENV)/.dev ## Format, lint, types and the direction of imports, all without changing anything
	$(BIN)/ruff format --check src tests .ci
	$(BIN)/ruff check src tests .ci
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Format, and correct what can be corrected without thinking
	$(BIN)/ruff format src tests .ci
	$(BIN)/ruff check --fix src tests .ci

setup: $(VENV)/.dev ## The environment for all of these (done by itself where it is needed)

lock: $(VENV)/.uv ## Compile requirements/*.txt from pyproject.toml (UPGRADE=1 takes the newest)
	echo uv | $(COMPILE) - -o $(LOCKS)/uv.txt
	$(COMPILE) $(LOCKS)/build.in -o $(LOCKS)/build.txt
	$(COMPILE) pyproject.toml --extra local -c $(LOCKS)/build.txt -o $(LOCKS)/base.txt
	$(COMPILE) pyproject.toml --extra local --group dev -c $(LOCKS)/build.txt -c $(LOCKS)/base.txt -o $(LOCKS)/dev.txt

clean: ## Remove the environment and what tools left; data directories stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- how the environment comes to be: Python → pip → uv → packages → Fairgate itself

$(VENV)/.uv: $(LOCKS)/uv.txt | python
	@echo "setting up $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(LOCKS)/uv.txt
	@touch $@

$(VENV)/.base: $(VENV)/.uv $(LOCKS)/base.txt $(LOCKS)/build.txt pyproject.toml
	@echo "installing what Fairgate needs, with its servers …"
	@$(INSTALL) --require-hashes -r $(LOCKS)/base.txt -r $(LOCKS)/build.txt
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.base $(LOCKS)/dev.txt
	@echo "installing what the tests need …"
	@$(INSTALL) --require-hashes -r $(LOCKS)/dev.txt
	@touch $@

# Order-only and without a file: looked at only where the environment has to be made.
python:
	@$(if $(wildcard $(VENV)/.uv),:,PYTHON=$(PYTHON) sh $(LOCKS)/check-python)
