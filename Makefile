# `make demo` and `make test` need nothing but Python 3.10+ and make: each makes a private .venv on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_NAME ?= demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: demo test lint docs bench clean

$(VENV)/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

demo: $(VENV)/installed
	$(BIN)/spnas search --space yolov8n --budget 2m --name $(DEMO_NAME)

# Two files at a time, whole searches among the first; each file's tests stay together, since they share a search or a
# training. Searches that measure latency have the machine for themselves.
test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not alone"
	$(BIN)/python -m pytest -m alone

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy spnas
	$(BIN)/lint-imports
	$(BIN)/spnas validate search_spaces/

# Into build/site; every warning is an error. (Material's own notice of its successor is not about these pages.)
docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

# Those that need no data, some ten minutes each, on an idle machine; benchmarks/README.md tells of the others.
bench: $(VENV)/installed
	mkdir -p build/bench
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/operators.py > build/bench/operators.md
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/latency_table.py > build/bench/latency_table.md

clean:
	rm -rf $(VENV) build
