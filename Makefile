# Every task by one word; `make help` lists them. Needs only git, make and Python 3.11, 3.12 or 3.13.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL: # the steps share .venv and _build
.PHONY: help setup execute book test check bench notebooks serve lock clean

PY := .venv/bin/python
STEP := sh tools/step.sh
AGAIN := then run make $(MAKECMDGOALS) again

unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE # only .venv is imported, and compiled once
export JAX_COMPILATION_CACHE_DIR := $(CURDIR)/_build/jax-cache
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS := 0
# else XLA complains about each program that it takes from that cache
export TF_CPP_MIN_LOG_LEVEL := 3
# several chapters share a GPU, whose memory JAX would give to the first
export XLA_PYTHON_CLIENT_PREALLOCATE ?= false
# no progress bar in a built page
export NTKBOOK_PROGRESS := 0

help: ## list these tasks
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv from requirements/lock.txt; PYTHON=... chooses the Python
	@sh tools/setup.sh

execute: setup
	@$(STEP) 'chapters' 'mend the chapter, $(AGAIN)' $(PY) tools/notebooks.py execute

# Sphinx builds anew only the pages whose source changed. It builds all where something else did that
# it does not watch, or where the last build, whose warnings it would not repeat, was not finished.
BUILT := _build/pages-built
WATCHED := _config.yml _toc.yml _ext _static pyproject.toml requirements/lock.txt \
	_build/.jupyter_cache/ntkbook-stamp

book: execute ## build the book: _build/html, warnings are errors
	@[ -e $(BUILT) ] && [ -z "$$(find $(WATCHED) -type f ! -name '*.pyc' -newer $(BUILT))" ] || \
		rm -rf _build/html _build/.doctrees
	@rm -f $(BUILT) && touch $(BUILT).new
	@SHOW='WARNING|ERROR' $(STEP) 'pages' 'mend what is named above, $(AGAIN)' \
		.venv/bin/jupyter-book build . -W -n --keep-going
	@mv $(BUILT).new $(BUILT)
	@echo 'The book is built: open _build/html/index.html in a browser, or run make serve.'

test: setup ## check style, notebooks and package, and run every notebook against the wheel
	@$(STEP) 'lint' 'mend it, $(AGAIN)' $(PY) -m ruff check --quiet
	@$(STEP) 'format' 'run $(PY) -m ruff format, $(AGAIN)' $(PY) -m ruff format --check --quiet
	@$(STEP) 'notebooks in step' 'run make notebooks, $(AGAIN)' $(PY) tools/notebooks.py check
	@$(STEP) 'metadata in step' 'run make notebooks, $(AGAIN)' $(PY) tools/metadata.py check
	@$(STEP) 'unit tests' 'mend what is named above, $(AGAIN)' $(PY) -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile
	@$(STEP) 'wheel' 'mend what is named above, $(AGAIN)' $(PY) tools/wheel_env.py
	@SHOW='Error.*: |^FAILED' $(STEP) 'notebooks against the wheel' \
		'mend the chapter, run make notebooks, $(AGAIN)' $(PY) tools/notebooks.py nbval _build/wheel-env/bin/python

check: book ## try the built pages in Chromium
	@$(STEP) 'pages in the browser' 'mend what is named above, $(AGAIN)' $(PY) tools/check_pages.py

bench: setup ## measure speed and memory: a table, and _build/bench.json; PEERS=... is a Python with torch
	@$(PY) tools/bench.py _build/bench.json $(PEERS)

notebooks: setup ## write the notebooks, CITATION.cff and the README's links from their sources
	@$(STEP) 'notebooks' 'mend the chapter, $(AGAIN)' $(PY) tools/notebooks.py write
	@$(STEP) 'metadata' 'mend pyproject.toml, $(AGAIN)' $(PY) tools/metadata.py write

serve: ## serve the built book on http://127.0.0.1:8000
	@[ -e _build/html/index.html ] || { echo 'There is no book yet: run make book.' >&2; exit 1; }
	@$(PY) -m http.server --bind 127.0.0.1 --directory _build/html 8000

LOCK := $(PY) -m uv pip compile --quiet --upgrade --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-annotate --no-header

lock: setup ## choose the newest versions that pyproject.toml allows, for requirements/
	@$(STEP) 'lock' 'mend pyproject.toml or the network, $(AGAIN)' \
		$(LOCK) pyproject.toml --extra book --group dev -o requirements/lock.txt
	@awk '/^[^ ]/ { uv = /^uv==/ } uv' requirements/lock.txt >requirements/uv.txt
	@echo 'requirements/ is written: run make test with it.'

clean: ## remove everything that was built (.venv stays)
	rm -rf _build build ntkbook.egg-info
