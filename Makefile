# The four doors: demo, test, lint, bench. Each does its own set-up in .venv.
.PHONY: demo test lint bench docs packages

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
FULL ?= 0
FRAMEWORKS ?= 0
JOBS ?= $(if $(filter 1,$(FULL)),1,2)
export OMP_NUM_THREADS ?= 1
export NUMBA_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export NO_MKDOCS_2_WARNING := 1

demo: .venv/.demo            ## play, verify and report the study mixed-kitchen (runs/demo)
	rm -rf runs/demo
	$(BIN)/crossplay demo --out runs/demo

test: .venv/.test packages   ## the first ring of tests; FULL=1 adds the second; JOBS=1: in one process
	$(BIN)/python -m compileall -q src worker/src  # hundreds of tests start processes that import it
	$(BIN)/crossplay models pull smollm2-135m
	$(BIN)/python -m pytest -m "$(if $(filter 1,$(FULL)),full or )not full" $(if $(filter 1,$(JOBS)),,-n $(JOBS) --dist worksteal)

lint: .venv/.test            ## style, types, floors, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mkdocs build --strict --quiet --site-dir build/site

bench: .venv/.test           ## the benchmarks; writes build/bench.json
	$(BIN)/python -m benchmarks --out build/bench.json $(if $(filter 1,$(FRAMEWORKS)),--frameworks)

.venv/.python:
	@test -n "$(PYTHON)" || { echo "Crossplay needs Python 3.11 or newer; name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv .venv
	touch $@

.venv/.demo: .venv/.python locks/demo.txt pyproject.toml
	$(BIN)/python -m pip install --quiet -r locks/demo.txt
	$(BIN)/python -m pip install --quiet --no-deps -e .
	touch $@

.venv/.test: .venv/.demo locks/test.txt worker/pyproject.toml
	$(BIN)/python -m pip install --quiet -r locks/test.txt
	$(BIN)/python -m pip install --quiet --no-deps -e worker
	$(BIN)/python -m pip install --quiet --no-deps textarena==0.7.4  # it asks for packages that its games do not need
	touch $@

# System packages that only the second ring needs.
packages:
ifeq ($(FULL),1)
	@missing=""; for p in $$(grep -v '^#' packages.txt); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq $$missing; \
		else echo "The second ring needs:  sudo apt-get install$$missing"; exit 2; fi; fi
endif
