# Two commands matter: `make demo` runs a whole mesh on this machine, `make test` runs every test.
# `make unit` runs those that take less than a quarter of a second each: half a minute, less where nothing else runs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --progress-bar off -c requirements.lock
SOURCES := $(shell find meshd -name '*.py')

.PHONY: demo test unit lint types contract check bench lock clean

demo: $(VENV)/.installed $(VENV)/.compiled
	@$(BIN)/meshd up $(ARGS)

test: $(VENV)/.tested $(VENV)/.compiled
	$(BIN)/pytest -n 3 --dist loadfile $(ARGS)

unit: $(VENV)/.tested $(VENV)/.compiled
	HYPOTHESIS_PROFILE=unit $(BIN)/pytest -n 2 --dist loadfile -m 'not slow' --ignore=tests/e2e --ignore=tests/peers $(ARGS)

lint: $(VENV)/.tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.tested
	$(BIN)/mypy

contract: $(VENV)/.tested
	$(BIN)/lint-imports --no-cache

check: test lint types contract

bench: $(VENV)/.tested $(VENV)/.compiled
	$(BIN)/python tests/bench/run.py $(ARGS)

lock:
	rm -rf .lock && $(PYTHON) -m venv .lock && .lock/bin/pip -q install -e '.[test]'
	{ head -1 requirements.lock; .lock/bin/pip freeze --all --exclude pip --exclude-editable; } > .lock/new && mv .lock/new requirements.lock
	rm -rf .lock

clean:
	rm -rf $(VENV) build *.egg-info .hypothesis .pytest_cache .mypy_cache .ruff_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "meshd needs Python 3.11 or newer; name one with PYTHON=...")'
	@echo "Making $(VENV), once: a Python environment in this folder, and nowhere else."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml requirements.lock | $(VENV)/bin/python
	@echo "Installing what meshd needs into $(VENV), once: half a minute, more on a slow line."
	@$(PIP) -e .
	@touch $@

$(VENV)/.tested: pyproject.toml requirements.lock | $(VENV)/bin/python
	@echo "Installing what the tests need into $(VENV), once: a minute or two."
	@$(PIP) -e '.[test]'
	@touch $@ $(VENV)/.installed

# An editable install compiles nothing, and where PYTHONDONTWRITEBYTECODE is set every start would compile it all.
$(VENV)/.compiled: $(SOURCES) | $(VENV)/bin/python
	@$(BIN)/python -m compileall -q meshd
	@touch $@
