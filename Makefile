# `make help` lists the targets. Those that need the environment .venv make it themselves.

# The Python that starts the set-up: any version from 3.6 on.
BOOTSTRAP_PYTHON ?= python3
PYTHON := .venv/bin/python

# What `make train` trains on, for how many frames, and in how many episodes of each task the result is
# evaluated. ARGS is handed on to the program.
SUITE ?= atari3
FRAMES ?= 1700000
EPISODES ?= 10
ARGS ?=

.PHONY: help setup setup-cuda setup-vertex train test test-slow test-core test-by-hand test-browser lint format docs docs-serve lock clean

help:
	@echo "make setup      make the environment .venv from requirements.lock"
	@echo "make setup-cuda  the same, with JAX for NVIDIA GPUs"
	@echo "make setup-vertex  the same, with what --launch_type=vertex_ai needs"
	@echo "make train      train on SUITE=$(SUITE) for FRAMES=$(FRAMES) frames; ARGS=more flags"
	@echo "make test       quick tests; ARGS=more arguments of pytest"
	@echo "make test-slow  tests that start whole programs or train"
	@echo "make test-core  tests of what needs no Launchpad, on the newest Python that is found"
	@echo "make test-by-hand  a soak, plain IMPALA as a control, Vertex AI's images and job"
	@echo "make test-browser  tests that open pages in Chromium; gets it where apt-get can"
	@echo "make lint       formatter, linter, type checker, BUILD, who imports whom; changes nothing"
	@echo "make format     format the code and sort its imports"
	@echo "make docs       the documentation site in site/, strictly: a broken link fails it"
	@echo "make docs-serve the same on http://localhost:8000, rebuilt when a page changes"
	@echo "make lock       resolve requirements*.in into the locks; ARGS=--upgrade"
	@echo "make clean      remove the environment and all caches, but not runs/"

setup:
	@$(BOOTSTRAP_PYTHON) tools/bootstrap.py setup

setup-cuda:
	@$(BOOTSTRAP_PYTHON) tools/bootstrap.py cuda

setup-vertex:
	@$(BOOTSTRAP_PYTHON) tools/bootstrap.py vertex

train: setup
	$(PYTHON) -m launch_programs.train --level_name=$(SUITE) --total_environment_frames=$(FRAMES) --test_num_episodes=$(EPISODES) $(ARGS)

test: setup
	$(PYTHON) -m pytest --numprocesses=logical --maxprocesses=8 --dist=loadfile --no-loadscope-reorder --durations=20 $(ARGS)

test-slow: setup
	$(PYTHON) -m pytest -m slow --numprocesses=2 --dist=loadfile --no-loadscope-reorder --durations=40 $(ARGS)

# The last line plays with the wheel that is installed, from where it does not see these files.
test-core:
	@$(BOOTSTRAP_PYTHON) tools/bootstrap.py core
	@if [ -x .venv-core/bin/python ]; then \
	  .venv-core/bin/python -m pytest --numprocesses=logical --maxprocesses=8 --dist=loadfile --no-loadscope-reorder \
	    tests/agents tests/environments tests/examples $(ARGS) && \
	  cd / && "$(CURDIR)/.venv-core/bin/python" "$(CURDIR)/examples/play_exported.py" \
	    "$(CURDIR)/examples/atari3.policy.npz" 1; \
	fi

test-by-hand: setup-vertex
	$(PYTHON) -m pytest -m "" contrib/vertex $(ARGS)
	$(PYTHON) -m pytest -m by_hand tests/benchmarks tests/environments tests/integration $(ARGS)

test-browser: setup
	@$(BOOTSTRAP_PYTHON) tools/browser.py
	$(PYTHON) -m pytest -m browser $(ARGS)

lint: setup
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m ruff check
	$(PYTHON) -m mypy
	$(PYTHON) -m tools.check_build
	.venv/bin/lint-imports --no-cache --no-logo

format: setup
	$(PYTHON) -m ruff format
	$(PYTHON) -m ruff check --fix

docs: setup
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --clean
	@echo "The documentation is in $(CURDIR)/site/index.html"

docs-serve: setup
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs serve

lock:
	@$(BOOTSTRAP_PYTHON) tools/bootstrap.py lock $(ARGS)

clean:
	rm -rf .venv .venv-core .venv-tools .pytest_cache .mypy_cache .ruff_cache .jax_cache build dist site *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
