# What people and CI run here; `make` alone lists it.

PYTHON = python3
# a student with room to improve: 100 labelled images; settings were chosen on validation data
DEMO = compare --data digits --train-size 100 --val-fraction 0.3 --teacher cnn_medium --student cnn_small \
	--methods scratch kd pkt kd+pkt --seeds 0 1 2 --temperature 4 --epochs 100 --teacher-epochs 40 \
	--batch-size 32 --lr 0.01 --lr-schedule cosine --early-stop 0 --threads 1
PYTEST = -n auto

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo setup test test-main nightly test-vision test-peers lint format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: .venv/installed ## compare transfer methods on bundled data
	.venv/bin/mentorch $(DEMO)

setup: .venv/installed-dev ## make .venv with all that development needs

test: test-vision test-peers test-main ## run every test, in the three environments they need

test-main: .venv/installed-dev ## run the tests that need no network library beside torch
	.venv/bin/pytest --ignore=tests/vision --ignore=tests/peers $(PYTEST)

nightly: .venv/installed-dev ## run the fault campaigns at full length
	.venv/bin/pytest tests/faults -m nightly $(PYTEST)

test-vision: .venv-vision/installed ## run the tests of torchvision, timm and transformers
	.venv-vision/bin/pytest tests/vision

test-peers: .venv-peers/installed ## compare losses with those of another library
	.venv-peers/bin/pytest tests/peers

lint: .venv/installed-dev ## check format, style, types and import rules
	.venv/bin/ruff format --check
	.venv/bin/ruff check
	.venv/bin/mypy
	.venv/bin/lint-imports

format: .venv/installed-dev ## format the code and fix what a machine can fix
	.venv/bin/ruff format
	.venv/bin/ruff check --fix

clean: ## remove environments and caches, never results
	rm -rf .venv .venv-vision .venv-peers .ci/cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist

# An environment is filled once; its stamp is older than the requirements when it has to be filled again.
TOO_OLD = mentorch needs Python 3.11 or newer, $(PYTHON) is {}.{}: try make PYTHON=python3.11
define fill
@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("$(TOO_OLD)".format(*sys.version_info))'
test -x $(@D)/bin/pip || $(PYTHON) -m venv $(@D)
$(@D)/bin/python -m pip install -c constraints.txt
endef

.venv/installed: pyproject.toml constraints.txt
	$(fill) -e .
	@touch $@

.venv/installed-dev: pyproject.toml constraints.txt
	$(fill) -e '.[dev,onnx,parquet,ray]'
	@touch $@

.venv-vision/installed: pyproject.toml constraints.txt constraints-vision.txt
	$(fill) -c constraints-vision.txt -e '.[dev,vision,hf]'
	@touch $@

.venv-peers/installed: pyproject.toml constraints.txt constraints-vision.txt constraints-peers.txt
	$(fill) -c constraints-vision.txt -c constraints-peers.txt -e '.[dev]' torchvision torchdistill
	@touch $@
