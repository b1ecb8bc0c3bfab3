# `make run` starts Lacuna. `make check` says in minutes whether a change holds; `make test` runs everything.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: install run lint check test test-postgresql twins clean

install: $(VENV)/installed

# The packages and, editable, Lacuna itself: the command `.venv/bin/lacuna` runs the files of this folder.
# Rebuilt only when a list of packages changed; the stamp is written last, so that a broken install is not taken for one.
$(VENV)/installed: requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Lacuna needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Choose another with: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "No virtual environment could be made. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing the packages into $(VENV) (torch among them): two or three minutes the first time, and nothing to see."
	$(BIN)/python -m pip install -q -e . -c constraints.txt
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.txt
	$(BIN)/python -m pip install -q -r requirements-dev.txt -c constraints.txt
	@touch $@

run: install
	@exec $(BIN)/python -m core serve

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Two processes, one thread each: the models of the tests are too small to gain from a second one.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

check: lint
	$(PYTEST) -m "not slow"

test: lint
	$(PYTEST)

# Presets against the trainers' own packages, in an environment of its own: make twins ROWS=folder-of-rows
# Each 23rd case is compared; EVERY=1 compares all of them.
ROWS ?=
EVERY ?= 23
twins: install
	$(BIN)/python -m bench.twins --build .twins $(ROWS) --every $(EVERY) --out bench/results/twins.json

# Database, services and jobs over a real PostgreSQL, a temporary cluster. Debian: apt-get install postgresql
# A database that a test leaves to the garbage collector is dropped with its connections, which psycopg warns of.
test-postgresql: $(VENV)/installed-dev
	$(BIN)/python -m pip install -q -r requirements-postgresql.txt
	.ci/postgresql env $(PYTEST) -W "ignore:<psycopg.Connection object:ResourceWarning" tests/db tests/services tests/jobs

clean:
	rm -rf $(VENV)
