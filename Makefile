# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# `make help` explains the targets. Everything is made below .venv*, build and the lab's own cache.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory --no-builtin-rules
# Targets share the lab, the machine's cores and build/: one at a time.
.NOTPARALLEL:
.DEFAULT_GOAL := help

VENV := $(CURDIR)/.venv
PYTHON := $(VENV)/bin/python
export PATH := $(VENV)/bin:$(PATH)
# Progress is to be seen while it happens, also through a pipe.
export PYTHONUNBUFFERED := 1
# What the stages of `make test` leave for its closing summary.
export IKS_TEST_RECORD ?=

VERSION := $(shell sed -n 's/^version: *//p' galaxy.yml)
TARBALL := build/iks-hardening-$(VERSION).tar.gz
# The collection as a user has it: installed from the tarball into a path that holds nothing else.
export IKS_COLLECTIONS_PATH := $(CURDIR)/build/collections

STAGES := lint build docs-check units sanity matrix integration molecule

.PHONY: help
help: ## Explain the targets
	@echo "iks.hardening $(VERSION)"
	@echo
	@awk -F ':.*## ' '/^##@/ { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "Variables: YES=1 (install Debian packages without asking), KEEP=1 (demo: leave the lab up),"
	@echo "           VM=1 (also install what the lab's virtual-machine tier needs; test and integration do),"
	@echo "           ARGS='...' (handed to pytest, the demo or the benchmarks), PYTHON3=/path (interpreter for .venv)"

# One tier of the integration tests boots a virtual machine, whose emulator the demo does not need.
test integration: export VM := 1

##@ The two commands
.PHONY: demo
demo: build ## Harden a lab cluster twice, prove it by packets, print what was done (KEEP=1: leave it up)
	@$(PYTHON) -m tests.demo $(ARGS)

.PHONY: test
test: setup ## Everything: lint, build, units, sanity, matrix, lab integration, molecule
	@tools/run_stages.py $(STAGES)

##@ Parts of make test
.PHONY: lint
lint: setup ## ansible-lint (production), ruff, yamllint, shellcheck, changelog fragments
	@tools/lint.sh

.PHONY: units
units: setup ## Unit tests: pytest from the checkout, then ansible-test units
	@$(PYTHON) -m pytest -q tests/unit $(ARGS)
	@tools/ansible_test.sh units

.PHONY: sanity
sanity: setup ## ansible-test sanity, every test, targets from Python 3.8 on
	@tools/ansible_test.sh sanity

.PHONY: matrix
matrix: build ## ansible-core 2.17, 2.19 and the newest, each in its own environment; targets on Python 3.8
	@$(PYTHON) -m tests.matrix $(ARGS)

.PHONY: integration
integration: build ## Modules and the whole cluster against the kernel, in the lab
	@tools/integration.sh $(ARGS)

.PHONY: nightly
nightly: build ## Verdicts against the kernel with ten times as many packets (IKS_SEED=N repeats a run)
	@IKS_NIGHTLY=1 $(PYTHON) -m pytest tests/integration/test_verdict_kernel.py $(ARGS)

.PHONY: molecule
molecule: build ## Every role's molecule scenario, in the lab
	@tools/molecule.sh $(ARGS)

.PHONY: soak
soak: build ## The firewall's proofs with thousands of swaps, kills and writes, for hours
	@IKS_PROFILE=soak $(PYTHON) -m pytest -v tests/integration/soak $(ARGS)

.PHONY: bench
bench: build ## Measure against the peers of the field; prints BENCH lines
	@$(PYTHON) -m tests.benchmarks $(ARGS)

##@ The lab
.PHONY: lab-up
lab-up: setup ## Boot the lab's nodes
	@$(PYTHON) -m tests.lab up $(ARGS)

.PHONY: lab-down
lab-down: setup ## Remove every trace of every lab of this machine
	@$(PYTHON) -m tests.lab down --all

.PHONY: lab-status
lab-status: setup ## What is up
	@$(PYTHON) -m tests.lab status $(ARGS)

##@ Making
.PHONY: build
build: setup ## Build the tarball and install it into build/collections
	@tools/build.sh

.PHONY: docs
docs: setup ## Write the generated pages: docs/reference/
	@$(PYTHON) tools/module_docs.py

.PHONY: docs-check
docs-check: setup ## Fail if a generated page is not what `make docs` would write
	@$(PYTHON) tools/module_docs.py --check

.PHONY: lock
lock: setup ## Pin what requirements/dev.txt pulls in, for the Python of .venv
	@tools/lock.sh

.PHONY: setup
setup: ## Debian packages and .venv; the others call it
	@PYTHON="$(PYTHON3)" tools/bootstrap.sh

.PHONY: clean
clean: ## Remove build/ and the virtual environments (not the lab: make lab-down)
	rm -rf build .venv .venv-*
