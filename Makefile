# Each target sets up what it needs: the environment is made on first use and reused until pyproject.toml or the constraints change.
#   make demo        the whole chain on generated data, report in demo/report/index.html
#   make test        the suite without the slow tests          make test-all    everything
#   make lint types  ruff; mypy                                make bench docs  benchmarks; the documentation pages
#   make notebooks   examples/ executed in full, into examples/build
#   make baselines REASON="why"   renews the numbers of tests/baselines
# Variables: VENV (where the environment lives), PYTHON (which interpreter makes it), CONSTRAINTS (which pins),
# WORKERS (processes of the test suite, one thread each), PYTEST_ARGS (more words for pytest).

VENV ?= .venv
CONSTRAINTS ?= constraints.txt
TORCH := $(shell grep '^torch==' $(CONSTRAINTS))
PYTEST_ARGS ?=
WORKERS ?= 2
INTERPRETERS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)

RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs
NOTEBOOKS_STAMP := $(VENV)/.installed-notebooks

# Waiting OpenMP threads that spin make a shared machine 30 to 50 times slower; must be set before torch is loaded.
export OMP_WAIT_POLICY := PASSIVE
# Blocks that a solver frees and asks for at every step stay with the process instead of coming back as fresh pages (glibc).
export MALLOC_MMAP_THRESHOLD_ := 33554432
export MALLOC_TRIM_THRESHOLD_ := 536870912

.PHONY: demo test test-all lint types bench docs notebooks baselines clean
.DEFAULT_GOAL := test

demo: $(STAMP)
	$(VENV)/bin/physdiff demo --out demo

test: $(STAMP)
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(WORKERS) --dist loadfile -m "not slow" $(PYTEST_ARGS)

test-all: $(STAMP)
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

lint: $(STAMP)
	$(RUN) -m ruff check .

types: $(STAMP)
	$(RUN) -m mypy

bench: $(STAMP)
	@ls benchmarks/*.py >/dev/null 2>&1 || { echo "make bench: no scripts in benchmarks/ yet" >&2; exit 1; }
	set -e; for script in benchmarks/*.py; do $(RUN) $$script; done

docs: $(DOCS_STAMP)
	$(RUN) -m mkdocs build --strict --site-dir site

notebooks: $(NOTEBOOKS_STAMP)
	PHYSDIFF_DATA=$${PHYSDIFF_DATA:-$(abspath ../shared/data)} $(RUN) examples/notebooks.py --out examples/build

baselines: $(STAMP)
	OMP_NUM_THREADS=1 $(RUN) -m tests.baselines.test_baselines "$(REASON)"

clean:
	rm -rf $(VENV) demo site examples/build build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis lightning_logs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch first and alone, at its pin: a resolver that meets it later may fetch several gigabytes of another build before it settles.
$(STAMP): pyproject.toml $(CONSTRAINTS)
	@set -e; python=""; \
	for p in $(INTERPRETERS); do \
	  if $$p -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1; then python=$$p; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "physdiff: expected Python 3.11, 3.12 or 3.13 with venv and ensurepip on the PATH, found none among: $(INTERPRETERS); install one or say make PYTHON=/path/to/python" >&2; exit 1; \
	fi; \
	echo "physdiff: making $(VENV) with $$($$python --version), some minutes on the first run"; \
	$$python -m venv $(VENV)
	$(PIP) install $(TORCH)
	$(PIP) install -c $(CONSTRAINTS) -e '.[dev]'
	@touch $@

$(DOCS_STAMP): $(STAMP)
	$(PIP) install -c $(CONSTRAINTS) -e '.[docs]'
	@touch $@

$(NOTEBOOKS_STAMP): $(STAMP)
	$(PIP) install -c $(CONSTRAINTS) -e '.[notebooks]'
	@touch $@
