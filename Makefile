# Every target makes what it needs: the virtual environment in .venv, and in it this package with what it depends on.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
INSTALLED_DOCS := .venv/.installed-docs
OLDEST_TORCH := 2.6.0
NEWEST_TORCH := 2.14.1
# Each test process uses one thread.
PROCESSES ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-pure test-versions test-interop lint docs experiment bench sanitize clean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: $(INSTALLED)  ## train a flow on 8×8 digits and draw samples, into runs/demo (minutes, CPU, no network)
	$(BIN)/inverseflow train digits --out runs/demo --overwrite

test: $(INSTALLED)  ## run the tests and the examples in the docstrings, on two processes
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile

test-slow: $(INSTALLED)  ## run the tests that are too slow for `make test`
	$(BIN)/python -m pytest -m slow --timeout 900

test-pure: $(INSTALLED)  ## run the tests of the operators and layers as if there were no compiler
	INVERSEFLOW_NATIVE=0 $(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile \
	    tests/ops tests/contracts tests/bijections

# Without triton, which torch pins, and without what only training needs.
TESTED := pytest==9.2.0 pytest-timeout==2.4.0 pytest-xdist==3.8.0 hypothesis==6.170.15

test-versions:  ## test operators, layers and flows with the oldest and the newest torch that pyproject.toml admits (downloads some GB)
	for torch in $(OLDEST_TORCH) $(NEWEST_TORCH); do \
	    rm -rf build/versions && $(PYTHON) -m venv build/versions && \
	    build/versions/bin/python -m pip install --quiet "torch==$$torch" $(TESTED) && \
	    build/versions/bin/python -m pip install --quiet --editable '.[hub]' && \
	    build/versions/bin/python -c 'import torch; print("== torch", torch.__version__)' && \
	    build/versions/bin/python -m pytest --numprocesses $(PROCESSES) --dist loadfile \
	        tests/ops tests/bijections tests/contracts tests/flows || exit 1; \
	done
	rm -rf build/versions

test-interop: $(INSTALLED)  ## install zuko, nflows, normflows, FrEIA, Pyro and sbi, and test against them
	$(BIN)/python -m pip install --quiet --constraint constraints.txt zuko nflows normflows FrEIA pyro-ppl sbi
	$(BIN)/python -m pytest -m '' tests/interop src/inverseflow/interop

sanitize: $(INSTALLED)  ## run the tests of the C++ kernels under the address and undefined-behaviour sanitizers
	cmake -S . -B build/sanitize -DINVERSEFLOW_SANITIZE=ON -DINVERSEFLOW_BASELINE=ON \
	    -DPython_EXECUTABLE=$(abspath $(BIN))/python
	cmake --build build/sanitize --parallel
	LD_PRELOAD="$$(c++ -print-file-name=libasan.so) $$(c++ -print-file-name=libstdc++.so)" \
	    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 INVERSEFLOW_SANITIZED=build/sanitize \
	    $(BIN)/python -m pytest tests/ops/_backends/test_native.py --timeout 600

lint: $(INSTALLED)  ## style, format, types, and who may import whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(INSTALLED_DOCS)  ## build the documentation site into build/docs, and execute its tutorials (no network once installed)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky -d build/doctrees docs build/docs

experiment: $(INSTALLED)  ## run one experiment: make experiment NAME=table4
	@test -n "$(NAME)" || { echo "name an experiment: make experiment NAME=table4; $(BIN)/python -m experiments --help lists them" >&2; exit 1; }
	$(BIN)/python -m experiments $(NAME)

bench: $(INSTALLED)  ## time the convolution and its inverse on this machine
	$(BIN)/python -m benchmarks op

clean:  ## remove caches and build products (.venv and runs stay)
	rm -rf build dist docs/api docs/gallery .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache src/*.egg-info
	find src tests -type d -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt CMakeLists.txt $(wildcard csrc/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "inverseflow needs Python 3.10 or newer, and '$(PYTHON)' is not. Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv || { \
	    echo "'$(PYTHON) -m venv .venv' failed. On Debian and Ubuntu install python3-venv; elsewhere a Python that has ensurepip, and name it: make PYTHON=..." >&2; exit 1; }
	@echo "Installing. Compiling the C++ kernels takes about a minute of processor time."
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(INSTALLED_DOCS): $(INSTALLED)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "the documentation needs Python 3.11 or newer: make PYTHON=python3.12 docs, without an older .venv" >&2; exit 1; }
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev,docs]'
	@touch $@
