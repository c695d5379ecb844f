# Everything goes into .venv, samples/ and out/.  `make help` lists what there is.
#   PYTHON=python3.12       another interpreter (3.11 or 3.12)
#   TORCH_PIP_ARGS=...      extra arguments for installing PyTorch, for example another index with CPU-only builds
#   RECIPE=my.yaml          the recipe that `make demo` runs
#   RUN_ARGS="--set a.b=c"  overrides of the recipe for `make demo`
#   PYTEST_ARGS=...         what `make test` passes to pytest

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?=
RECIPE ?= recipes/quickstart.yaml
RUN_ARGS ?=
CI_RECIPE ?= recipes/quickstart-ci.yaml
PYTEST_ARGS ?= -q -n auto --dist loadfile -m "not slow and not gpu"
TORCH := $(shell grep '^torch==' constraints.txt)
TORCH_PIP_ARGS ?=
# Gold pages for the benchmark; they are not part of the repository.
BENCH_DATA ?= $(if $(GRISTMILL_SHARED),$(GRISTMILL_SHARED),../shared)/data
BENCH_ARGS ?=
# Texts of bench-signals and bench-disagreements: JSON Lines, or a folder of document shards.
BENCH_TEXTS ?= out/bench/documents
# Peers to install for the benchmarks, each by its pinned set in bench/peers/.
BENCH_PEERS ?= datatrove dolma
DEDUP_PEERS ?= minhash datatrove text-dedup data-juicer
# people: presidio, scrubadub and detect-secrets in one; people-scancode installs 750 MB.
PEOPLE_PEERS ?= people dolma datatrove people-licenses people-scancode
# bench-people shows licences on each Nth text: scancode needs a fifth of a second for one, spdx-matcher up to two.
LICENSE_EVERY ?= 40

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# The stamp's name changes with what is to be installed, so a fresh one means that nothing is to do.
STAMP := $(VENV)/installed-$(shell cat pyproject.toml constraints.txt | cksum | tr -d ' ')

# Interpreter of the gpu targets: any with torch (CUDA), triton, numpy and pytest; not necessarily that of .venv.
GPU_PYTHON ?= python3
GPU_JOBS ?= 6
GPU_ARGS ?=

.PHONY: help install samples demo demo-ci run-recipe redpajama-v2 the-stack-v2 starcoder2 test lint clean bench-extraction bench-ingest bench-signals bench-disagreements \
    bench-dedup bench-people gpu-check gpu-tests gpu-bench gpu-study

help:
	@echo "make demo              fetch the samples (60 MB) and run $(RECIPE)"
	@echo "make redpajama-v2      what RedPajama-V2 did to the web, on the samples (recipes/redpajama-v2.yaml)"
	@echo "make the-stack-v2      what The Stack v2 did to code, on the samples"
	@echo "make starcoder2        The Stack v2 and more, shaped and packed as StarCoder2 was trained on it"
	@echo "make install           set everything up, and compile the rule families ahead of the first run"
	@echo "make test              run the tests (under 10 minutes)"
	@echo "make lint              ruff and mypy"
	@echo "make bench-extraction  main text, metadata and encodings: quality and speed, beside peers"
	@echo "make bench-ingest      web archives and code to documents: speed beside the bare readers and the bare extractor"
	@echo "make bench-signals     speed of every family of signals, beside its peers"
	@echo "make bench-disagreements  how often two readings of one rule disagree"
	@echo "make bench-dedup       near-duplicates: quality against the exact truth, speed, beside peers"
	@echo "make bench-people      personal data and licences: speed and quality, beside peers"
	@echo "make gpu-check         on a GPU: the tests of the kernels, then bench/results/gpu.jsonl"
	@echo "make gpu-study         on a GPU: the quickstart's corpora judged by proxies of ten million weights"
	@echo "make clean             remove .venv, samples/, out/ and caches"

# Interpreters are tried by running them: a name on PATH may be a shim for a version that is not there.
$(STAMP): pyproject.toml constraints.txt
	@chosen=""; \
	for python in $(if $(PYTHON),$(PYTHON),python3.11 python3.12 python3 python); do \
	    if "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' \
	        >/dev/null 2>&1; then chosen="$$python"; break; fi; \
	done; \
	if [ -z "$$chosen" ]; then \
	    echo "No usable Python found. Gristmill needs Python 3.11 or 3.12 with the venv module" >&2; \
	    echo "(on Debian and Ubuntu: the packages python3.11 and python3.11-venv)." >&2; \
	    echo "Tried: $(if $(PYTHON),$(PYTHON),python3.11, python3.12, python3, python)." >&2; \
	    echo "Name one with: make PYTHON=/path/to/python3.11" >&2; \
	    exit 1; \
	fi; \
	if ! [ -x $(BIN)/python ] || \
	    [ "$$("$$chosen" -c 'import sys; print(sys.version_info[:2])')" != \
	      "$$($(BIN)/python -c 'import sys; print(sys.version_info[:2])' 2>/dev/null)" ]; then \
	    echo "Creating $(VENV) with $$("$$chosen" --version)"; \
	    "$$chosen" -m venv --clear $(VENV); \
	fi; \
	rm -f $(VENV)/installed-*; \
	echo "Installing the pinned packages of constraints.txt into $(VENV) (a few minutes the first time)"; \
	failed() { \
	    tail -n 15 $(VENV)/install.log >&2; \
	    echo "Installing failed; all of pip's output is in $(VENV)/install.log." >&2; \
	    echo "Without a network it works only where pip finds every package of constraints.txt by itself." >&2; \
	    exit 1; \
	}; \
	: > $(VENV)/install.log; \
	$(PIP) install -c constraints.txt $(TORCH_PIP_ARGS) $(TORCH) >> $(VENV)/install.log 2>&1 || failed; \
	$(PIP) install -c constraints.txt -e '.[proxy,code,tokenizers,dev]' >> $(VENV)/install.log 2>&1 || failed; \
	touch $@

# For the tests of the kernels, in triton's interpreter, where torch has no CUDA and so brings no triton (190 MB).
# It is not in constraints.txt, since a torch with CUDA asks for its own.
TRITON := triton==3.6.0

$(VENV)/triton: $(STAMP)
	@$(BIN)/python -c 'import triton' 2>/dev/null || $(PIP) install -c constraints.txt $(TRITON) \
	    || echo "No $(TRITON) for this machine: tests that need it are skipped." >&2
	@touch $@

# Without it the first run compiles what it calls, so a failure is no reason to stop.
install: $(STAMP)
	@echo "Compiling the kernels of the rule families, once, on all processors (12 s on two)"
	@$(BIN)/python -m quality_signals.precompile || \
	    echo "They are not compiled now; the first run compiles those that it calls." >&2

samples: $(STAMP)
	@$(BIN)/python recipes/samples/fetch.py

demo: $(STAMP) samples
	@$(MAKE) --no-print-directory run-recipe

# What the recipe reads must be there.
run-recipe: $(STAMP)
	@$(BIN)/gristmill run $(RECIPE) $(RUN_ARGS) || { status=$$?; \
	    [ $$status = 2 ] || \
	        echo "The run stopped (exit code $$status). Finished stages stay; the same command goes on from there." >&2; \
	    exit $$status; }
	@output=$$($(BIN)/python -c 'import sys; from pipelines.recipe_yaml import apply_overrides, read_yaml; \
	    recipe = read_yaml(sys.argv[1]); apply_overrides(recipe, [a for a in sys.argv[2:] if "=" in a]); \
	    print(recipe.data.get("output") or "out/" + recipe.data["name"])' $(RECIPE) $(RUN_ARGS)); \
	echo; \
	echo "Look at:"; \
	for file in report.html report.md manifest.json; do \
	    if [ -e "$$output/$$file" ]; then echo "  $$output/$$file"; fi; done; \
	for made in "$$output"/corpora/*/ "$$output"/shaped/*/ "$$output"/packed/*/; do \
	    if [ -d "$$made" ]; then echo "  $${made}README.md"; fi; done

# The recipes of published corpora, each with what it reads.
samples/web.warc.gz: | $(STAMP)
	@$(BIN)/python recipes/samples/fetch.py warc

samples/enwiki.xml.bz2: | $(STAMP)
	@$(BIN)/python recipes/samples/fetch.py wikipedia

samples/en.ngram.zip: samples/enwiki.xml.bz2
	@$(BIN)/gristmill ingest $< --kind wikipedia --output out/wikipedia
	@$(BIN)/gristmill fit ngram out/wikipedia --output $@

redpajama-v2: samples/web.warc.gz samples/en.ngram.zip
	@$(MAKE) --no-print-directory run-recipe RECIPE=recipes/$@.yaml

the-stack-v2: $(STAMP)
	@$(BIN)/python recipes/samples/fetch.py code
	@$(MAKE) --no-print-directory run-recipe RECIPE=recipes/$@.yaml

starcoder2: the-stack-v2 samples/enwiki.xml.bz2
	@$(BIN)/python recipes/samples/fetch.py clones
	@$(MAKE) --no-print-directory run-recipe RECIPE=recipes/$@.yaml

demo-ci:
	@$(MAKE) --no-print-directory demo RECIPE=$(CI_RECIPE)

test: $(STAMP) $(VENV)/triton
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy

bench-extraction: $(STAMP) .bench/extraction/installed
	@if ! [ -d "$(BENCH_DATA)/web-article-extraction" ]; then \
	    echo "No gold pages in $(BENCH_DATA). Name the folder that holds web-article-extraction and" >&2; \
	    echo "web-trafilatura-eval: make bench-extraction BENCH_DATA=/path/to/data" >&2; \
	    exit 1; \
	fi
	@PYTHONPATH=. $(BIN)/python bench/extraction.py $(BENCH_DATA) \
	    --packages .bench/extraction/lib/python3*/site-packages $(BENCH_ARGS)

bench-ingest: $(STAMP) samples
	@if ! [ -d "$(BENCH_DATA)/warc" ]; then \
	    echo "No web archives in $(BENCH_DATA). Name the folder that holds warc and web-trafilatura-eval:" >&2; \
	    echo "make bench-ingest BENCH_DATA=/path/to/data" >&2; \
	    exit 1; \
	fi
	@PYTHONPATH=. $(BIN)/python bench/ingest.py $(BENCH_DATA) --code samples/code/*.whl samples/code/*.tar.gz \
	    $(BENCH_ARGS)

out/bench/documents: $(STAMP) samples
	@$(BIN)/gristmill ingest samples/web/*.whl samples/web/*.tar.gz --kind html --output out/bench >/dev/null

.bench/%/installed: bench/peers/%.txt $(STAMP)
	@echo "Installing the peer $* into .bench/$*"
	@$(BIN)/python -m venv --clear .bench/$*
	@.bench/$*/bin/python -m pip --disable-pip-version-check --quiet install --no-deps -r $<
	@touch $@

bench-signals: $(STAMP) $(filter out/%,$(BENCH_TEXTS)) $(BENCH_PEERS:%=.bench/%/installed)
	@PYTHONPATH=. $(BIN)/python bench/signals.py $(BENCH_TEXTS) \
	    $(foreach peer,$(BENCH_PEERS),--$(peer) .bench/$(peer)/bin/python) $(BENCH_ARGS)

bench-disagreements: $(STAMP) $(filter out/%,$(BENCH_TEXTS))
	@PYTHONPATH=. $(BIN)/python bench/disagreements.py $(BENCH_TEXTS)

# text-dedup needs Python 3.12; without one it is a row that says so.
.bench/text-dedup/installed: bench/peers/text-dedup.txt $(STAMP)
	@mkdir -p .bench; chosen=""; \
	for python in $(BIN)/python python3.12 python3.13 python3; do \
	    if "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 12) <= sys.version_info[:2] < (3, 14))' \
	        >/dev/null 2>&1; then chosen="$$python"; break; fi; \
	done; \
	if [ -z "$$chosen" ]; then \
	    echo "No Python 3.12 for the peer text-dedup: it is left out" >&2; mkdir -p .bench/text-dedup; touch $@; exit 0; \
	fi; \
	echo "Installing the peer text-dedup into .bench/text-dedup"; \
	"$$chosen" -m venv --clear .bench/text-dedup; \
	.bench/text-dedup/bin/python -m pip --disable-pip-version-check --quiet install --no-deps -r $<; \
	touch $@

# Edited copies of the texts are planted, so that there is something to find.
bench-dedup: $(STAMP) $(filter out/%,$(BENCH_TEXTS)) $(DEDUP_PEERS:%=.bench/%/installed)
	@PYTHONPATH=. $(BIN)/python bench/deduplication.py $(BENCH_TEXTS) --plant \
	    $(foreach peer,datasketch gaoya rensa,--peer $(peer)=.bench/minhash/bin/python) \
	    $(foreach peer,$(filter-out minhash,$(DEDUP_PEERS)),--peer $(peer)=.bench/$(peer)/bin/python) $(BENCH_ARGS)

# For the rows of names in texts; constraints.txt pins the extra's packages.
$(VENV)/pii: $(STAMP)
	@$(PIP) install -c constraints.txt -e '.[pii]'
	@touch $@

out/bench-code: $(STAMP) samples
	@$(BIN)/python bench/code_files.py $@ samples/code/*.whl samples/code/*.tar.gz

PII_GOLD := $(BENCH_DATA)/pii-presidio/synth_v2.jsonl
LICENSE_TEXTS := $(BENCH_DATA)/license-texts-spdx/texts.tar.gz
PEOPLE_OF = $(if $(filter $(1),$(PEOPLE_PEERS)),--peer $(2)=.bench/$(1)/bin/python)

bench-people: $(VENV)/pii $(filter out/%,$(BENCH_TEXTS)) out/bench-code $(PEOPLE_PEERS:%=.bench/%/installed)
	@for file in "$(PII_GOLD)" "$(LICENSE_TEXTS)"; do [ -e "$$file" ] || \
	    echo "No $$file: its table is left out (BENCH_DATA names the folder that holds it)" >&2; done
	@PYTHONPATH=. $(BIN)/python bench/people.py $(BENCH_TEXTS) $(if $(wildcard $(PII_GOLD)),--gold $(PII_GOLD)) \
	    --code out/bench-code $(call PEOPLE_OF,dolma,dolma) $(call PEOPLE_OF,datatrove,datatrove) \
	    $(foreach peer,presidio scrubadub detect-secrets,$(call PEOPLE_OF,people,$(peer))) $(BENCH_ARGS)
	@if [ -e "$(LICENSE_TEXTS)" ]; then echo; \
	    PYTHONPATH=. $(BIN)/python bench/license_texts.py $(LICENSE_TEXTS) --code out/bench-code; echo; \
	    PYTHONPATH=. $(BIN)/python bench/license_texts.py $(LICENSE_TEXTS) --code out/bench-code --every $(LICENSE_EVERY) \
	    $(foreach peer,licenseclassifier spdx-matcher,$(call PEOPLE_OF,people-licenses,$(peer))) \
	    $(call PEOPLE_OF,people-scancode,scancode); fi

# Without tests/conftest.py, which needs Arrow: the kernels are tested with torch, triton, numpy and pytest alone.
# Compiling takes most of the time, so several files at once pay.  Exit code 5: no test of the file was chosen.
gpu-tests:
	@printf '%s\n' tests/kernels/test_*.py tests/eval_models/test_gpu_training.py | \
	    PYTHONPATH=.:$$PYTHONPATH xargs -P $(GPU_JOBS) -I FILE bash -c 'status=0; \
	    said=$$($(GPU_PYTHON) -m pytest -q -p no:cacheprovider --confcutdir=tests/kernels -m "gpu or not slow" \
	    FILE 2>&1) || status=$$?; if [ $$status = 0 ] || [ $$status = 5 ]; then \
	    echo "FILE: $$(tail -n 1 <<< "$$said")"; else echo "$$said"; exit 1; fi'

gpu-bench:
	@PYTHONPATH=.:$$PYTHONPATH $(GPU_PYTHON) -m bench.gpu $(GPU_ARGS)

gpu-check: gpu-tests gpu-bench

gpu-study: $(STAMP) samples
	@$(BIN)/python -c 'import sys, torch; sys.exit(None if torch.cuda.is_available() else \
	    "torch in $(VENV) sees no CUDA device: TORCH_PIP_ARGS names where to install it from")'
	@$(MAKE) --no-print-directory demo RECIPE=recipes/gpu-study.yaml

clean:
	rm -rf $(VENV) .bench samples out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
