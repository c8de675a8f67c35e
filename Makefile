# `make` alone lists what there is to do.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help reproduce test lab notebooks exercises site records bench venv clean

PYTHON ?= python3
TORCH_INDEX ?=
PROFILE ?= smoke
DATA ?=
JOBS ?=
ONLY ?=
FORCE ?=
SEEDS ?=
DEVICE ?=

VENV := .venv
SITE := build/site
STAMP := $(VENV)/.installed
# PY=python takes an environment that has everything already (conda); else .venv is made and used.
ifdef PY
READY :=
else
PY := $(VENV)/bin/python
READY := $(STAMP)
endif

# $(call option,--name,VALUE): nothing where VALUE is empty, so that the defaults live in one place.
option = $(if $(2),$(1) "$(2)")
COMMON = --profile "$(PROFILE)" $(call option,--data,$(DATA)) $(call option,--jobs,$(JOBS)) \
	$(call option,--seeds,$(SEEDS)) $(call option,--device,$(DEVICE))

# Variables to test the notebooks under, such as NOTEBOOK_ENV="ATEN_CPU_CAPABILITY=default": their
# outputs must be those of the committed ones on every processor.
NOTEBOOK_ENV ?=
# Whole files to a worker: cells of a notebook need each other, tests of a file share what they trained.
SIDE_BY_SIDE = --numprocesses auto --maxprocesses 4 --dist loadfile

help: ## this list
	@echo "usage: make TARGET [VARIABLE=value ...]"
	@echo
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /|/' | \
		awk -F'|' '{printf "  %-10s %s\n", $$1, $$2}'
	@echo
	@echo "  PROFILE    smoke (default; CPU, minutes), quick, or full (the papers' settings, a GPU)"
	@echo "  DATA       folder of a dataset on disk, such as DATA=~/nyuv2; empty: the embedded data"
	@echo "  ONLY       notebooks or tables to take, such as ONLY=hitts or ONLY=00_tour"
	@echo "  JOBS       how many run side by side; SEEDS how many seeds a row; DEVICE cpu or cuda"
	@echo "  FORCE=1    run again what is already done"
	@echo "  PYTHON     the interpreter that makes .venv; PY=python uses your own environment instead"

reproduce: $(READY) ## every table and figure, by running all notebooks
	@$(PY) -m mtpsl reproduce $(COMMON) $(call option,--only,$(ONLY)) $(if $(FORCE),--force)

test: $(READY) ## style, unit tests, then every notebook against its committed outputs
	$(PY) -m ruff check .
	$(PY) -m pytest -q $(SIDE_BY_SIDE) tests
	$(NOTEBOOK_ENV) $(PY) -m pytest -q $(SIDE_BY_SIDE) --nbval notebooks

lab: $(READY) ## JupyterLab on the notebooks
	$(PY) -m jupyterlab --notebook-dir . --LabApp.default_url=/lab/tree/notebooks/00_tour.ipynb

notebooks: $(READY) ## build the .ipynb from the .py and run them (ONLY=)
	@$(PY) -m mtpsl reproduce --build $(call option,--only,$(ONLY))

exercises: $(READY) ## the method notebooks without their solutions, into notebooks/exercises
	@$(PY) -m mtpsl.exercises

site: $(READY) ## a searchable site from the pages and the committed notebooks, into build/site
	@rm -rf "$(SITE)"
	@$(PY) -m sphinx -E -q -W --keep-going -c docs -d build/doctrees . "$(SITE)"
	@echo "open $(SITE)/index.html"

records: PROFILE = quick
records: $(READY) ## fill in missing recorded results at PROFILE=quick, resumable
	@$(PY) -m mtpsl records $(COMMON) $(call option,--only,$(ONLY))

bench: $(READY) ## time and memory of a training step, and how fast data is read, as JSON
	@$(PY) -m tests.benchmarks.steps $(call option,--device,$(DEVICE))
	@$(PY) -m tests.benchmarks.rdc
	@$(PY) -m tests.benchmarks.tpkr
	@$(PY) -m tests.benchmarks.diffusion
	@$(PY) -m tests.benchmarks.data $(call option,--data,$(DATA))

venv: $(READY) ## only make .venv

clean: ## remove .venv and what smoke runs wrote; runs of other profiles stay
	rm -rf $(VENV) runs/smoke build dist *.egg-info .pytest_cache .ruff_cache
	find mtpsl tests notebooks -name __pycache__ -prune -exec rm -rf {} +

CHECK_PYTHON = import sys; v = tuple(sys.version_info[:2]); v >= (3, 11) or sys.exit( \
	"PYTHON: expected Python 3.11 or newer, got %d.%d; name another with make PYTHON=python3.12" % v)

$(STAMP): constraints.txt pyproject.toml
	@$(PYTHON) -c '$(CHECK_PYTHON)'
	@echo "Making $(VENV) with the versions of constraints.txt; this takes some minutes, once."
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install $(call option,--extra-index-url,$(TORCH_INDEX)) \
		-c constraints.txt torch torchvision
	$(VENV)/bin/python -m pip install -q -c constraints.txt -e '.[notebooks,test,site,timm,regions]'
	@touch $@
