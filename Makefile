# Two commands are enough: `make test` and `make book`. Each makes the environment first.
PYTHON ?= python3
PROFILE ?= quick
DATA ?= data
ONLY ?= *
# Notebooks at a time: quick ones are alike and take a core each, a longer training gets all cores.
CORES := $(shell env -u OMP_NUM_THREADS nproc 2>/dev/null || sysctl -n hw.ncpu)
JOBS ?= $(if $(filter quick,$(PROFILE)),$(CORES),1)
QUESTIONS ?= loop_speed fsft_overhead table5 layout roofline step_profile seeds class_maps
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
STEP = env PYTHONPATH="book$${PYTHONPATH:+:$$PYTHONPATH}" $(BIN)/python -P -m builder --profile "$(PROFILE)" --data-dir "$(DATA)"
EXECUTED := _build/executed/$(PROFILE)
CLUSTER := .venv-cluster

.PHONY: help venv lint format test test-lowest test-colab test-cluster book executed check-book lab bench torture gpu gpu-tree verify lock clean FORCE

help:
	@echo "make test                     environment, then the tests"
	@echo "make test-lowest test-colab   the tests with the lowest versions allowed, and with Colab's (5 GB each)"
	@echo "make test-cluster             the workflow on a Slurm of its own (as root; installs Debian's slurm-wlm)"
	@echo "make book                     environment, notebooks executed, book in _build/html"
	@echo "make book PROFILE=laptop DATA=path   the same on real CIFAR-100 and tiny-ImageNet"
	@echo "make executed ONLY='12*'      these notebooks executed, no pages"
	@echo "make check-book               the built pages in headless Chromium"
	@echo "make lab                      JupyterLab on the notebooks"
	@echo "make lint format              ruff, mypy, zizmor"
	@echo "make bench DEVICE=cpu|cuda    the benchmarks"
	@echo "make torture                  random kills, damages, races and bad input; the counts and their page"
	@echo "make gpu BUDGET=900 OUT=out   GPU tests, measurements, then the paper's next runs, in so many seconds"
	@echo "make gpu-tree                 the tree for a machine without git, in _build/fsft-tree.tar.gz"
	@echo "make verify                   check every file in results/"
	@echo "make lock                     renew both requirements.txt (needs uv)"

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
	$(BIN)/python -m pytest -m "not book and not cluster"

$(CLUSTER)/.ready: workflow/requirements.txt
	$(PYTHON) -m venv $(CLUSTER)
	$(CLUSTER)/bin/python -m pip install --quiet --require-hashes -r workflow/requirements.txt
	touch $@

test-cluster: $(READY) $(CLUSTER)/.ready
	command -v slurmctld >/dev/null || { apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends slurm-wlm munge slurm-client >/dev/null; }
	$(BIN)/python -m pytest -m cluster tests/cluster

# The bounds of pyproject.toml are true: its lowest versions, and Colab's without the extras, pass the tests.
INSTALL_lowest := --resolution lowest-direct --editable .[cam,test]
INSTALL_colab := --editable .[test] torch==2.11.* torchvision==0.26.* numpy==2.0.* pandas==2.2.*

.venv-%/.ready: pyproject.toml
	$(PYTHON) -m venv --clear .venv-$*
	.venv-$*/bin/python -m pip install --quiet uv
	.venv-$*/bin/uv pip install --quiet --python .venv-$* $(INSTALL_$*)
	touch $@

test-lowest test-colab: test-%: .venv-%/.ready
	.venv-$*/bin/python -m pytest -m "not book and not cluster"

book: $(READY)
	@$(MAKE) --no-print-directory --jobs=$(JOBS) executed
	@$(STEP) stage
	@$(STEP) extras
	$(BIN)/jupyter-book build --all --quiet -W -n --keep-going _build/book
	@$(STEP) finish
	@ln -sfn book/_build/html _build/html
	@echo "the book: _build/html/index.html"

# `exec`, so that a signal to make reaches the step and not a shell around it.
# A notebook runs again when it, or what `key` is the digest of, has changed since its last good execution.
executed: $(patsubst notebooks/%,$(EXECUTED)/%,$(wildcard notebooks/$(ONLY).ipynb))

$(EXECUTED)/%.ipynb: notebooks/%.ipynb $(EXECUTED)/key
	@exec $(STEP) execute $<

$(EXECUTED)/key: FORCE | $(READY)
	@$(STEP) key

check-book: $(READY)
	FSFT_REQUIRE_BOOK=1 $(BIN)/python -m pytest -m book

lab: $(READY)
	$(BIN)/jupyter lab notebooks

# Eight questions on a GPU in ten minutes; on a CPU as long as they take.
bench: $(READY)
	for question in $(QUESTIONS); do $(BIN)/python benchmarks/$$question.py --device $(or $(DEVICE),cpu) \
		$(if $(filter cuda%,$(DEVICE)),--seconds 65) || exit 1; done

# What the package withstands: a few minutes of random kills, damages, races and bad input; writes the counts and the page.
torture: $(READY)
	$(BIN)/python benchmarks/torture.py

# Needs no environment of its own: any Python with the base dependencies will do, such as Colab's.
gpu:
	PYTHONPATH=. $(if $(wildcard $(READY)),$(BIN)/python,$(PYTHON)) benchmarks/gpu.py --budget $(BUDGET) --out $(OUT) \
		--device $(or $(DEVICE),cuda) --data-dir $(DATA) $(if $(FIT),--fit)

# The committed tree, with a file that says which commit it is, for a machine without git.
gpu-tree:
	printf '{"commit": "%s", "tree": "%s", "dirty": false}\n' $$(git rev-parse HEAD 'HEAD^{tree}') > COMMIT
	mkdir -p _build && git archive --add-file=COMMIT --output=_build/fsft-tree.tar.gz HEAD

verify: $(READY)
	$(BIN)/fsft verify

lock:
	uv pip compile pyproject.toml --extra cam --extra book --extra test --extra dev --python-version 3.11 --generate-hashes \
		--no-annotate --no-header --no-emit-index-url --upgrade --output-file requirements.txt
	uv pip compile workflow/requirements.in --python-version 3.11 --generate-hashes \
		--no-annotate --no-header --no-emit-index-url --upgrade --output-file workflow/requirements.txt

clean:
	rm -rf _build
