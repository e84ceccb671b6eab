# A fresh machine needs Python 3.11+, git and make. PYTHON names the interpreter that makes .venv.
PYTHON ?= python3
PIP_ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
# What `make finder` and `make zoo` train from, and for how long the first one does.
MEDIA ?= ../shared/media
MINUTES ?= 52

.PHONY: install demo test lint finder zoo clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt $(PIP_ARGS) --editable '.[dev]'
	# pip would compile on one core. Some packages hold files for newer Pythons, which do not compile.
	$(BIN)/python -m compileall -qq -j 0 -x '/(tests?|testing/_internal)/' $(VENV)/lib deepscan || true
	touch $@

demo: install
	$(BIN)/deepscan demo --out runs/demo

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

# Pin the SHA-256 of the card in deepscan/media/shipped_faces.py afterwards.
finder: install
	$(BIN)/python jobs/train_finder.py --media $(MEDIA) --out runs/finder --minutes $(MINUTES) --seed 0 --install

# The detectors that ship; they use the finder that is in the package.
zoo: install
	$(BIN)/python jobs/make_zoo.py --media $(MEDIA) --out runs/zoo --seed 0 --install

clean:
	rm -rf $(VENV) runs
