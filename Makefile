.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

UV_VERSION := 0.13.8
UV := $(shell command -v uv || echo .uv/bin/uv)
# uv is found by the rendered project too, so that it is installed once.
export PATH := $(if $(filter .uv%,$(UV)),$(CURDIR)/.uv/bin:)$(PATH)

PYTEST := .venv/bin/python -m pytest
BENCH := PYTHONPATH=template/e2e .venv/bin/python -m tests.bench
WORKERS ?= 2
COMPILE := pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-package tracerun-telemetry \
	--custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)

.PHONY: help setup demo test test-fast test-all test-mutants test-report test-images bench bench-quick lint format lock
help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

setup: .venv/.ready ## install what the tests need

demo: | $(UV) ## render the default project into .demo, run it, show the trace of a request
	@rm -rf .demo
	@echo 'rendering the default project into .demo'
	@PYTHONWARNINGS=ignore $(UV) run --quiet --no-project --python '>=3.11' --with-requirements requirements-copier.txt \
		copier copy --quiet --defaults --vcs-ref HEAD . .demo
	@$(MAKE) --no-print-directory -C .demo dev ONCE=1

test: setup ## all tests but the slow matrix
	@$(PYTEST) -n $(WORKERS) --dist loadgroup -m 'not alone' tests
	@$(PYTEST) -m alone tests

test-fast: setup ## what every commit must pass
	@$(PYTEST) -n $(WORKERS) --dist loadgroup -m 'not slow' tests

test-all: test test-mutants ## everything

test-mutants: setup ## take each behaviour out; the named test must turn red
	@.venv/bin/python -m tests.mutants

test-report: setup ## print what is lost, and what outages cost, in each way of exporting
	@PYTHONPATH=template/e2e .venv/bin/python -m tests.report

bench: setup ## what tracing costs, in about 12 minutes: report, chart and samples in .bench
	@$(BENCH) $(if $(AGAINST),--against $(AGAINST))

bench-quick: setup ## a first impression in about 4 minutes (AGAINST=REF: only compares the library with that of a commit)
	@$(BENCH) --quick $(if $(AGAINST),--against $(AGAINST))

test-images: setup ## build the image of the default service and run it; installs buildah, podman and mmdebstrap by apt
	@tests/images/build

lint: setup ## format, lint and types, of the template's sources too
	@$(PYTEST) -q tests/test_static.py

format: setup ## format all code
	@.venv/bin/ruff check --quiet --fix . ; .venv/bin/ruff format --quiet .

lock: | $(UV) ## write all lock files anew (UPGRADE=1: with the newest versions)
	@$(UV) $(COMPILE) pyproject.toml --group dev -o requirements.txt
	@$(UV) $(COMPILE) pyproject.toml -o requirements-copier.txt
	@cd tests/infra/provider && for name in requirements google-7 google-8; do echo "lock tests/infra/provider/$$name"; \
		$(abspath $(shell command -v $(UV))) $(COMPILE) $$([ $$name = requirements ] || echo --no-deps) $$name.in -o $$name.txt; done
	@find template -name pyproject.toml -not -path '*/.venv/*' -print0 | while IFS= read -r -d '' file; do \
		folder=$$(dirname "$$file"); constraint=; echo "lock $$folder"; \
		case $$folder in template/infra/compliance) $(UV) --directory "$$folder" $(COMPILE) pyproject.toml -o requirements.txt; continue;; \
			template/services/*) constraint='-c requirements.txt'; \
			$(UV) --directory "$$folder" $(COMPILE) pyproject.toml -o requirements.txt;; esac; \
		$(UV) --directory "$$folder" $(COMPILE) pyproject.toml --group dev $$constraint -o requirements-dev.txt; done

.uv/bin/uv:
	@echo 'installing uv into .uv'
	@python3 -m venv .uv && .uv/bin/pip install --quiet uv==$(UV_VERSION)

.venv/.ready: requirements.txt | $(UV)
	@echo 'installing the tests'
	@$(UV) venv --quiet --allow-existing --python '>=3.11' .venv
	@$(UV) pip sync --quiet --python .venv --require-hashes requirements.txt
	@touch $@
