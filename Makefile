# Each target does its own set-up in this checkout: nothing is installed outside of $(VENV).
#
#   make demo      the whole path on a small generated corpus
#   make test      the tests
#   make lint      formatting, lint and types
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

bin := $(VENV)/bin
stamp := $(VENV)/.installed

.PHONY: demo test lint format clean

demo: $(stamp)
	$(bin)/physioscale demo $(DEMO_ARGS)

test: $(stamp)
	OMP_NUM_THREADS=1 $(bin)/python -m pytest $(TEST_ARGS)

lint: $(stamp)
	$(bin)/ruff format --check .
	$(bin)/ruff check .
	$(bin)/mypy platform sharding recipes tests

format: $(stamp)
	$(bin)/ruff format .
	$(bin)/ruff check --fix .

clean:
	rm -rf $(VENV) build dist demo .mypy_cache .ruff_cache .pytest_cache

$(stamp): pyproject.toml .ci/find-cpu-torch
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed"'
	$(PYTHON) -m venv $(VENV) || { echo "On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	wheel=$$(sh .ci/find-cpu-torch $(bin)/python) && \
	  { test -z "$$wheel" || $(bin)/python -m pip install --quiet $(PIP_ARGS) "$$wheel"; }
	$(bin)/python -m pip install --quiet $(PIP_ARGS) --editable '.[dev]'
	touch $@
