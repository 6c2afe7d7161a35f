# The two commands of the README are `make demo` and `make test`; each builds .venv when it is missing.
# Needs Python 3.11 and pip. PYTHON=... names another interpreter.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: demo test test-all lab lint format notebooks regenerate bench pictures lock clean

SEED ?= 0

demo: $(READY)  ## the main job on the twenty embedded images: properties, instances.csv, report
	$(RUN) -m nbutils notebook benchmark -p COUNT 3 -p LOOK_AT 17 -p RADII_IMAGES 4 \
		-p SEED $(SEED) -p OUT_DIR vnnlib/demo \
		--out runs/demo/benchmark.ipynb --report runs/demo/report.html --pictures runs/demo/pictures
	@echo "instances vnnlib/demo"

test: $(READY)  ## the default suite
	$(RUN) -m pytest

test-all: $(READY)  ## the default suite and the slow tests
	$(RUN) -m pytest -m ""

lab: $(READY)  ## JupyterLab on the notebooks
	$(RUN) -m jupyter lab --notebook-dir=. notebooks/benchmark.ipynb

lint: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

format: $(READY)
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

notebooks: $(READY)  ## run every notebook with its defaults
	for path in notebooks/*.ipynb; do $(RUN) -m nbutils notebook $$path || exit 1; done

regenerate: $(READY)  ## a benchmark from SEED: draw, export, audit, report; REGENERATE="-p NAME VALUE" sets more
	$(RUN) -m nbutils notebook regenerate -p SEED $(SEED) $(REGENERATE) \
		--out runs/regenerate/regenerate.ipynb --report runs/regenerate/report.html

pictures: demo  ## the README's picture, out of the demonstration's notebook
	mkdir -p notebooks/pictures
	cp runs/demo/pictures/margin-ladder.png notebooks/pictures/

bench: $(READY)  ## seconds and memory beside the network's raw passes
	$(RUN) -m nbutils bench

lock: $(READY)  ## rewrite constraints.txt from what is installed
	$(RUN) -m pip freeze --exclude-editable | grep -vi '^auto.lirpa' > constraints.txt

clean:
	rm -rf $(VENV) runs vnnlib/demo

$(READY): requirements.txt requirements-no-deps.txt constraints.txt pyproject.toml
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --requirement requirements.txt --constraint constraints.txt
	$(RUN) -m pip install --quiet --no-deps --requirement requirements-no-deps.txt
	$(RUN) -m pip install --quiet --no-deps --editable .
	touch $@
