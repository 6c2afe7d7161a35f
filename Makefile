# `make demo` and `make test` are the two commands of the README; each builds .venv when it is missing.
# Needs Python 3.11, 3.12 or 3.13 with pip. PYTHON=... names the interpreter.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do $$p -c "" 2>/dev/null && echo $$p && break; done)
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
SEED ?= 0
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lab explore handout book lint format notebooks regenerate bench pictures lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{ printf "  make %-12s %s\n", $$1, $$2 }'

demo: $(READY)  ## the main job on the twenty embedded images: report, properties, instances.csv (about two minutes)
	$(RUN) -m nbutils notebook benchmark -p COUNT 3 -p LOOK_AT 17 -p RADII_IMAGES 4 \
		-p SEED $(SEED) -p OUT_DIR vnnlib/demo \
		--out runs/demo/benchmark.ipynb --report runs/demo/report.html --pictures runs/demo/pictures
	@echo "report runs/demo/report.html, instances vnnlib/demo"

test: $(READY)  ## the test suite (ten minutes on two fast cores, up to forty on slow ones; JOBS=0: one test at a time)
	$(RUN) -m pytest -n $(JOBS) --dist loadgroup

test-all: $(READY)  ## the test suite and the slow tests
	$(RUN) -m pytest -n $(JOBS) --dist loadgroup -m ""

lab: $(READY)  ## JupyterLab on the notebooks
	$(RUN) -m jupyter lab --notebook-dir=. notebooks/benchmark.ipynb

explore: $(READY)  ## the explorer as a page of its own, served by voila
	$(RUN) -m voila notebooks/explore.ipynb --no-browser --template=lab --VoilaConfiguration.extension_denylist=@jupyter-notebook/lab-extension

handout: $(READY)  ## the lessons for a class, without solutions and with them, in runs/handout
	$(RUN) -m nbutils handout runs/handout

book: $(READY)  ## lessons, notebooks, guide and reference as one static site in runs/book/html; runs seven notebooks
	$(RUN) docs/book/build.py runs/book

lint: $(READY)  ## ruff and mypy
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: $(READY)  ## put code and notebooks into the form that lint asks for
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

notebooks: $(READY)  ## run every notebook with its defaults
	for path in notebooks/*.ipynb; do $(RUN) -m nbutils notebook $$path || exit 1; done

regenerate: $(READY)  ## a benchmark from SEED: draw, export, audit, report; REGENERATE="-p NAME VALUE" sets more
	$(RUN) -m nbutils notebook regenerate -p SEED $(SEED) $(REGENERATE) \
		--out runs/regenerate/regenerate.ipynb --report runs/regenerate/report.html

pictures: demo  ## the README's pictures: the demonstration's ladder, and the explorer (needs Chromium)
	mkdir -p notebooks/pictures
	cp runs/demo/pictures/margin-ladder.png notebooks/pictures/
	$(RUN) tests/render_explorer.py runs/explorer
	cp runs/explorer/explorer.png runs/explorer/explorer.gif notebooks/pictures/

bench: $(READY)  ## seconds and memory beside the network's raw passes
	$(RUN) -m nbutils bench

lock: $(READY)  ## write constraints.txt anew from what is installed
	$(RUN) -m pip freeze --exclude-editable | grep -vi '^auto.lirpa' > constraints.txt

clean:  ## remove .venv, runs and vnnlib/demo
	rm -rf $(VENV) runs vnnlib/demo

$(READY): requirements.txt requirements-no-deps.txt constraints.txt pyproject.toml tests/preflight.py
	@test -n "$(PYTHON)" || { echo "No Python was found. Install Python 3.11, 3.12 or 3.13, or give PYTHON=path."; exit 2; }
	@$(PYTHON) tests/preflight.py $(VENV)
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --disable-pip-version-check --progress-bar on --requirement requirements.txt --constraint constraints.txt
	$(RUN) -m pip install --disable-pip-version-check --quiet --no-deps --requirement requirements-no-deps.txt
	$(RUN) -m pip install --disable-pip-version-check --quiet --no-deps --editable .
	@touch $@
