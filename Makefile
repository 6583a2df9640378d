# SPDX-License-Identifier: Apache-2.0
# `make demo` and `make test` need nothing but make and Python 3.11 to 3.13; the rest goes into .venv, once.
BIN := .venv/bin

.PHONY: demo test lint

demo: .venv/.base
	@$(BIN)/letvins demo

test: .venv/.dev
	@$(BIN)/python -m pytest -n 2

lint: .venv/.dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

.venv/.base .venv/.dev: .venv/.%: pyproject.toml .ci/venv
	@.ci/venv $*
