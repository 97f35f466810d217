# make demo    set up .venv, distil a small student on real photos, show the result (minutes, no GPU needed)
# make test    set up .venv, run the test suite
# make lint    ruff and mypy            make format   ruff format, with what ruff can fix
# make mutations   faults planted by rule, each against the tests of its module (under an hour on 2 cores);
#                  some modules alone: make mutations MODULES="losses patches"
#
# Another torch: make demo TORCH="torch==2.9.1 torchvision==0.24.1"
# The torch you already have: make demo TORCH=system   (.venv then sees the packages of $(PYTHON))
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.14.1 torchvision==0.29.1
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check

.PHONY: demo test lint format mutations setup clean
.DEFAULT_GOAL := demo

setup: $(VENV)/.installed

# BasicSR's build imports torch, so torch comes first, and build isolation would fetch it a second time.
$(VENV)/.installed: setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v < (3, 13) else \
	  f"Python 3.10 to 3.12 is needed (BasicSR 1.4.2 does not build on others), this is {v[0]}.{v[1]}: make PYTHON=python3.12")'
ifeq ($(TORCH),system)
	$(PYTHON) -m venv --clear --system-site-packages $(VENV)
else
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --quiet $(TORCH)
endif
	$(PIP) install --quiet "setuptools<81" wheel cython numpy
	$(PIP) install --quiet --no-build-isolation basicsr==1.4.2
	$(PIP) install --quiet --no-build-isolation -e ".[dev,demo]"
	@touch $@

demo: setup
	$(VENV)/bin/basicsr demo --out demo

test: setup
	$(VENV)/bin/python -m pytest

# One thread for each trial, so that two trials fill two cores.
mutations: setup
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m tests.mutations $(MODULES)

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: setup
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean:
	rm -rf demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
