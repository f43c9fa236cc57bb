# Paper Lab. `make course` is all that a learner needs; `make help` lists the rest.
#
#   make course PYTHON=python3.12    another Python (3.11 or newer) for the environment
#   make course INSTALLER=pip        install with pip alone; otherwise uv is tried first
#   make build LESSONS=01            one lesson; also for `baseline`
#   make lab ARGS=--no-browser       options of JupyterLab
#   make course JOBS=1               one lesson at a time, on a machine with a single core; also for `test`, `baseline`

PYTHON ?= python3
INSTALLER ?= uv
LESSONS ?=
SEEDS ?= 0-7
JOBS ?= 2
ARGS ?=

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# With `user = true` in a pip.conf nothing can be installed into an environment.
export PIP_USER := 0

# Not to be overridden: an incomplete environment is thrown away.
override VENV := .venv
override BIN := $(VENV)/bin
override STAMP := $(VENV)/.installed

# What `labkit run` does for its kernels (labkit/course/kernel.py), for those that nbval and JupyterLab start. Jupyter
# looks here first, so that `python3` is this environment's whatever else the user has installed; the user's
# matplotlibrc does not decide how a lesson runs; folders named relative to here become absolute, since a notebook runs
# in its own.
KERNELS = env JUPYTER_PATH="$(CURDIR)/$(VENV)/share/jupyter$${JUPYTER_PATH:+:$$JUPYTER_PATH}" MATPLOTLIBRC=/dev/null \
	$(call absolute,LABKIT_DATA) $(call absolute,LABKIT_CACHE)
absolute = $${$(1):+"$(1)=$$([[ $$$(1) == [/~]* ]] || echo "$$PWD/")$$$(1)"}

# Long lines of code are wrapped, where nobody has chosen otherwise: with the sidebar open they would be cut off.
LAB_DEFAULTS = JUPYTER_CONFIG_PATH="$(CURDIR)/labkit/lab/jupyter$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}"

# The user's start-up files act in JupyterLab, where they are part of how somebody works, and not in a test.
TESTED = env -u PYTHONSTARTUP IPYTHONDIR="$(CURDIR)/build/test/ipython" $(KERNELS)

.PHONY: help install course lab test bench lint build baseline docs lock clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

course: install ## install, run every lesson at the profile `quick`, and write build/course/report.html
	@$(BIN)/labkit run --profile quick --jobs $(JOBS)

# A copy that cannot be brought up to date is named, and does not keep the others from being opened.
lab: install ## bring your own copies of the lessons in work/ up to date and open them in JupyterLab
	@$(BIN)/labkit update || test -d work
	@$(KERNELS) $(LAB_DEFAULTS) $(BIN)/python -m jupyterlab work/ $(ARGS)

# Two workers, for two cores. A file stays on one of them, but for what tests/conftest.py says; it also sets the order.
# Each plugin that the unit tests do not need costs a second or two in each process.
test: lint ## check style, unit tests, the stored notebooks, and the results against their baselines
	@echo "== unit tests"
	@$(BIN)/python -m pytest tests --ignore=tests/benchmarks -n 2 --dist loadfile --no-loadscope-reorder \
		-p no:nbval -p no:benchmark -p no:anyio
	@echo "== nbval: the stored notebooks, cell by cell"
	@rm -rf build/test/records build/test/ipython
	@LABKIT_BATCH=1 LABKIT_RECORDS="$(CURDIR)/build/test/records" $(TESTED) $(BIN)/python -m pytest -n 2 --dist loadfile \
		--nbval-lax --nbval-current-env --nbval-cell-timeout=600 notebooks/*.ipynb
	@echo "== regression: what they recorded against notebooks/baselines/quick.json"
	@$(BIN)/labkit verify --records build/test/records --jobs $(JOBS)

lint: install ## check style and formatting
	@echo "== lint"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

bench: install ## measure what the course promises about speed
	@$(BIN)/python -m pytest tests/benchmarks

build: install ## build the notebooks from notebooks/source
	@$(BIN)/labkit build $(LESSONS)

baseline: install ## derive notebooks/baselines/quick.json from SEEDS (0-7)
	@$(BIN)/labkit baseline --profile quick --seeds $(SEEDS) --jobs $(JOBS) $(LESSONS)

docs: install ## build the site from docs/ into build/docs; a warning is an error
	@$(BIN)/sphinx-build -W -b html docs build/docs

lock: ## pin the dependencies in pyproject.toml again; UPGRADE=1 takes the newest versions
	@$(PYTHON) -m venv build/lock
	@build/lock/bin/python -m pip install --quiet --require-hashes -r <($(UV))
	@build/lock/bin/uv pip compile pyproject.toml --quiet --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --no-emit-find-links $(if $(UPGRADE),--upgrade) --output-file requirements.lock
	@if grep -n '://' requirements.lock; then echo "requirements.lock must not hold an address" >&2; exit 1; fi

clean: ## remove what runs and tests have written; the environment stays
	rm -rf build docs/_build docs/lessons .pytest_cache .ruff_cache .benchmarks
	find labkit tests notebooks \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

# The lines of the lock that are about uv, which installs the others: its version and its hashes.
override UV := awk '/^[^ ]/ { uv = /^uv==/ } uv' requirements.lock

install: $(STAMP)

# The stamp names the folder it was made in: an environment that was moved or only half made is made anew, and so is one
# whose Python no longer runs, as after an upgrade of the Python that it was made with.
override MADE_IN := $(shell $(BIN)/python -c '' 2>/dev/null && cat $(STAMP) 2>/dev/null)
ifneq ($(MADE_IN),$(CURDIR))
.PHONY: $(STAMP)
endif

# Compiled here, once: otherwise each kernel compiles what it imports, 6 s every time where Python may not write .pyc files.
# The trap: Ctrl-C ends uv but not the shell, which would then go on with pip.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"Paper Lab needs Python 3.11 or newer, and $(PYTHON) is %d.%d: try `make PYTHON=python3.12 $(MAKECMDGOALS)`." \
		% sys.version_info[:2])'
	@echo "== installing into $(VENV)"
	@if [ "$(MADE_IN)" = "$(CURDIR)" ]; then rm $@; else $(PYTHON) -m venv --clear $(VENV); fi
	@trap 'exit 130' INT; \
	if ! { [ "$(INSTALLER)" = uv ] && $(BIN)/python -m pip install --quiet --require-hashes -r <($(UV)) \
			&& $(BIN)/uv pip sync --python $(BIN)/python --compile-bytecode --require-hashes requirements.lock; }; then \
		echo "== without uv: pip takes a few minutes"; \
		$(BIN)/python -m pip install --require-hashes -r requirements.lock; \
	fi
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@printf '%s' "$(CURDIR)" > $@
