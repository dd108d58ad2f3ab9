# Each target sets up what it needs, in a virtual environment per Python version.
# `make PYTHON=python3.13 test` chooses another Python (3.11 to 3.13).
PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
VENV := .venv/$(VERSION)
BIN := $(VENV)/bin
ARGS ?=

.PHONY: sandbox run test check format clean

sandbox: $(VENV)/.sandbox
	$(BIN)/python -m sandbox $(ARGS)

run: $(VENV)/.sandbox
	$(BIN)/python bot.py $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses auto --dist loadscope $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.sandbox: requirements.txt requirements-sandbox.txt | $(VENV)/.python
	@echo "Installing what the sandbox needs (once) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-sandbox.txt
	@touch $@

$(VENV)/.dev: requirements.txt requirements-sandbox.txt requirements-dev.txt | $(VENV)/.python
	@echo "Installing what the tests need (once) …"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ $(VENV)/.sandbox

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	|| { echo "Dailies needs Python 3.11 to 3.13; $(PYTHON) is $(or $(VERSION),not here). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@
