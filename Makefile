# Two commands for a person: `make run` and `make test`. All else is in `make help`.

PYTHON   := $(shell command -v python3.13 2>/dev/null)
VENV     := .venv
BIN      := $(VENV)/bin
TOOLS    := .tools
AZURITE  := 3.37.0
SDK_TYPES := azurefunctions-extensions-bindings-servicebus==1.0.0b2 uamqp==1.6.11
JS_CLIENT := tests/integration/servicebus/javascript

.DEFAULT_GOAL := help
.PHONY: help setup run up test soak check bench clean

help:  ## Show the targets.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(VENV)/.run  ## Install what `make run` needs.

run: $(VENV)/.run  ## Run the demonstration: three business proposals, from HTTP to a verified dossier.
	@$(BIN)/aos demo

up: $(VENV)/.run  ## Serve AOS at http://127.0.0.1:7071.
	@$(BIN)/aos up

test: $(VENV)/.dev $(TOOLS)/.node $(TOOLS)/sdk-types  ## Run all tests.
	@$(BIN)/python -m pytest -n 2 --dist worksteal

soak: $(VENV)/.dev $(TOOLS)/.node  ## Run the long fault tests: half an hour (SOAK_SEED, SOAK_MINUTES).
	@export SOAK_SEED=$${SOAK_SEED:-$$($(BIN)/python -c 'import secrets; print(secrets.randbelow(2**32))')}; \
	  $(BIN)/python tests/faults/soak.py && \
	  AOS_TEST_SOAK=1 $(BIN)/python -m pytest -n 2 --timeout 300 tests/faults --ignore tests/faults/test_soak.py || \
	  { echo "SOAK_SEED=$$SOAK_SEED repeats this." >&2; exit 1; }

check: $(VENV)/.dev  ## Lint, check types and import rules.
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

bench: $(VENV)/.bench  ## Measure, beside DBOS and the stock in-memory backend.
	@$(BIN)/python -m bench

clean:  ## Remove what was installed and written.
	rm -rf $(VENV) $(TOOLS) var .aos

$(VENV)/bin/python:
ifeq ($(PYTHON),)
	@echo "AOS needs python3.13, which is not on PATH: install it from https://www.python.org/downloads/ or with your package manager." >&2; exit 1
endif
	@$(PYTHON) -c 'import sys; assert sys.version_info[:2] == (3, 13)' 2>/dev/null || { \
	  echo "AOS needs python3.13, and $(PYTHON) does not run: install it from https://www.python.org/downloads/ or with your package manager." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/python pyproject.toml
	@echo "Installing AOS into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[local]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "Installing the test tools into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[local,dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.run
	@echo "Installing what the benchmark compares with into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[local,bench]'
	@touch $@

# Apart, and without what it declares to require: that would bring an older protobuf to all the rest.
$(TOOLS)/sdk-types: $(VENV)/bin/python
	@echo "Installing the Functions extension for Service Bus SDK types ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@ $(SDK_TYPES)
	@touch $@

$(TOOLS)/.node: $(JS_CLIENT)/package.json
	@command -v npm >/dev/null || { echo "The tests need node and npm: install them from https://nodejs.org" >&2; exit 1; }
	@echo "Installing Azurite and a second Service Bus client for the tests ..."
	@npm install --prefix $(TOOLS) --no-audit --no-fund --no-save --loglevel=error azurite@$(AZURITE) >/dev/null
	@npm install --prefix $(JS_CLIENT) --no-audit --no-fund --no-package-lock --loglevel=error >/dev/null
	@touch $@
