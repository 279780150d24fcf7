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

# numcore and its peers have one thread each
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

ASV = $(BIN)/python -m asv
ASV_CONFIG = --config asv_bench/asv.conf.json
# empty: each commit as a wheel in an environment of its own; existing:PYTHON: what is installed there, for its further peers
BENCH_ENVIRONMENT ?=
HEAD ?= HEAD
# asv's verdict takes less for better, so that it compares all but the figures that are better when they grow
BENCH ?= ^(?!.*track_(ratio|throughput|scaling))

.PHONY: bench bench-compare bench-publish docs

bench: $(VENV)/bench.stamp
	$(ASV) machine $(ASV_CONFIG) --yes > /dev/null
	$(ASV) run $(ASV_CONFIG) $(if $(BENCH_ENVIRONMENT),--environment $(BENCH_ENVIRONMENT) --set-commit-hash $$(git rev-parse HEAD),'HEAD^!') $(ARGS)

bench-compare: $(VENV)/bench.stamp
	@test -n "$(BASE)" || { echo "usage: make bench-compare BASE=commit [HEAD=commit]"; exit 2; }
	$(ASV) machine $(ASV_CONFIG) --yes > /dev/null
	$(ASV) continuous $(ASV_CONFIG) --bench '$(BENCH)' $(ARGS) $(BASE) $(HEAD)

bench-publish: $(VENV)/bench.stamp
	$(BIN)/python asv_bench/publish.py

docs: $(VENV)/docs.stamp
	$(BIN)/python -m sphinx -W --keep-going docs docs/_build/html
