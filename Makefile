# Needs Python 3.11 or newer, make and git. Everything is installed into the virtual environment VENV.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: run test lint wheel table readme clean

run: $(VENV)/bench.stamp
	$(BIN)/python -m numcore $(ARGS)

# each worker takes a CPU, so that threads of BLAS and torch would wait for each other
test: $(VENV)/test.stamp
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --maxschedchunk 16 $(ARGS)

lint: $(VENV)/lint.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	git ls-files '*.cu' '*.cuh' | xargs $(BIN)/clang-format --dry-run -Werror
	$(BIN)/python -m pytest -q tests/typing

wheel: $(VENV)/build.stamp
	$(BIN)/python -m build

# numcore and the baselines have one thread each
table: $(VENV)/bench.stamp
	NUMCORE_NUM_THREADS=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python docs/measure.py
	$(BIN)/python docs/readme_table.py $$(ls -t docs/measured/*.json | head -1) README.md

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .ruff_cache .mypy_cache .asv docs/_build docs/gallery docs/api/generated

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

readme: $(VENV)/lint.stamp
	$(BIN)/python docs/readme_contents.py README.md

$(VENV)/bench.stamp $(VENV)/docs.stamp $(VENV)/lint.stamp $(VENV)/test.stamp: $(VENV)/%.stamp: setup.cfg | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[$*]'
	touch $@

$(VENV)/build.stamp: | $(BIN)/python
	$(BIN)/python -m pip install --quiet build
	touch $@

# --- benchmarks by commit, and the documentation

HEAD ?= HEAD
# a regular expression of benchmarks; by default the headlines: time, relative time and memory of each method
BENCH ?=
CHOSEN = $(if $(BENCH),--bench '$(BENCH)')

.PHONY: bench bench-compare bench-milestones bench-publish docs

bench: $(VENV)/bench.stamp
	$(BIN)/python asv_bench/checkouts.py $(HEAD) $(CHOSEN) $(ARGS)

bench-compare: $(VENV)/bench.stamp
	@test -n "$(BASE)" || { echo "usage: make bench-compare BASE=commit [HEAD=commit] [BENCH=regex]"; exit 2; }
	$(BIN)/python asv_bench/compare.py $(BASE) $(HEAD) $(CHOSEN) $(ARGS)

bench-milestones: $(VENV)/bench.stamp
	$(BIN)/python asv_bench/milestones.py $(ARGS)

bench-publish: $(VENV)/bench.stamp
	$(BIN)/python asv_bench/publish.py

docs: $(VENV)/docs.stamp
	$(BIN)/python -m sphinx -W --keep-going docs docs/_build/html
