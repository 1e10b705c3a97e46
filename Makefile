# `make quickstart` and `make test` set up what they need in .venv/ and can be repeated; so does `make lowest`,
# in .venv-lowest/.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
LOWEST := .venv-lowest
SITE := import sysconfig; print(sysconfig.get_path("purelib"))
# A file stays in one process: its fixtures are made once.
TWO := -n 2 --dist loadfile
FASHION := $(or $(KDSEARCH_DATA),$(HOME)/.cache/kdsearch/data)/FashionMNIST/raw
PACKED := /usr/share/datasets/fashion-mnist
# Tests start some hundred processes: none is to compile our modules anew.
export PYTHONDONTWRITEBYTECODE :=
LIGHT := tests/spec tests/storage tests/analysis tests/search tests/service tests/cli

.PHONY: setup quickstart paper fashion cells test check lowest lint docs clean
.DELETE_ON_ERROR:

setup: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("kdsearch needs Python 3.11 or newer, this is %s. Set PYTHON=python3.x" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv is missing. Debian, Ubuntu: apt-get install -y python3-venv" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

quickstart: setup
	$(BIN)/kdsearch launch studies/quickstart.yaml

# The paper's questions, small, one after the other; what has run already is not run again.
paper: setup fashion cells
	set -e; for study in studies/paper/*-small.yaml; do \
		$(BIN)/kdsearch launch $$study; $(BIN)/kdsearch verdict $$(basename $$study .yaml); done

# Fashion-MNIST where torchvision looks for it: as it has been downloaded, or unpacked from Debian's package.
fashion:
	@mkdir -p $(FASHION)
	@for name in train-images-idx3 train-labels-idx1 t10k-images-idx3 t10k-labels-idx1; do \
		file=$(FASHION)/$$name-ubyte; test ! -s $$file || continue; \
		if gunzip -c $(PACKED)/$$name-ubyte.gz > $$file.part; then mv $$file.part $$file; else rm -f $$file.part; \
		echo "Fashion-MNIST is missing. Debian, Ubuntu: apt-get install -y dataset-fashion-mnist" >&2; exit 1; fi; done

# The solar cells lie in a package of 90 MB that nothing else needs.
cells: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'elpv-dataset>=1,<2'

# In two processes: tests of Ray wait for much of their time.
test: setup
	$(BIN)/python -m pytest $(TWO)

# While one works: the checks, and the tests that start no server, no Ray and no long training.
check: lint
	$(BIN)/python -m pytest -q $(TWO) -m 'not (ray or gpu or slow or long or simulated or postgres)' tests/spec tests/search tests/storage tests/analysis

# What needs neither Ray nor a GPU, under the lowest releases that pyproject.toml allows. Old releases beside
# newer ones that they depend on may warn of what is deprecated: that is no fault of ours. torch and Ray are
# large: they, and all else that is not named, come from .venv.
lowest: $(LOWEST)/.ready
	$(LOWEST)/bin/python -m pytest $(TWO) -W default::DeprecationWarning -m 'not (ray or gpu or slow or simulated)' $(LIGHT)

$(LOWEST)/.ready: pyproject.toml .ci/lowest.py $(READY)
	$(BIN)/python .ci/lowest.py pyproject.toml > .venv/lowest.txt
	rm -rf $(LOWEST)
	$(BIN)/python -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --requirement .venv/lowest.txt
	site="$$($(LOWEST)/bin/python -c '$(SITE)')" && { $(BIN)/python -c '$(SITE)'; pwd; } > "$$site/layers.pth"
	touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The documentation as a site; a warning is an error.
docs: setup
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs site

clean:
	rm -rf .venv $(LOWEST) site build dist *.egg-info
