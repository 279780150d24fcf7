# Needs Python 3.11 or newer, make and git. Everything is installed into the virtual environment VENV.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: run test lint wheel table clean

run: $(VENV)/bench.stamp
	$(BIN)/python -m numcore $(ARGS)

test: $(VENV)/test.stamp
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/ruff.stamp
	$(BIN)/ruff check .

wheel: $(VENV)/build.stamp
	$(BIN)/python -m build

table: $(VENV)/bench.stamp
	NUMCORE_NUM_THREADS=1 $(BIN)/python -m numcore --json $(VENV)/results.json
	$(BIN)/python docs/readme_table.py $(VENV)/results.json README.md

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .ruff_cache

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/bench.stamp $(VENV)/test.stamp: $(VENV)/%.stamp: setup.cfg | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[$*]'
	touch $@

$(VENV)/ruff.stamp $(VENV)/build.stamp: $(VENV)/%.stamp: | $(BIN)/python
	$(BIN)/python -m pip install --quiet $*
	touch $@
