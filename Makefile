# make demo: simulate a fleet on the digits task. make test: check everything.
# Each makes .venv and installs into it when that has not been done for this pyproject.toml.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
DEMO := runs/demo

.PHONY: demo test clean

demo: $(VENV)/.installed-sim
	rm -rf $(DEMO)
	$(VENV)/bin/fedstill-sim run digits --devices 10 --rounds 20 --seed 0 --out $(DEMO)

test: $(VENV)/.installed-dev
	$(VENV)/bin/python -m pytest

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fedstill needs Python 3.11 or newer; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# A stamp for each extra; [dev] holds all of [sim].
$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable '.[dev]'
	touch $(VENV)/.installed-sim $@

$(VENV)/.installed-sim: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable '.[sim]'
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
