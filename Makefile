# `make demo` and `make test` need nothing but Python 3.10+ and make: each makes a private .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_NAME ?= demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: demo test lint clean

$(VENV)/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/spnas search --space yolov8n --budget 3m --name $(DEMO_NAME)

test: $(VENV)/installed
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy spnas
	$(BIN)/lint-imports
	$(BIN)/spnas validate search_spaces/

clean:
	rm -rf $(VENV)
