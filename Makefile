# make book and make test do all the set-up they need. PYTHON=python3.12 names the interpreter .venv is made with.
BIN := .venv/bin
# one thread a process: sums are then added in one order, and the test workers do not fight over the cores
export OMP_NUM_THREADS := 1
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup test test-fast test-browser test-pages book pdf chapters lint constraints clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r t d; do printf '  make %-14s %s\n' "$$t" "$$d"; done

setup: ## make .venv from constraints.txt; does nothing when it is up to date
	@.ci/setup

test: setup ## run every test, every example of a docstring, and every chapter against its committed outputs (nbval)
	@$(BIN)/pytest -n 2 --dist loadfile --doctest-modules --ignore tests/browser \
	  --nbval --nbval-sanitize-with tests/nbval_sanitize.cfg nsr tests chapters

test-fast: setup ## an answer in under a minute: without what kills processes, trains for long or executes notebooks
	@$(BIN)/pytest -n 2 --dist loadfile -m "not slow" tests

# --all: pages kept from an earlier build would keep their warnings to themselves
book: setup ## build the book into _build/html
	@$(BIN)/jupyter-book build . --all -W -n --keep-going
	@printf '\nThe book is built. Open this file in a browser:\n  %s\n' "$(CURDIR)/_build/html/index.html"

test-browser: book test-pages ## build the book and open every page in Chromium, with the network blocked

test-pages: setup ## the same with the book as it was built last
	@$(BIN)/python -c 'import playwright' 2>/dev/null || $(BIN)/python -m pip install -c constraints.txt -e '.[browser]'
	@$(BIN)/pytest tests/browser/pages.py tests/browser/play.py tests/browser/compare.py

# one long page first, then Chromium prints it
pdf: setup ## print the whole book into one file, _build/pdf/book.pdf; needs Chromium
	@$(BIN)/python -c 'import playwright' 2>/dev/null || $(BIN)/python -m pip install -c constraints.txt -e '.[browser]'
	@$(BIN)/python -m nsr.book.pdf

chapters: setup ## execute every chapter again, in place, with its default parameters
	@$(BIN)/python -m nsr.book

lint: setup ## check style, notebooks included, and that every import points down
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

constraints: ## install the newest allowed releases into _build/constraints and freeze them into constraints.txt
	@.ci/setup freeze

clean: ## remove what make has made, .venv included
	rm -rf _build .venv .pytest_cache .ruff_cache .hypothesis nsr.egg-info
