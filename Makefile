# All that a developer or a curious visitor runs. `make help` lists it; ARGS="..." is handed on to the command. TORCH=cpu
# or TORCH=cuda chooses the build of torch.
#
# Paths are relative, so that the project may lie in a folder with spaces in its name.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
ARGS ?=
TEST_PROCESSES ?= 3  # one more than cores: they often wait. Each starts a PostgreSQL and a Redis of its own
SHARED_OUT = --numprocesses $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

# PyPI's torch for Linux x86-64 always brings CUDA (README.md, "Try it"). Without an NVIDIA driver that is of no use, so
# the CPU build is taken from PyTorch's own index, unless pip's own sources have one. An environment keeps what it has:
# `make clean` before another TORCH.
TORCH ?= $(shell if [ -e /proc/driver/nvidia/version ] || command -v nvidia-smi >/dev/null 2>&1; then echo cuda; else echo cpu; fi)
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
PLATFORM ?= $(shell uname -sm)

define install
	@case "$(TORCH)" in cpu|cuda) ;; *) echo "TORCH=$(TORCH): cpu or cuda"; exit 1;; esac
	@echo "installing into $(VENV), which takes some minutes (torch for $(TORCH)) ..."
	@index=""; \
	if [ "$(TORCH) $(PLATFORM)" = "cpu Linux x86_64" ] && ! $(PIP) install --dry-run --no-deps --ignore-installed --quiet \
	    --report - -c constraints.txt torch 2>/dev/null | grep -q '"version": "[0-9.]*+cpu"'; then \
	  index="--extra-index-url $(TORCH_CPU_INDEX)"; \
	fi; \
	$(PIP) install --quiet $$index -c constraints.txt -e '.[$(1)]'
endef

# Python 3.11 is what is tested; a newer one may do. A `python3.11` that is there but does not run (pyenv) is passed over.
PYTHON ?= $(shell for python in python3.11 python3; do $$python -c '' 2>/dev/null && echo $$python && break; done)
OLDEST := (3, 11)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:  # two targets must not install into one environment at once
.PHONY: help demo quick test check chaos mutants bench up clean migration schema audit constraints

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

mutants: $(VENV)/.installed-dev  ## make small wrong edits one by one in a copy: the tests must find each
	$(BIN)/python -m tests.mutants.run $(ARGS)

# Every script whose numbers stand in a document; BENCH="serving ingest" runs these alone, ARGS=--record keeps results.
BENCH ?= kshot stream gate matching reviews survey cohort training verdict workers freshness bursts lock_waits ingest scan rollback startup layout peers \
	serving residents audience extraction sizes scale many_photos physiqueframe studio abuse before_and_now

bench: $(VENV)/.installed-dev  ## measure all that documents tell, in hours (PAAPLUS_BENCH_DATA=DIR: quality on your data)
	@set -e; for name in $(BENCH); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py $(ARGS); done

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
	$(call install,demo)
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.made pyproject.toml constraints.txt
	$(call install,dev)
	@touch $@ $(VENV)/.installed-demo
