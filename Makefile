# The project's commands; `make` lists them. Each makes what it needs: no environment has to be active.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

SUPPORTED := import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))
PYTHON ?= $(firstword $(foreach name,python3 python3.12 python3.11,$(shell $(name) -c '$(SUPPORTED)' 2>/dev/null && echo $(name))))
VENV := $(CURDIR)/.venv
export PATH := $(VENV)/bin:$(PATH)
export DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true

# Of the tests: each takes some 5 GB of memory by its end.
PROCESSES ?= 2

# Of `make bench`: a Python that has PyTorch; this one is made at need.
TORCH ?= build/torch/bin/python

# Of container images. BASE_IMAGE: another base image; BUILD_CA: a file of certificates that the build needs to reach the
# package index; BUILD_FLAGS: further options of `docker build`.
DOCKER ?= docker
TAG ?= latest
SBOM ?= build/sbom
VERSION = $(shell awk -F '"' '/^version = / {print $$2; exit}' pyproject.toml)
REVISION = $(shell git describe --always --abbrev=40 --dirty --exclude='*' 2>/dev/null || echo unknown)
CREATED = $(shell git show --no-patch --format=%cI 2>/dev/null || echo unknown)
BUILD = DOCKER_BUILDKIT=1 $(DOCKER) build $(BASE_IMAGE:%=--build-arg BASE_IMAGE=%) \
	$(BUILD_CA:%=--secret id=certificates,src=%) $(BUILD_FLAGS)
LABELS = --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --build-arg CREATED=$(CREATED)

INSTALL = $(VENV)/bin/uv pip install --quiet --compile-bytecode --python $(VENV)/bin/python
COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url
EXTRAS = --extra s3 --extra gs --extra plots --extra watch

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/for-users .dvc/plots_page.html ## Create .venv with all that the pipeline needs

repro: setup ## Run the pipeline on data.path: image folders in, a measured model and champion out
	dvc repro
	@siamese metrics
	siamese register
	siamese promote
	@echo "The report is report.html; the commands above lie in .venv/bin"

retrain: setup ## Pull data, run what has changed, register, ask the gate, report: what CI does (docs/retraining.md)
	@.ci/retrain || [ $$? = 3 ]

publish: ## Commit dvc.lock, parameters and figures of a retraining, and push them to BRANCH
	@.ci/publish

images: ## Build the container images: training, serving, tracking server (docs/images.md)
	$(BUILD) $(LABELS) --file docker/Dockerfile --target cpu --tag siamese-training:$(TAG) .
	$(BUILD) $(LABELS) --file docker/serving/Dockerfile --tag siamese-serving:$(TAG) .
	$(BUILD) $(LABELS) --file docker/tracking/Dockerfile --tag siamese-tracking:$(TAG) .

images-gpu: ## Build the training image with CUDA's libraries
	$(BUILD) $(LABELS) --file docker/Dockerfile --target gpu --tag siamese-training-gpu:$(TAG) .

sbom: images ## List the Python packages of the images as CycloneDX, in build/sbom
	$(BUILD) --build-arg IMAGE=siamese-training:$(TAG) --file docker/sbom/Dockerfile --output $(SBOM)/siamese-training .
	$(BUILD) --build-arg IMAGE=siamese-serving:$(TAG) --file docker/sbom/Dockerfile --output $(SBOM)/siamese-serving .
	$(BUILD) --build-arg IMAGE=siamese-tracking:$(TAG) --file docker/sbom/Dockerfile --output $(SBOM)/siamese-tracking .

test: $(VENV)/for-developers ## Run all tests, with coverage
	@rm -f .coverage .coverage.*
	COVERAGE_PROCESS_START=$(CURDIR)/pyproject.toml pytest --cov --cov-report= --numprocesses $(PROCESSES) --dist loadscope --no-loadscope-reorder

test-slow: $(VENV)/for-developers ## Run what takes minutes: whole retrainings; with a container engine, images and the pipeline in them
	pytest -m 'slow and not long' --numprocesses $(PROCESSES) --dist loadscope --no-loadscope-reorder

test-long: $(VENV)/for-developers ## Run the long forms of tests, which take an hour: many kills, many seeds
	pytest -m long

recipe: setup ## Fetch published data, train, measure: name=omniglot [FROM=ARCHIVE_OR_FOLDER] [SEEDS="0 1 2"] (recipes/README.md)
	@test -n "$(name)" || { echo "make: say which recipe, as in: make recipe name=omniglot" >&2; exit 2; }
	python -m recipes $(name) $(FROM:%=--from %) $(if $(SEEDS),--seeds $(SEEDS))

bench: $(TORCH) ## Measure speed beside peers in the same run, and write the table of benchmarks/speed/README.md (16 minutes)
	python -m benchmarks.speed --torch $(TORCH) --repository $(CURDIR)

bench-long: $(VENV)/for-developers ## Search a million embeddings (needs `make repro`, 10 GB); OMNIGLOT=ARCHIVE: time to an EER (two hours)
	python -m benchmarks.speed.million --run $(CURDIR)
	$(if $(OMNIGLOT),python -m benchmarks.speed.time_to_eer $(OMNIGLOT))

bench-scale: $(VENV)/for-developers ## Measure how time and memory of each step grow, and draw the curves into benchmarks/scale
	python -m benchmarks.scale
	python -m benchmarks.scale.workers

coverage: ## Show which lines the last `make test` did not run
	coverage report --show-missing --skip-covered

lint: $(VENV)/for-developers ## Check style, types, workflows and container files
	ruff check .
	ruff format --check .
	mypy
	zizmor --offline --quiet .github
	check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	check-jsonschema --quiet --builtin-schema vendor.gitlab-ci --data-transform gitlab-ci .gitlab-ci.yml
	check-jsonschema --quiet --builtin-schema vendor.compose-spec docker/compose.yaml
	hadolint docker/Dockerfile docker/*/Dockerfile

format: $(VENV)/for-developers ## Put every file into the project's style
	ruff check --fix .
	ruff format .

lock: $(VENV)/for-developers ## Renew the pinned and hashed requirement files from pyproject.toml
	$(COMPILE) --upgrade pyproject.toml $(EXTRAS) -o requirements.txt
	$(COMPILE) --upgrade pyproject.toml $(EXTRAS) --extra dev --group pyproject.toml:server -c requirements.txt -o requirements/dev.txt
	$(COMPILE) --upgrade --group pyproject.toml:server -c requirements/dev.txt -o requirements/server.txt
	$(COMPILE) --upgrade pyproject.toml $(EXTRAS) --extra gpu -c requirements.txt -o requirements/gpu.txt
	$(COMPILE) --upgrade --group pyproject.toml:serving -c requirements.txt -o requirements/serving.txt
	$(COMPILE) --upgrade --group pyproject.toml:sbom -o requirements/sbom.txt
	$(COMPILE) --upgrade --group pyproject.toml:build -o requirements/build.txt

clean: ## Remove .venv and caches; no data, no model, no DVC cache
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage .coverage.*

$(VENV)/bin/uv: requirements/build.txt
	@test -n "$(PYTHON)" || { echo "make: needs Python 3.11 or 3.12: install one, or name it with PYTHON=/path/to/python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
	@touch $@

$(VENV)/for-users: requirements.txt pyproject.toml $(VENV)/bin/uv
	@echo "installing requirements.txt into .venv (3 GB, once)"
	$(INSTALL) --require-hashes -r requirements.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

# DVC's own page loads its drawing library from the network; this one carries it.
.dvc/plots_page.html: .dvc/plots_page.py $(VENV)/for-users
	python $< $@
	dvc config --local plots.html_template >/dev/null 2>&1 || dvc config --local plots.html_template $(@F)

$(VENV)/for-developers: requirements/dev.txt $(VENV)/for-users
	$(INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@

# PyTorch is a peer in `make bench`, and in nothing else.
build/torch/bin/python: $(VENV)/for-developers
	$(PYTHON) -m venv build/torch
	$@ -m pip install --quiet --disable-pip-version-check torch==2.13.0 numpy

.PHONY: help setup repro recipe retrain publish images images-gpu sbom test test-long bench bench-long bench-scale coverage lint format lock clean
