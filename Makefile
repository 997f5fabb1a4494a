# Only conveniences: every target is a command or two that can be typed by hand.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STARTED := $(shell date +%s)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Where the shell forbids bytecode, each stage would compile torch and transformers anew: 15 s each
export PYTHONDONTWRITEBYTECODE :=
# uv installs in seconds what takes pip minutes; it is told where pip was told to look
PIP_SAYS = $$($(BIN)/python -m pip config get global.$(1) 2>/dev/null || true)
UV = @export PATH="$(CURDIR)/$(BIN):$$PATH"; \
	index="$${PIP_INDEX_URL:-$(call PIP_SAYS,index-url)}"; \
	more="$${PIP_EXTRA_INDEX_URL:-$(call PIP_SAYS,extra-index-url)}"; \
	links="$${PIP_FIND_LINKS:-$(call PIP_SAYS,find-links)}"; \
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
	if [ -n "$$more" ]; then export UV_INDEX="$${more//$$'\n'/ }"; fi; \
	if [ -n "$$links" ]; then export UV_FIND_LINKS="$${links//[[:space:]]/,}"; fi; \
	export UV_INDEX_STRATEGY=unsafe-best-match VIRTUAL_ENV="$(CURDIR)/.venv"; uv

.DEFAULT_GOAL := help
.PHONY: help run test test-slow

help:  ## this list
	@grep -E '^[a-z.-]+:.*## ' Makefile | sed -E 's/^([a-z.-]+):.*## /\1\t/' | expand -t 12

run: .venv  ## install, run the demo by `dvc repro`, say where to look
	@PATH="$(CURDIR)/$(BIN):$$PATH" && \
	outplant check && dvc repro && echo && outplant status && echo && \
	echo "profiles:   $$(echo data/profiles/*/*/profile.html)" && \
	echo "reports:    $$(echo reports/*/report.html)" && \
	echo "data docs:  $$(find data/validation -name index.html | sort | paste -sd' ')" && \
	echo "registry:   $(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db" && \
	echo "took $$(( $$(date +%s) - $(STARTED) )) s, installation included"

test: .venv/test  ## ruff, mypy and pytest, without what takes minutes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -m "not slow" -n 3 --dist loadfile --no-loadscope-reorder

test-slow: .venv/test  ## what takes minutes
	$(BIN)/pytest -m slow

# A target of its own: made again when what is to be installed changes
.venv: pyproject.toml infra/constraints.txt  ## the environment that all else runs in
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed")'
	@echo "installing what infra/constraints.txt says into .venv"
	@$(PYTHON) -m venv .venv
	@$(INSTALL) uv
	$(UV) pip install --quiet -c infra/constraints.txt -e .
	@rm -f .venv/test; touch .venv

.venv/test: .venv
	$(UV) pip install --quiet -c infra/constraints.txt -e '.[test]'
	@touch .venv/test
