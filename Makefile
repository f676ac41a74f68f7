# `make study` runs the quick study, `make test` runs the tests; both first install what is missing.
PYTHON ?= python3
BIN := .venv/bin
SEARCH ?= grid
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest
SIDE_BY_SIDE := -n $(WORKERS)

.PHONY: study test test-all lint clean help .venv

help:
	@echo "make study     install, run the quick study (SEARCH=grid|optuna|random), print its tables"
	@echo "make test      install, check style and types, run all tests but the slow ones, WORKERS=2 at a time"
	@echo "make test-all  make test with coverage, then the slow tests: killed studies, every method on every family of models (.ci/run runs it)"
	@echo "make .venv     install only"
	@echo "make clean     remove the environment; runs stay"

study: .venv
	$(BIN)/python study/run.py --search $(SEARCH)
	$(BIN)/python study/analyse.py experiments/quick/$(SEARCH)

test: .venv lint
	$(PYTEST) tests -m "not slow" $(SIDE_BY_SIDE) $(COVERAGE)

# The slow tests that start Ray kill running studies; those of a file run one after the other, in one process.
test-all: COVERAGE = --cov --cov-fail-under=80
test-all: test
	$(PYTEST) tests -m "slow and not ray" $(SIDE_BY_SIDE)
	$(PYTEST) tests -m "slow and ray" $(SIDE_BY_SIDE) --dist loadfile

lint: .venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Stamp file: reinstall when pyproject.toml or constraints.txt changes, or an install was interrupted.
.venv: .venv/.installed

# Compile once, on all cores: if Python may not write bytecode later, every process would compile torch again.
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; v = sys.version.split()[0]; sys.exit(sys.version_info < (3, 11) and f'Python must be >= 3.11; got {v} (make PYTHON=python3.12 ...)')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --no-compile --quiet --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python -m compileall -qq -j 0 .venv/lib || true  # some packages hold files for other versions of Python
	touch $@

clean:
	rm -rf .venv
