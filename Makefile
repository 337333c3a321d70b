# All that a developer or a curious visitor runs. `make help` lists it; ARGS="..." is handed on to the command.
#
# Paths are relative, so that the project may lie in a folder with spaces in its name.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARGS ?=
TEST_PROCESSES ?= 2  # each starts a PostgreSQL and a Redis of its own
SHARED_OUT = --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

# Python 3.11 is what is tested; a newer one may do. A `python3.11` that is there but does not run (pyenv) is passed over.
PYTHON ?= $(shell for python in python3.11 python3; do $$python -c '' 2>/dev/null && echo $$python && break; done)
OLDEST := (3, 11)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:  # two targets must not install into one environment at once
.PHONY: help demo quick test check chaos bench up clean migration schema audit constraints

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed-demo  ## set up, and run the whole loop on photographs (PAAPLUS_DATA=DIR: on yours)
	$(BIN)/paaplus demo $(ARGS)

up: $(VENV)/.installed-demo  ## run the embedded platform: API, worker, scheduler
	$(BIN)/paaplus up $(ARGS)

quick: $(VENV)/.installed-dev  ## run the tests that need neither PostgreSQL nor another process
	$(BIN)/python -m pytest -m quick $(SHARED_OUT) $(ARGS)

test: $(VENV)/.installed-dev  ## run all tests, on SQLite and on a PostgreSQL and a Redis that they start
	$(BIN)/python -m pytest $(SHARED_OUT) $(ARGS)

check: $(VENV)/.installed-dev  ## format, lint, types, import contracts, security, migrations
	$(BIN)/python -m ruff format --check --quiet .
	$(BIN)/python -m ruff check --quiet .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml api paaplus workers migrations
	$(BIN)/python -m tests.developer.check_migrations

chaos: $(VENV)/.installed-demo  ## kill and starve a platform of its own for 20 minutes, then check every promise
	$(BIN)/paaplus chaos $(ARGS)

bench: $(VENV)/.installed-dev  ## quality, strategies, gate and speed, measured (PAAPLUS_BENCH_DATA=DIR: on your data)
	@set -e; for name in kshot stream gate cohort workers; do echo "== $$name"; $(BIN)/python benchmarks/$$name.py $(ARGS); done

migration: $(VENV)/.installed-dev  ## write the migration that the tables need: make migration M="add surveys"
	$(BIN)/python -m tests.developer.new_migration "$(M)"

schema: $(VENV)/.installed-dev  ## write the snapshots of schemas that are missing in tests/fixtures/schema
	$(BIN)/python -m tests.migrations.snapshots

audit: $(VENV)/.installed-dev  ## look for known vulnerabilities of what constraints.txt pins (needs a network)
	$(BIN)/python -m tests.developer.audit_dependencies

constraints: $(VENV)/.installed-dev  ## pin in constraints.txt what is installed now
	@{ sed -n '/^#/p' constraints.txt; $(PIP) freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//'; } > constraints.new
	@mv constraints.new constraints.txt

clean:  ## remove the environment, caches and build output; var/ with your data stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "paaplus needs Python 3.11 or newer; neither python3.11 nor python3 runs here"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.version_info < $(OLDEST) and sys.exit("paaplus needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Name another one: make PYTHON=/path/to/python")'
	"$(PYTHON)" -m venv $(VENV)
	@touch $@

$(VENV)/.installed-demo: $(VENV)/.made pyproject.toml constraints.txt
	@echo "installing into $(VENV), which takes some minutes ..."
	$(PIP) install --quiet -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made pyproject.toml constraints.txt
	@echo "installing into $(VENV), which takes some minutes ..."
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.installed-demo
