# The project's commands; `make` lists them. Each makes what it needs: no environment has to be active.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

# Every path in this file is relative to the clone: make splits names at spaces, and the clone's own path may contain some.
ifeq ($(filter Makefile ./Makefile,$(lastword $(MAKEFILE_LIST))),)
$(error $(lastword $(MAKEFILE_LIST)): not in the folder that make runs in; run make -C FOLDER with the folder of that file)
endif

define newline


endef
ifneq ($(findstring :,$(CURDIR))$(findstring %,$(CURDIR))$(findstring \,$(CURDIR))$(findstring $(newline),$(CURDIR)),)
$(error $(subst $(newline),?,$(CURDIR)): PATH, MLflow and installed commands fail at a colon, %, backslash or line break; rename the folder)
endif

# A value as one word of the shell.
quoted = '$(subst ','\'',$(1))'

SUPPORTED := import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))
PYTHON ?= $(firstword $(foreach name,python3 python3.12 python3.11,$(shell $(name) -c '$(SUPPORTED)' 2>/dev/null && echo $(name))))
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true

# The certificates that this machine trusts, a company's own among them, unless the user names some. uv, pip and Python's clients
# bring a list along and use no other. A distribution's file contains what their lists do.
CERTIFICATES := $(firstword $(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem))
ifneq ($(CERTIFICATES),)
ifeq ($(SSL_CERT_FILE)$(SSL_CERT_DIR),)
export SSL_CERT_FILE := $(CERTIFICATES)
endif
ifeq ($(REQUESTS_CA_BUNDLE)$(CURL_CA_BUNDLE),)
export REQUESTS_CA_BUNDLE := $(CERTIFICATES)
# pip prefers that variable to the certificates that its own configuration names.
PIP_CERTIFICATES = if .venv/bin/python -m pip config list | grep '\.cert=' >/dev/null; then unset REQUESTS_CA_BUNDLE; fi;
endif
endif

# Of the tests: each takes some 5 GB of memory by its end.
PROCESSES ?= 2

# Of `make bench`: a Python that has PyTorch. This one is made if you name no other.
TORCH ?= build/torch/bin/python

# Of `make recipe`: an archive or folder, whose name may hold spaces, or several.
SOURCES = $(if $(FROM),$(if $(shell test -e $(call quoted,$(FROM)) && echo one),--from $(call quoted,$(FROM)),$(FROM:%=--from %)))

# Of container images. BASE_IMAGE: another base image; BUILD_CA: a file of certificates that the build needs to reach the
# package index; BUILD_FLAGS: further options of `docker build`.
DOCKER ?= docker
TAG ?= latest
SBOM ?= build/sbom
VERSION = $(shell awk -F '"' '/^version = / {print $$2; exit}' pyproject.toml)
REVISION = $(shell git describe --always --abbrev=40 --dirty --exclude='*' 2>/dev/null || echo unknown)
CREATED = $(shell git show --no-patch --format=%cI 2>/dev/null || echo unknown)
SECRET = id=certificates,src=$(BUILD_CA)
BUILD = DOCKER_BUILDKIT=1 $(DOCKER) build $(BASE_IMAGE:%=--build-arg BASE_IMAGE=%) \
	$(if $(BUILD_CA),--secret $(call quoted,$(SECRET))) $(BUILD_FLAGS)
WARN = [ $(REVISION) != unknown ] || echo "make: git knows no commit here, so the images name none; see: git status" >&2
LABELS = --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --build-arg CREATED=$(CREATED)

INSTALL = .venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python
COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url
EXTRAS = --extra s3 --extra gs --extra plots --extra watch

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: .venv/for-users .dvc/plots_page.html ## Create .venv with all that the pipeline needs

repro: setup ## Run the pipeline on data.path: image folders in, a measured model and champion out
	dvc repro
	@siamese metrics
	siamese register
	siamese promote --trained
	@echo "The report is report.html; the commands above lie in .venv/bin"

retrain: setup ## Pull data, run what has changed, register, ask the gate, report: what CI does (docs/retraining.md)
	@.ci/retrain || [ $$? = 3 ]

publish: ## Commit dvc.lock, parameters and figures of a retraining, and push them to BRANCH
	@.ci/publish

images: ## Build the container images: training, serving, tracking server (docs/images.md)
	@$(WARN)
	$(BUILD) $(LABELS) --file docker/Dockerfile --target cpu --tag $(call quoted,siamese-training:$(TAG)) .
	$(BUILD) $(LABELS) --file docker/serving/Dockerfile --tag $(call quoted,siamese-serving:$(TAG)) .
	$(BUILD) $(LABELS) --file docker/tracking/Dockerfile --tag $(call quoted,siamese-tracking:$(TAG)) .

images-gpu: ## Build the training image with CUDA's libraries
	@$(WARN)
	$(BUILD) $(LABELS) --file docker/Dockerfile --target gpu --tag $(call quoted,siamese-training-gpu:$(TAG)) .

sbom: images ## List the Python packages of the images as CycloneDX, in build/sbom
	$(BUILD) --build-arg IMAGE=$(call quoted,siamese-training:$(TAG)) --file docker/sbom/Dockerfile --output $(call quoted,$(SBOM)/siamese-training) .
	$(BUILD) --build-arg IMAGE=$(call quoted,siamese-serving:$(TAG)) --file docker/sbom/Dockerfile --output $(call quoted,$(SBOM)/siamese-serving) .
	$(BUILD) --build-arg IMAGE=$(call quoted,siamese-tracking:$(TAG)) --file docker/sbom/Dockerfile --output $(call quoted,$(SBOM)/siamese-tracking) .

test: .venv/for-developers ## Run all tests, with coverage
	@rm -f .coverage .coverage.*
	COVERAGE_PROCESS_START="$$PWD/pyproject.toml" pytest --cov --cov-report= --numprocesses $(call quoted,$(PROCESSES)) --dist loadscope --no-loadscope-reorder

test-slow: .venv/for-developers ## Run what takes minutes: whole retrainings; with a container engine, images and the pipeline in them
	pytest -m 'slow and not long' --numprocesses $(call quoted,$(PROCESSES)) --dist loadscope --no-loadscope-reorder

test-long: .venv/for-developers ## Run the long forms of tests, which take an hour: many kills, many seeds
	pytest -m long

test-cluster: .venv/for-developers ## Check a Kubeflow installation with this pipeline: KFP_HOST=ADDRESS [KUBECONFIG=FILE] (docs/conformance.md)
	@test -n $(call quoted,$(KFP_HOST)) || { echo "make: say which installation, as in: make test-cluster KFP_HOST=http://localhost:8080" >&2; exit 2; }
	KFP_HOST=$(call quoted,$(KFP_HOST)) $(if $(KUBECONFIG),KUBECONFIG=$(call quoted,$(KUBECONFIG))) pytest tests/cluster -m cluster --tb short

recipe: setup ## Fetch published data, train, measure: name=omniglot [FROM=ARCHIVE_OR_FOLDER] [SEEDS="0 1 2"] (recipes/README.md)
	@test -n $(call quoted,$(name)) || { echo "make: say which recipe, as in: make recipe name=omniglot" >&2; exit 2; }
	python -m recipes $(call quoted,$(name)) $(SOURCES) $(if $(SEEDS),--seeds $(SEEDS))

bench: .venv/for-developers $(filter build/torch/bin/python,$(TORCH)) ## Measure speed beside peers in the same run, and write the table of benchmarks/speed/README.md (16 minutes)
	python -m benchmarks.speed --torch $(call quoted,$(TORCH)) --repository "$$PWD"

bench-long: .venv/for-developers ## Search a million embeddings (needs `make repro`, 10 GB); OMNIGLOT=ARCHIVE: time to an EER (two hours)
	python -m benchmarks.speed.million --run "$$PWD"
	$(if $(OMNIGLOT),python -m benchmarks.speed.time_to_eer $(call quoted,$(OMNIGLOT)))

bench-scale: .venv/for-developers ## Measure how time and memory of each step grow, and draw the curves into benchmarks/scale
	python -m benchmarks.scale
	python -m benchmarks.scale.workers

coverage: ## Show which lines the last `make test` did not run
	coverage report --show-missing --skip-covered

lint: .venv/for-developers ## Check style, types, workflows and container files
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-cache
	python .ci/check_names.py
	zizmor --offline --quiet .github
	check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	check-jsonschema --quiet --builtin-schema vendor.gitlab-ci --data-transform gitlab-ci .gitlab-ci.yml
	check-jsonschema --quiet --builtin-schema vendor.compose-spec docker/compose.yaml
	hadolint docker/Dockerfile docker/*/Dockerfile

format: .venv/for-developers ## Put every file into the project's style
	ruff check --fix .
	ruff format .

lock: .venv/for-developers ## Renew the pinned and hashed requirement files from pyproject.toml
	$(COMPILE) --upgrade pyproject.toml $(EXTRAS) -o requirements.txt
	$(COMPILE) --upgrade pyproject.toml $(EXTRAS) --extra dev --group pyproject.toml:server -c requirements.txt -o requirements/dev.txt
	$(COMPILE) --upgrade --group pyproject.toml:server -c requirements/dev.txt -o requirements/server.txt
	$(COMPILE) --upgrade pyproject.toml $(EXTRAS) --extra gpu -c requirements.txt -o requirements/gpu.txt
	$(COMPILE) --upgrade --group pyproject.toml:serving -c requirements.txt -o requirements/serving.txt
	$(COMPILE) --upgrade --group pyproject.toml:sbom -o requirements/sbom.txt
	$(COMPILE) --upgrade --group pyproject.toml:build -o requirements/build.txt

clean: ## Remove .venv and caches; no data, no model, no DVC cache
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage .coverage.*

# Before anything is downloaded.
repository:
	@.ci/repository

.venv/bin/uv: requirements/build.txt | repository
	@test -n $(call quoted,$(PYTHON)) || { echo "make: needs Python 3.11 or 3.12: install one, or name it with PYTHON=/path/to/python3.12" >&2; exit 2; }
	$(call quoted,$(PYTHON)) -m venv .venv
	$(PIP_CERTIFICATES) .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
	@touch $@

.venv/for-users: requirements.txt pyproject.toml .venv/bin/uv
	@echo "installing requirements.txt into .venv (3 GB, once)"
	$(INSTALL) --require-hashes -r requirements.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# DVC's own page loads its drawing library from the network; this one carries it.
.dvc/plots_page.html: .dvc/plots_page.py .venv/for-users
	python $< $@
	dvc config --local plots.html_template >/dev/null 2>&1 || dvc config --local plots.html_template $(@F)

.venv/for-developers: requirements/dev.txt .venv/for-users
	$(INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@

# PyTorch is a peer in `make bench`, and in nothing else.
build/torch/bin/python: .venv/for-developers
	$(call quoted,$(PYTHON)) -m venv build/torch
	$(PIP_CERTIFICATES) $@ -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy

.PHONY: help repository setup repro recipe retrain publish images images-gpu sbom test test-cluster test-long bench bench-long bench-scale coverage lint format lock clean
