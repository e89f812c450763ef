# Each target makes what it needs; a second call is quick.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test check bench notebooks clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "metier needs Python 3.11 or newer: make PYTHON=python3.12 ..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing metier and its pinned dependencies into .venv (once, a few minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch .venv/ready

demo: setup
	@$(BIN)/metier run recipes/finance-starter.yaml
	@$(BIN)/metier predict runs/finance-starter "Operating profit rose to EUR 13.1 mn from EUR 8.7 mn." "The company has laid off tens of employees."
	@echo "Open runs/finance-starter/report.html"

check: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

test: check
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

bench: setup
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@$(BIN)/metier run recipes/finance-starter.yaml # the run that is served
	@$(BIN)/python benchmarks/all.py

notebooks: setup
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[notebook]'
	@$(BIN)/jupytext --to ipynb --execute notebooks/*.py
	@echo "Open notebooks/finance_sentiment.ipynb and notebooks/medical_qa.ipynb"

clean: # runs stay: they may have taken hours
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
