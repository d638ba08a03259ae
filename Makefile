# `make demo` and `make test` are the two main commands; `make help` lists all targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WITHOUT_PIP_NOISE := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# Resolves and checks requirements for other systems; installed only by the targets that use it.
UV := $(BIN)/uv
UV_VERSION := 0.13.9
WHEEL_PYTHONS := 3.11 3.12 3.13
WHEEL_SYSTEMS := windows aarch64-apple-darwin x86_64-unknown-linux-gnu

# Installed once, and again when a lock changes: what users need, and on top of it what developers need.
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALL := $(WITHOUT_PIP_NOISE) $(BIN)/python -m pip install --quiet --no-compile --require-hashes --requirement
COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-emit-find-links --custom-compile-command 'make lock' --group build

.PHONY: help setup setup-dev demo test test-all test-night coverage check wheels package screenshots format lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(INSTALLED)  ## install EveryFrame and its locked dependencies into .venv

setup-dev: $(INSTALLED_DEV)  ## the same, and the tools and tests for contributors

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "EveryFrame needs Python 3.11 or newer; this is $$($(PYTHON) --version 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv module is missing. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing EveryFrame into $(VENV) (once; about 230 MB to download, 750 MB on disk) ..."
	@# An older checkout installed opencv-python, whose files the headless wheel would overwrite: decision 0002.
	@! ls -d $(VENV)/lib/python*/site-packages/opencv_python-*.dist-info >/dev/null 2>&1 || $(WITHOUT_PIP_NOISE) $(BIN)/python -m pip uninstall -qq --yes opencv-python opencv-python-headless
	@$(INSTALL) requirements.lock
	@$(WITHOUT_PIP_NOISE) $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(INSTALLED_DEV): $(INSTALLED) requirements-dev.lock
	@echo "Installing the tools and tests for contributors (once; about 450 MB more on disk) ..."
	@$(INSTALL) requirements-dev.lock
	@touch $@

demo: setup  ## describe a sample clip, or VIDEO=path, from start to finish
	@$(BIN)/everyframe demo $(if $(VIDEO),"$(VIDEO)")

test: setup-dev  ## run the checks and the fast tests (a few minutes)
	@$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-all: setup-dev  ## run the slow tests
	$(BIN)/python -m pytest -m slow --ignore=tests/night

test-night: setup-dev  ## run the fault injection tests: kills, power loss, full disks (35 minutes, needs an idle machine)
	$(BIN)/python -m pytest -m slow tests/night

coverage: setup-dev  ## run the fast tests with coverage and print it (about a third slower than without)
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile --cov --cov-report=term:skip-covered

check: setup-dev  ## lint, format, types, import layers, dead code and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture
	$(BIN)/codespell

wheels: $(UV)  ## check that every locked dependency has a wheel for Windows x64, macOS 14 arm64 and Linux x86_64
	@# requirements-dev.lock holds all of requirements.lock: tests/house/test_dependencies.py.
	@for python in $(WHEEL_PYTHONS); do for system in $(WHEEL_SYSTEMS); do \
	    MACOSX_DEPLOYMENT_TARGET=14.0 $(UV) pip install --quiet --dry-run --target $(VENV)/.wheels --no-deps --only-binary :all: \
	        --python-platform $$system --python-version $$python --requirement requirements-dev.lock || exit 1; \
	    echo "all wheels available: $$system, Python $$python"; \
	done; done

$(UV): | $(INSTALLED)
	@$(WITHOUT_PIP_NOISE) $(BIN)/python -m pip install --quiet uv==$(UV_VERSION)

package: setup-dev  ## build the wheel and the source distribution into dist/
	$(BIN)/python -m hatchling build

screenshots: setup-dev  ## take the screenshots in docs/screenshots, with the videos in VIDEOS=folder (needs Chromium)
	@$(BIN)/python -m bench.screenshots $(if $(VIDEOS),"$(VIDEOS)")

format: setup-dev  ## fix and format the code with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(UV)  ## resolve the dependencies and write both lock files
	$(COMPILE) --extra claude --output-file requirements.lock pyproject.toml
	$(COMPILE) --all-extras --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml

clean:  ## remove .venv, dist/ and all caches
	rm -rf $(VENV) dist .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
