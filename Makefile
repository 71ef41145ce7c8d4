# Every target sets up .venv with the pinned packages first, then does its job. It needs make, bash and Python 3.11+.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
PORT ?= 5000
EXPERIMENT ?= reid
NODES ?= 2
VENV := .venv
INSTALLED := $(VENV)/.installed
STORAGE = $(or $(REID_STORAGE),$(HOME)/reid)

.PHONY: help pipeline test test-fast bench chaos cluster outages ui lint docs audit

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

pipeline: $(INSTALLED) ## train and score FGSAM on the embedded benchmark; ARGS='--set phases.final.epochs=3' changes settings
	$(VENV)/bin/python jobs/full_pipeline.py --preset demo $(ARGS)

test: $(INSTALLED) ## run the tests, two at a time; ARGS='tests/losses -k focal' picks some
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

test-fast: $(INSTALLED) ## run the tests that start no cluster and are soon over
	$(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile -m 'not protocol and not cluster and not slow' $(ARGS)

bench: $(INSTALLED) ## measure speed and memory on this machine
	$(VENV)/bin/python benchmarks/run.py $(ARGS)

chaos: $(INSTALLED) ## kill parts of running jobs and look what it costs; ARGS='--kills 10 --seed 3', 50 take about an hour
	$(VENV)/bin/python benchmarks/chaos.py $(ARGS)

outages: $(INSTALLED) ## train while MLflow's server is stopped, dead, restarted, silent or failing, and look what it costs
	$(VENV)/bin/python benchmarks/outages.py $(ARGS)

cluster: $(INSTALLED) ## start a cluster of several nodes on this machine, with S3, PostgreSQL and MLflow, until Ctrl-C; NODES=3
	@PYTHONPATH=tests $(VENV)/bin/python -m bed --nodes "$(NODES)"

ui: $(INSTALLED) ## open the experiment browser of $REID_STORAGE (default ~/reid) on 127.0.0.1; PORT=5001 moves it
	@$(VENV)/bin/reid ui --storage "$(STORAGE)" --port "$(PORT)" --experiment "$(EXPERIMENT)"

lint: $(INSTALLED) ## check style and types
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

docs: $(INSTALLED) ## build docs/ and the reference of the package as a site in build/docs
	$(VENV)/bin/sphinx-build -W --keep-going --nitpicky --quiet -d build/doctrees docs build/docs
	@echo "open build/docs/index.html"

audit: $(INSTALLED) ## ask for known vulnerabilities of the pinned packages; needs the network
	$(VENV)/bin/pip-audit --strict --disable-pip --require-hashes --requirement requirements.lock

$(INSTALLED): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 15) else "Python 3.11 to 3.14 is needed: make test PYTHON=python3.12")'
	@echo "Setting up $(VENV): some minutes and gigabytes, once."
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --disable-pip-version-check --progress-bar off \
	  --require-hashes --requirement requirements.lock \
	  | awk '/^Collecting/ {printf "\r  %d packages fetched", ++n} /^Installing collected/ {printf "\n  unpacking them"} {fflush()} END {print ""}'
	@$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@
