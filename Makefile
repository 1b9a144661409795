# make demo          a dancing character in trained clothes: out/demo/
# make test          all tests
# make fuzz          damaged files and malformed messages, other ones for MINUTES=30
# make faults        decoding killed KILLS=100 times
# make bench         how long things take on this machine
# make device-check  a GPU against the CPU: equal, how fast, training; 8 minutes at most
# make lock          anew which files a set-up of the backend may install; needs a network
# make addon         the extension: dist/scale_clothing-<version>.zip
# make lint          ruff, and types by mypy
# make matrix        the extension in bpy 4.2, 4.5 and 5.0
# make window-test   the extension in a real Blender window; WALK=set-up, wearer, two, mistakes, moving or times: others
# Each sets up .venv first, if it is missing or pyproject.toml has changed. CONTRIBUTING.md has the same steps without make.

PYTHON ?= $(shell command -v python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
MATRIX := .matrix
CLOTH_TESTS := tests/training/test_moving_cloth.py tests/training/test_sequences.py
HARM_TESTS := tests/faults tests/fuzz
# Bodies, garments and frames that are made: here so that the halves take about as long.
SLOW_TESTS := $(addprefix tests/training/,test_body_builder.py test_simulate.py test_simulate_bodies.py test_workers.py)
WALK := walk
MINUTES := 30
KILLS := 100
VERSION := $(shell sed -n 's/__version__ = "\(.*\)"/\1/p' scale_backend/__init__.py)
ZIP := dist/scale_clothing-$(VERSION).zip
OTHER_BLENDERS := 4.2.23 5.0.1

# library that the bpy module needs = Debian's package for it. Without libEGL, Workbench and EEVEE abort the process.
LIBRARIES := libX11.so.6=libx11-6 libXrender.so.1=libxrender1 libXfixes.so.3=libxfixes3 libXi.so.6=libxi6 \
  libxkbcommon.so.0=libxkbcommon0 libSM.so.6=libsm6 libGL.so.1=libgl1 libEGL.so.1=libegl1 libgomp.so.1=libgomp1

.PHONY: help demo test test-packages test-addon fuzz faults bench device-check lock addon lint matrix window-test setup libraries
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# make /make /p' Makefile

demo: setup
	$(BIN)/python -m demo $(DEMO)

# The bpy module has one scene and one set of preferences in a process, and does not load beside pymeshlab: its tests get
# processes of their own, beside the others. The two halves take about as long.
test: setup
	$(MAKE) --no-print-directory --jobs 2 test-packages test-addon

test-packages:
	$(BIN)/python -m pytest tests --ignore tests/addon --ignore tests/benchmarks $(CLOTH_TESTS:%=--ignore %) $(HARM_TESTS:%=--ignore %) $(SLOW_TESTS:%=--ignore %)

test-addon:
	$(BIN)/python -m pytest tests/addon
	$(BIN)/python -m pytest $(CLOTH_TESTS)
	$(BIN)/python -m pytest $(HARM_TESTS)
	$(BIN)/python -m pytest $(SLOW_TESTS)

fuzz: setup
	$(BIN)/python -m tests.fuzz $(MINUTES)

faults: setup
	FAULT_KILLS=$(KILLS) $(BIN)/python -m pytest -q tests/faults

bench: setup
	$(BIN)/python -m tests.benchmarks $(BENCH)

# For a machine with an NVIDIA GPU, which may have no network: any Python with torch will do.
device-check:
	$(if $(wildcard $(READY)),$(BIN)/python,$(PYTHON)) -m tests.benchmarks.device_check $(CHECK)

lock: setup
	$(BIN)/python -m pip install --disable-pip-version-check uv
	$(BIN)/python lock_backend.py

addon: setup
	$(BIN)/python build_addon.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

matrix: setup $(OTHER_BLENDERS:%=$(MATRIX)/%/.ready)
	$(BIN)/python build_addon.py
	set -e; for python in $(BIN)/python $(OTHER_BLENDERS:%=$(MATRIX)/%/bin/python); do \
	  $$python tests/addon/matrix.py $(ZIP) $(CURDIR)/$(BIN)/python; done

window-test: setup
	$(BIN)/python build_addon.py
	bash tests/addon/window/run.sh $(ZIP) $(WALK)

setup: libraries $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "Python 3.11 is needed (the bpy module has wheels for it alone), and $(PYTHON) is another: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c "import ensurepip" 2>/dev/null || $(call install,python3-venv)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[blender,smpl,dev]'
	@touch $@

$(MATRIX)/%/.ready:
	$(PYTHON) -m venv $(MATRIX)/$*
	$(MATRIX)/$*/bin/python -m pip install --disable-pip-version-check 'bpy==$*' 'numpy<2'
	@touch $@

libraries:
	@command -v ldconfig >/dev/null || PATH=$$PATH:/sbin; command -v ldconfig >/dev/null || exit 0; \
	found=$$(ldconfig -p); missing=; \
	for pair in $(LIBRARIES); do case "$$found" in *"$${pair%=*}"*) ;; *) missing="$$missing $${pair#*=}" ;; esac; done; \
	[ -z "$$missing" ] || $(call install,$$missing)

# Debian packages $(1): installed where that is allowed, otherwise the command that does it.
install = if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo Installing $(1); apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) >/dev/null; \
	else echo "System libraries are missing. Install them with: sudo apt-get install $(1)"; exit 1; fi
