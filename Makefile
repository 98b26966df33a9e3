# Two commands are enough: `make test` and `make book`. Each makes the environment first.
PYTHON ?= python3
PROFILE ?= quick
DATA ?= data
DEVICE ?= cpu
QUESTIONS ?= loop_speed fsft_overhead table5 layout roofline step_profile seeds class_maps
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help venv lint format test book check-book lab bench verify lock clean

help:
	@echo "make test                     environment, then the tests"
	@echo "make book                     environment, notebooks executed, book in _build/html"
	@echo "make book PROFILE=laptop DATA=path   the same on real CIFAR-100 and tiny-ImageNet"
	@echo "make check-book               the built pages in headless Chromium"
	@echo "make lab                      JupyterLab on the notebooks"
	@echo "make lint format              ruff, mypy, zizmor"
	@echo "make bench DEVICE=cpu|cuda    the benchmarks"
	@echo "make verify                   check every file in results/"
	@echo "make lock                     renew requirements.txt from pyproject.toml (needs uv)"

venv: $(READY)

$(READY): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/zizmor --offline --quiet .github/workflows

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(READY)
	$(BIN)/python -m pytest -m "not book"

book: $(READY)
	$(BIN)/fsft book build --profile $(PROFILE) --data-dir $(DATA)

check-book: $(READY)
	FSFT_REQUIRE_BOOK=1 $(BIN)/python -m pytest -m book

lab: $(READY)
	$(BIN)/jupyter lab notebooks

bench: $(READY)
	for question in $(QUESTIONS); do $(BIN)/python benchmarks/$$question.py --device $(DEVICE) || exit 1; done

verify: $(READY)
	$(BIN)/fsft verify

lock:
	uv pip compile pyproject.toml --extra cam --extra book --extra dev --python-version 3.11 --generate-hashes \
		--no-annotate --no-header --no-emit-index-url --upgrade --output-file requirements.txt

clean:
	rm -rf _build
