# Everything below stands on `make install`, which makes .venv from the lock file and does nothing when it is up to date.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# The first of these that is new enough; `make install PYTHON=/path/to/python3` uses another one.
CANDIDATES := python3 python3.13 python3.12 python3.11 python3.14 python
CODE := config models streams tests benchmarks examples

.PHONY: help install compiled demo test test-fast simulate chaos lint format lock peers bench schema dashboards clean

help:  ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP)  ## Make .venv with everything in it

$(STAMP): requirements/dev.txt pyproject.toml
	@python=; \
	for candidate in $(or $(PYTHON),$(CANDIDATES)); do \
		if "$$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then \
			python="$$candidate"; break; \
		fi; \
	done; \
	if [[ -z "$$python" ]]; then \
		echo "Tideline needs Python 3.11 to 3.14; found: $$($(or $(PYTHON),python3) --version 2>&1 || true)." >&2; \
		echo "Install one of them, or name it: make install PYTHON=/path/to/python3.13" >&2; \
		exit 1; \
	fi; \
	if [[ ! -x $(BIN)/python ]]; then \
		echo "Making $(VENV) with $$("$$python" --version)"; \
		"$$python" -m venv $(VENV) || { rm -rf $(VENV); \
			echo "Python could not make an environment (on Debian and Ubuntu: install the package python3-venv)." >&2; exit 1; }; \
	fi
	@echo "Installing what requirements/dev.txt names (one to two minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade --target $(VENV)/segment-sdk \
		--require-hashes -r requirements/segment-sdk.txt
	@echo "Compiling the engine (about a minute)"
	@$(BIN)/python -m streams.runtime.precompile
	@touch $(STAMP)

# For a checkout that has changed since it was installed; takes two seconds when the cache has it all.
compiled: install  ## Compile the engine into its cache, if it is not there
	@$(BIN)/python -m streams.runtime.precompile

demo: compiled  ## The whole job on real data, in a few minutes
	@$(BIN)/tideline demo

# Tests wait for servers and processes half of the time: three share two cores. JOBS=0 runs them in one process.
JOBS ?= 3

test: lint compiled  ## Everything that must hold: style, types, tests
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder

test-fast: compiled  ## The tests that take seconds
	@$(BIN)/python -m pytest -m "not slow"

simulate: compiled  ## Runs with faults: SEEDS=1000 of them, from START=0 on
	@$(BIN)/python -m tests.sim --seeds $(or $(SEEDS),500) --start $(or $(START),0)

# About twenty minutes; a smaller run: make chaos EVENTS=20000 RATE=400
EVENTS ?= 300000
RATE ?= 1500
chaos: compiled  ## Workers on Kafka while everything dies that can die, with 300,000 events
	@TIDELINE_TEST_CHAOS_EVENTS=$(EVENTS) TIDELINE_TEST_CHAOS_RATE=$(RATE) \
		$(BIN)/python -m pytest -s tests/integration/test_kafka_chaos.py

lint: install  ## Style and types
	@$(BIN)/ruff check $(CODE)
	@$(BIN)/ruff format --check $(CODE)
	@$(BIN)/mypy
	@$(BIN)/hadolint Dockerfile

format: install  ## Put the code into its style
	@$(BIN)/ruff check --fix $(CODE)
	@$(BIN)/ruff format $(CODE)

# No line of a lock may name an index or a host: where packages come from is a matter of the machine.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate

lock: install  ## Write the lock files anew; UPGRADE=1 takes newer versions
	@$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --group build --extra peers --extra data --extra kafka-local --extra traces -o requirements/lock.txt
	@$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --group dev --extra peers --extra data --extra kafka-local --extra traces -c requirements/lock.txt -o requirements/dev.txt
	@$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --extra traces -c requirements/lock.txt -o requirements/image.txt
	@$(COMPILE) $(if $(UPGRADE),--upgrade) --group build -c requirements/lock.txt -o requirements/build.txt
	@$(COMPILE) $(if $(UPGRADE),--upgrade) --group segment-sdk -o requirements/segment-sdk.txt
	@$(COMPILE) $(if $(UPGRADE),--upgrade) pyproject.toml --group bench-peers -o requirements/bench-peers.txt
	@if grep -inE 'https?:|index-url|find-links' requirements/*.txt; then echo "A lock names an address." >&2; exit 1; fi

schema: install  ## Write docs/catalog.schema.json and the tables of docs/catalog.md from the types
	@$(BIN)/python -m config.schema docs

dashboards: install  ## Write config/grafana/dashboards from tests/dashboards
	@$(BIN)/python -m tests.dashboards

# An environment of its own, as the peers want older packages than Tideline has, and a Python for which all of them have
# wheels: Bytewax has none for 3.13. The Python of .venv, if it is one of these, so that all run on the same.
PEERS := .venv-peers
PEER_CANDIDATES := $(BIN)/python python3.12 python3.11 python3 python
PEER_PYTHON_FITS := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))

peers: $(PEERS)/installed  ## Make .venv-peers: the frameworks that `make bench` compares with

$(PEERS)/installed: requirements/bench-peers.txt | install
	@if [[ -x $(PEERS)/bin/python ]] && ! $(PEERS)/bin/python -c '$(PEER_PYTHON_FITS)' 2>/dev/null; then \
		echo "Making $(PEERS) anew: Bytewax has no wheels for its Python"; \
		rm -rf $(PEERS); \
	fi; \
	if [[ ! -x $(PEERS)/bin/python ]]; then \
		python=; \
		for candidate in $(or $(PEER_PYTHON),$(PEER_CANDIDATES)); do \
			if "$$candidate" -c '$(PEER_PYTHON_FITS)' 2>/dev/null; then python="$$candidate"; break; fi; \
		done; \
		if [[ -z "$$python" ]]; then \
			echo "The peers need Python 3.11 or 3.12 (Bytewax has no wheels for newer ones); none was found." >&2; \
			echo "Install one of them, or name it: make peers PEER_PYTHON=/path/to/python3.12" >&2; \
			exit 1; \
		fi; \
		echo "Making $(PEERS) with $$("$$python" --version)"; \
		"$$python" -m venv $(PEERS) || { rm -rf $(PEERS); \
			echo "Python could not make an environment (on Debian and Ubuntu: install the package python3-venv)." >&2; exit 1; }; \
	fi
	@echo "Installing what requirements/bench-peers.txt names (about a minute)"
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench-peers.txt
	@touch $@

bench: compiled peers  ## Every benchmark in half an hour, and their table in docs/benchmarks.md
	@$(BIN)/python -m benchmarks.suite --write docs/benchmarks.md

clean:  ## Remove what tools have left (not .venv, not .tideline)
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	@find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
