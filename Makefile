# make demo: simulate a fleet on the digits task. make test: check everything.
# make docs: the documentation as a site, in site/. make release-check: build dist/, try it in empty environments.
# Each of the first three makes .venv and installs into it when that has not been done for this pyproject.toml.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
DEMO := runs/demo

.PHONY: demo test docs release-check clean

demo: $(VENV)/.installed-sim
	rm -rf $(DEMO)
	$(VENV)/bin/fedstill-sim run digits --devices 10 --rounds 20 --seed 0 --out $(DEMO)

test: $(VENV)/.installed-dev
	$(VENV)/bin/python -m pytest

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict --quiet
	@echo "read site/index.html; to search it, too: $(VENV)/bin/python -m http.server --directory site --bind 127.0.0.1"

release-check:
	PYTHON="$(PYTHON)" .ci/release

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fedstill needs Python 3.11 or newer; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

# A stamp for each extra; [dev] holds all of [sim] and [docs].
$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --no-compile --editable '.[dev]'
	touch $(VENV)/.installed-sim $(VENV)/.installed-docs $@

$(VENV)/.installed-sim: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --no-compile --editable '.[sim]'
	touch $@

$(VENV)/.installed-docs: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --no-compile --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
