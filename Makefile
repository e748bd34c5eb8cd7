# Everything happens in .venv. `make PYTHON=python3.12 ...` chooses the Python that it is made with.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PEERS := .venv-peers
TORCHMD := .venv-torchmd
FAIRCHEM := .venv-fairchem
TORCHTT := .venv-torchtt
NEURALOP := .venv-neuralop

# One thread for each of two test processes: OpenMP threads that wait for each other spin, and starve on busy cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

.DEFAULT_GOAL := help
.PHONY: help install demo demo-operator test test-slow test-random lint format bench bench-data accuracy constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

install: $(INSTALLED) ## make .venv with sciten and all that development needs

demo: install ## train, evaluate, verify and run a potential on bundled data (about 6 minutes)
	$(BIN)/python workflows/demo.py

demo-operator: install ## make data, train a neural operator on them and evaluate it (about 3 minutes)
	$(BIN)/python workflows/train_operator.py

test: lint ## lint, then the fast tests (about 6 minutes)
	$(PYTEST)

test-slow: install ## the long tests that `make test` leaves out
	$(PYTEST) -m slow

test-random: install ## the tests of properties, on examples that no run had before
	$(PYTEST) --hypothesis-profile=default -m hypothesis

lint: install ## ruff, mypy and import-linter
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

format: install ## format the code and mend what ruff can mend
	$(BIN)/python -m ruff check --fix
	$(BIN)/python -m ruff format

bench: bench-data $(PEERS)/.installed $(TORCHMD)/.installed $(FAIRCHEM)/.installed $(TORCHTT)/.installed $(NEURALOP)/.installed ## measure what the README reports, beside the peers (about 5 hours, idle machine)
	$(BIN)/sciten benchmark mace --peer-python $(CURDIR)/$(PEERS)/bin/python
	$(BIN)/python benchmarks/mace_parity.py --peer-python $(CURDIR)/$(PEERS)/bin/python
	$(BIN)/sciten benchmark tensor-products --fairchem-python $(CURDIR)/$(FAIRCHEM)/bin/python \
	  --torchmd-python $(CURDIR)/$(TORCHMD)/bin/python
	$(BIN)/python benchmarks/tensornet_parity.py --peer-python $(CURDIR)/$(TORCHMD)/bin/python
	$(BIN)/sciten benchmark tensor-formats --torchtt-python $(CURDIR)/$(TORCHTT)/bin/python
	$(BIN)/sciten benchmark pde --torchtt-python $(CURDIR)/$(TORCHTT)/bin/python
	$(BIN)/sciten benchmark neural-operators --peer-python $(CURDIR)/$(NEURALOP)/bin/python
	$(BIN)/python benchmarks/patching_memory.py
	$(BIN)/python benchmarks/datasets_memory.py
	$(BIN)/python benchmarks/readme_table.py

NAVIER_STOKES := $(BIN)/python workflows/make_navier_stokes_dataset.py --resolution 64 --final-time 10 --snapshots 10 \
  --initial-scale 343 --train-samples 100 --test-samples 20 --output runs/data

bench-data: install ## make the data that neural operators are compared on (about 8 minutes)
	$(NAVIER_STOKES) --solver-resolution 64 --viscosity 1e-3 --batch 10 --name ns_1e-3
	$(NAVIER_STOKES) --solver-resolution 256 --viscosity 1e-5 --batch 2 --name ns_1e-5
	$(BIN)/python workflows/make_burgers_dataset.py --resolution 1024 --solver-resolution 1024 --viscosity 0.1 \
	  --train-samples 1000 --test-samples 200 --batch 50 --name burgers --output runs/data

accuracy: install $(PEERS)/.installed ## train on the data in SCITEN_REFERENCE_DATA, as the README reports (about 2 hours)
	$(BIN)/python benchmarks/accuracy.py acac --peer-python $(CURDIR)/$(PEERS)/bin/python
	$(BIN)/python benchmarks/accuracy.py aspirin
	$(BIN)/python benchmarks/accuracy.py products
	$(BIN)/python benchmarks/readme_table.py

constraints: install ## write the versions in .venv to constraints.txt
	@{ echo "# The versions that the tests were last run with; 'make constraints' writes this file."; \
	  $(BIN)/python -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$$//'; } > constraints.txt.new
	@mv constraints.txt.new constraints.txt

clean: ## remove .venv, the peers' environments and what the tools leave behind
	rm -rf $(VENV) $(PEERS) $(TORCHMD) $(FAIRCHEM) $(TORCHTT) $(NEURALOP) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "sciten needs Python 3.11 or newer, and '$(PYTHON)' is none; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
	  exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -c constraints.txt -e '.[dev,xtb]'
	@touch $@

# The peers have environments of their own: mace-torch pins e3nn==0.4.4, fairchem-core pins torch. Where cuequivariance is installed,
# mace-torch builds its models with the smaller basis of couplings.
$(PEERS)/.installed: constraints.txt | $(BIN)/python
	$(PYTHON) -m venv --clear $(PEERS)
	$(PEERS)/bin/python -m pip install $$(grep '^torch==' constraints.txt) mace-torch==0.3.16 symmetrix-xl==0.1.1 \
	  cuequivariance cuequivariance-torch safetensors
	@touch $@

# Built here, so that it has its C++ extension.
$(TORCHTT)/.installed: constraints.txt | $(BIN)/python
	$(PYTHON) -m venv --clear $(TORCHTT)
	$(TORCHTT)/bin/python -m pip install $$(grep '^torch==' constraints.txt) numpy setuptools wheel ninja
	$(TORCHTT)/bin/python -m pip install --no-build-isolation --no-binary torchTT torchTT==0.5.0
	@touch $@

$(NEURALOP)/.installed: constraints.txt | $(BIN)/python
	$(PYTHON) -m venv --clear $(NEURALOP)
	$(NEURALOP)/bin/python -m pip install $$(grep '^torch==' constraints.txt) neuraloperator==2.0.0 tensorly-torch
	@touch $@

$(TORCHMD)/.installed: constraints.txt | $(BIN)/python
	$(PYTHON) -m venv --clear $(TORCHMD)
	$(TORCHMD)/bin/python -m pip install $$(grep '^torch==' constraints.txt) torchmd-net==3.1.0 safetensors ase
	@touch $@

$(FAIRCHEM)/.installed: constraints.txt | $(BIN)/python
	$(PYTHON) -m venv --clear $(FAIRCHEM)
	$(FAIRCHEM)/bin/python -m pip install $$(grep '^torch==' constraints.txt) fairchem-core==2.24.0
	@touch $@
