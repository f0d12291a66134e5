# Each target does its own set-up in this checkout: nothing is installed outside of $(VENV).
#
#   make demo      the whole path on a small generated corpus
#   make test      the tests
#   make lint      formatting, lint and types
#   make promises  every promise at its full figure (hours; goes on where it was stopped)
#   make bench     physioscale measured beside its peers, in an environment of its own
#   make slurm-up, make slurm-down     a SLURM cluster of two nodes on this host (needs root)
#
# PIP_ARGS is passed to every `pip install`, for example
#   make test PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
# for a torch without CUDA. A CPU wheel of torch in a folder that pip is set up to look in
# (find-links) is taken first.

PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
DEMO_ARGS ?=
TEST_ARGS ?=
PROMISES_ARGS ?=
BENCH_VENV ?= .venv-bench
BENCH_ARGS ?=
SLURM_DIR ?= /tmp/physioscale-slurm

bin := $(VENV)/bin
stamp := $(VENV)/.installed
bench_stamp := $(BENCH_VENV)/.installed

.PHONY: demo test promises bench lint format slurm-up slurm-down clean

demo: $(stamp)
	$(bin)/physioscale demo $(DEMO_ARGS)

test: $(stamp)
	OMP_NUM_THREADS=1 $(bin)/python -m pytest $(TEST_ARGS)

# BENCH_ARGS: conversion or streaming (default: both), --quick, --date 2026-11-20
bench: $(bench_stamp)
	$(BENCH_VENV)/bin/python -m tests.benchmarks.run $(BENCH_ARGS)

promises: $(stamp)
	$(bin)/python -m tests.promises.run $(PROMISES_ARGS)

lint: $(stamp)
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/mypy platform sharding recipes slurm tests

format: $(stamp)
	$(bin)/ruff format .
	$(bin)/ruff check --fix .

slurm-up:
	@$(PYTHON) slurm/dev_cluster.py up $(SLURM_DIR)

slurm-down:
	@$(PYTHON) slurm/dev_cluster.py down $(SLURM_DIR)

clean:
	rm -rf $(VENV) $(BENCH_VENV) build dist demo .mypy_cache .ruff_cache .pytest_cache

$(stamp): packages = '.[dev]'
$(bench_stamp): packages = . --requirement tests/benchmarks/requirements.txt
$(bench_stamp): tests/benchmarks/requirements.txt

$(stamp) $(bench_stamp): pyproject.toml .ci/find-cpu-torch
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed"'
	$(PYTHON) -m venv $(@D) || { echo "On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	wheel=$$(sh .ci/find-cpu-torch $(@D)/bin/python) && \
	  { test -z "$$wheel" || $(@D)/bin/python -m pip install --quiet $(PIP_ARGS) "$$wheel"; }
	$(@D)/bin/python -m pip install --quiet $(PIP_ARGS) --editable $(packages)
	touch $@
