# The two commands: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WITHOUT_PIP_NOISE := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

# uv reads requirements for other systems than this one; it is fetched by what needs it.
UV := $(BIN)/uv
UV_VERSION := 0.13.9
WHEEL_PYTHONS := 3.11 3.12 3.13
WHEEL_SYSTEMS := windows aarch64-apple-darwin x86_64-unknown-linux-gnu

.PHONY: help setup demo test test-all test-night check wheels screenshots format lock clean

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.installed  ## install everything into .venv, from the lock file

$(VENV)/.installed: requirements.lock requirements-headless.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "EveryFrame needs Python 3.11 or newer; this is $$($(PYTHON) --version 2>&1). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv module is missing. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing EveryFrame into $(VENV) (once; about 200 MB) ..."
	@$(WITHOUT_PIP_NOISE) $(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	@# A machine without a desktop lacks the window libraries opencv-python links to: the same cv2 without windows then.
	@$(BIN)/python -c 'import cv2' 2>/dev/null || { echo "No desktop libraries here: using OpenCV without windows."; $(WITHOUT_PIP_NOISE) $(BIN)/python -m pip install --quiet --force-reinstall --no-deps --require-hashes --requirement requirements-headless.lock; }
	@$(WITHOUT_PIP_NOISE) $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup  ## enrich a sample clip, or VIDEO=path, from end to end
	@$(BIN)/everyframe demo $(if $(VIDEO),"$(VIDEO)")

test: setup  ## the checks and the tests, in some minutes
	@$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-all: setup  ## the slow tests alone
	$(BIN)/python -m pytest -m slow --ignore=tests/night

test-night: setup  ## whole nights in short: kills, power cuts, full disks; a quarter of an hour of an idle machine
	$(BIN)/python -m pytest -m slow tests/night

check: setup  ## lint, types, import rules and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

wheels: $(UV)  ## does the lock install on Windows x64, macOS 14 arm64 and Linux x86_64 without compiling anything?
	@for python in $(WHEEL_PYTHONS); do for system in $(WHEEL_SYSTEMS); do \
	    MACOSX_DEPLOYMENT_TARGET=14.0 $(UV) pip install --quiet --dry-run --target $(VENV)/.wheels --no-deps --only-binary :all: \
	        --python-platform $$system --python-version $$python --requirement requirements.lock || exit 1; \
	    echo "wheels alone: $$system, Python $$python"; \
	done; done

$(UV): | setup
	@$(WITHOUT_PIP_NOISE) $(BIN)/python -m pip install --quiet uv==$(UV_VERSION)

screenshots: setup  ## pictures of every page for docs/screenshots, of a library of VIDEOS=folder (needs Chromium)
	@$(BIN)/python -m bench.screenshots $(if $(VIDEOS),"$(VIDEOS)")

format: setup  ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(UV)  ## resolve the dependencies anew
	$(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' --all-extras --output-file requirements.lock pyproject.toml
	grep -m1 '^opencv-python==' requirements.lock | sed -E 's/^opencv-python(==[^ ]+).*/opencv-python-headless\1/' | $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-deps --no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' --output-file requirements-headless.lock -

clean:  ## remove the installation and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
