# make demo    set up .venv, distil a small student on real photos, show the result (minutes, no GPU needed)
# make test    set up .venv, run the test suite in two processes (another number: make test JOBS=8)
# make lint    ruff and mypy            make format   ruff format, with what ruff can fix
# make gpu     everything that needs a GPU, in parts that each end in time; make gpu PARTS="tests resume" for some,
#              TOTAL=450: what has not begun by then is left out, LIMIT=60: seconds for each part, JSON=gpu.json: figures
# make mutations   faults planted by rule, each against the tests of its module (under an hour on 2 cores);
#                  some modules alone: make mutations MODULES="losses patches"
#
# On machines without a GPU, a tenth of the download (Linux): make demo TORCH=cpu
# Another torch: make demo TORCH="torch==2.9.1 torchvision==0.24.1"
# The torch you already have: make demo TORCH=system   (.venv then sees the packages of $(PYTHON))
# A machine without network: where there is one, make wheels FOR=3.12 (its Python); there,
# make gpu TORCH=system WHEELS=wheels EXTRAS=test; what that machine has need not be copied:
# make wheels FOR=3.12 WITHOUT="opencv-python scipy"
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
RELEASE = torch==2.14.1 torchvision==0.29.1
TORCH ?= $(RELEASE)
CPU_INDEX = https://download.pytorch.org/whl/cpu
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check
FOR ?= $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
INTO ?= wheels
WITHOUT ?=
PARTS ?=
LIMIT ?=
TOTAL ?=
JSON ?= gpu.json
EXTRAS ?= dev,demo,docs,export,ncnn
# Without a pip of its own where Debian has taken out what makes one: that of $(PYTHON) is seen too.
SEEING = $(PYTHON) -m venv --clear --system-site-packages $(VENV)
# What GPUs' machines come with, and what is built here.
LEFT_OUT = torch torchvision triton nvidia-.* cuda-.* basicsr dckd.basicsr pip $(WITHOUT)
SPACE := $(subst ,, )
ifdef WHEELS
export PIP_NO_INDEX := 1
export PIP_FIND_LINKS := $(abspath $(WHEELS))
endif

.PHONY: demo test gpu mutations lint format setup wheels clean
.DEFAULT_GOAL := demo

setup: $(VENV)/.installed

# torch comes first: it may come from an index of its own. BasicSR comes as a wheel written here (basicsr_wheel.py says why).
$(VENV)/.installed: setup.py pyproject.toml dckd_basicsr/basicsr_wheel.py dckd_basicsr/system_packages.py
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 10) else \
	  f"Python 3.10 or newer is needed, this is {v[0]}.{v[1]}; if there is another: make PYTHON=python3.12")'
ifeq ($(TORCH),system)
	$(SEEING) || $(SEEING) --without-pip
	$(VENV)/bin/python dckd_basicsr/system_packages.py $(PYTHON)
else
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --quiet $(if $(filter cpu,$(TORCH)),$(RELEASE) --index-url $(CPU_INDEX),$(TORCH))
endif
ifndef WHEELS
	$(VENV)/bin/python dckd_basicsr/basicsr_wheel.py -o $(VENV)/wheels
endif
	$(PIP) install --quiet $(if $(WHEELS),basicsr==1.4.2,$(VENV)/wheels/basicsr-*.whl) -e ".[$(EXTRAS)]"
	@touch $@

demo: setup
	$(VENV)/bin/basicsr demo --out demo

# A file of tests stays in one process, which shares its fixtures; the long ones (tests/e2e) come first, so that none is left
# over at the end; one thread each, or the processes are in each other's way.
test: setup
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

gpu: setup
	$(VENV)/bin/python -m tests.gpu $(PARTS) --json $(JSON) $(if $(LIMIT),--limit $(LIMIT)) $(if $(TOTAL),--total $(TOTAL))

# What setup installs, but for torch, with which GPUs' machines come, and what builds this package.
wheels: setup
	@mkdir -p $(INTO)
	$(PIP) list --format=freeze | grep -Eiv '^($(subst $(SPACE),|,$(strip $(LEFT_OUT))))==' > $(INTO)/requirements.txt
	$(PIP) download --quiet --no-deps --only-binary=:all: --python-version $(FOR) -d $(INTO) -r $(INTO)/requirements.txt
	$(VENV)/bin/python dckd_basicsr/basicsr_wheel.py -o $(INTO)
	@du -sh $(INTO)

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

# The documentation as a site in build/site, which is read without a network: open build/site/index.html.
.PHONY: docs
docs: setup
	$(PIP) install --quiet "dckd_basicsr[docs]"
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet --strict
	$(VENV)/bin/python docs/site/check.py build/site
