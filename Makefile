# Two commands do all of a newcomer's set-up: `make study` and `make test`. `make .venv` installs for both.
PYTHON ?= python3
BIN := .venv/bin
SEARCH ?= grid
WORKERS ?= 2

.PHONY: study test faults families lint clean help .venv

help:
	@echo "make study   install, run the quick study (SEARCH=grid|optuna|random), print its tables"
	@echo "make test    install, check style and types, run every test with coverage, WORKERS=2 at a time"
	@echo "make faults  kill and break whole studies, run one twice: nothing is lost, no number changes (minutes; CI, too)"
	@echo "make families  explain a model of every family by every method, compare with captum and grad-cam (minutes; CI, too)"
	@echo "make .venv   install only"
	@echo "make clean   remove the environment; runs stay"

study: .venv
	$(BIN)/python study/run.py --search $(SEARCH)
	$(BIN)/python study/analyse.py experiments/quick/$(SEARCH)

test: .venv lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --cov --cov-fail-under=80

faults: .venv
	$(BIN)/python -m pytest -m fault

families: .venv
	$(BIN)/python -m pytest -m families -n $(WORKERS) --dist worksteal

lint: .venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# compiled here, on all cores: where Python may write no bytecode, every process would compile torch for itself
# a target of its own name: made again when what it is made of has changed, and only counted as made when it is whole
.venv: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; v = sys.version.split()[0]; sys.exit(sys.version_info < (3, 11) and f'Python must be >= 3.11; got {v} (make PYTHON=python3.12 ...)')"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --no-compile --quiet --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python -m compileall -qq -j 0 .venv/lib || true  # files for other versions of Python do not compile
	touch $@

clean:
	rm -rf .venv
