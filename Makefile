# Each target sets itself up: the environment is made once, and again only when its requirements change.
# No make on this machine (Windows)? README.md has the same commands written out.

VENV := .venv

# Any Python from 3.11 serves; 3.11 and 3.12 are what the tests run on, so they are looked for first. A candidate must
# run, not just be there: version managers leave names that only print an error.
PYTHON ?= $(shell for candidate in python3.11 python3.12 python3 python; do \
	if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	then echo $$candidate; break; fi; done)

PIP := $(VENV)/bin/python -m pip --disable-pip-version-check

# The second environment of `make test-run`, with what a run needs and nothing else.
RUN_VENV := .venv-run
RUN_TESTS := tests/test_installed.py tests/test_api.py tests/test_no_torch.py tests/test_main.py tests/app/test_real_window.py
RUN_PIP := $(RUN_VENV)/bin/python -m pip --disable-pip-version-check

.PHONY: demo app screenshots architecture exported test test-faults test-run soak clean help

help:
	@echo "make demo   a pose video of the built-in clip, outputs/demo_pose.mp4 (no window, no GPU, no camera needed)"
	@echo "make app    the window"
	@echo "make screenshots  pictures of the window on the demo, docs/window-*.png, and at its smallest size (without a screen: inside Xvfb)"
	@echo "make architecture  docs/architecture.svg, drawn from the imports"
	@echo "make exported  the exported form of the default network, anew from its weights (models/weights/)"
	@echo "make test   style, types and tests"
	@echo "make test-run  the program installed as a package, without torch, in an environment of its own"
	@echo "make test-faults  bad files, interrupted work, full disks and the like (part of make test, too)"
	@echo "make soak   long runs that must stay flat, an hour or more; SOAK=\"--live-seconds 60 --frames 1000\" for shorter ones"
	@echo "make clean  remove the environment and what demo wrote"

demo: $(VENV)/.installed
	$(VENV)/bin/python main.py --video demo --output outputs/demo_pose.mp4 --poses outputs/demo_pose.jsonl --overwrite

app: $(VENV)/.installed
	$(VENV)/bin/python main.py

# Without a screen the window opens on a virtual one (Debian: xvfb and xauth).
screenshots: $(VENV)/.installed
	$(if $(DISPLAY)$(WAYLAND_DISPLAY),,xvfb-run -a -s "-screen 0 1920x1200x24 -dpi 96") \
		$(VENV)/bin/python -m tests.screenshots --overwrite --folder docs --size 1440x900
	mkdir -p outputs/window-960x600
	$(if $(DISPLAY)$(WAYLAND_DISPLAY),,xvfb-run -a -s "-screen 0 1920x1200x24 -dpi 96") \
		$(VENV)/bin/python -m tests.screenshots --overwrite --folder outputs/window-960x600 --size 960x600

architecture: $(VENV)/.installed-dev
	$(VENV)/bin/python -m tests.draw_architecture

# After a change of the default network, of its weights or of the graph; a test fails until this was done.
exported: $(VENV)/.installed-dev
	$(VENV)/bin/python -m engine build --shipped --force

test: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy main.py models engine train app tests
	$(VENV)/bin/python -m pytest

# Ends with `N passed, 0 failed`; the table above it counts what was lost.
test-faults: $(VENV)/.installed-dev
	$(VENV)/bin/python -m pytest tests/faults

# What pip installs for `pip install .` must be enough for the command line, the window and the Python API.
test-run: $(RUN_VENV)/.installed
	$(RUN_PIP) install --no-compile --no-deps --force-reinstall .
	rm -rf build kcam_pose.egg-info
	$(RUN_VENV)/bin/python -m pytest $(RUN_TESTS)

soak: $(VENV)/.installed-dev
	$(VENV)/bin/python -m tests.soak $(SOAK)

clean:
	rm -rf $(VENV) $(RUN_VENV) build kcam_pose.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -f outputs/demo_pose.mp4 outputs/demo_pose.part.mp4 outputs/demo_pose.jsonl

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed; found neither. Install one, or: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps are written last, so that an interrupted installation is taken up again. Python compiles what it imports at
# the first run; compiling all packages while they are installed takes longer, and 100 MB.
$(VENV)/.installed: requirements-run.txt requirements-demo.txt | $(VENV)/bin/python
	$(PIP) install --no-compile -r requirements-run.txt
	$(PIP) install --no-compile --no-deps -r requirements-demo.txt
	touch $@

$(RUN_VENV)/.installed: requirements-run.txt requirements-demo.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed; found neither"; exit 1; }
	rm -rf $(RUN_VENV) build kcam_pose.egg-info
	$(PYTHON) -m venv $(RUN_VENV)
	$(RUN_PIP) install --no-compile .
	$(RUN_PIP) install --no-compile --no-deps -r requirements-demo.txt
	$(RUN_PIP) install --no-compile pytest pytest-timeout pytest-qt
	touch $@

$(VENV)/.installed-dev: requirements.txt requirements-run.txt requirements-train.txt requirements-dev.txt requirements-rtx.txt | $(VENV)/bin/python
	$(PIP) install -r requirements-dev.txt
	$(PIP) install -r requirements-rtx.txt || echo "no TensorRT-RTX for this machine; its tests are skipped with that reason"
	touch $(VENV)/.installed $@
