# Everything a user or a maintainer does. `make` prints this list; variables may be given on the command line.
PYTHON  ?= python3
PRESET  ?= quick
DATASET ?=
SEEDS   ?=
TABLES  ?=
FRESH   ?=
JOBS    ?=
ENGINE  ?=
GPUS    ?=
RAY_ADDRESS ?=
ALLOW_ROOT ?=

# A variable that is misspelt, or a switch that is neither on nor off, is refused before anything starts.
VARIABLES := PYTHON PRESET DATASET SEEDS TABLES FRESH JOBS ENGINE GPUS RAY_ADDRESS ALLOW_ROOT
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
UNKNOWN := $(filter-out $(VARIABLES) MAKE% -*-%,$(GIVEN))
ifneq ($(UNKNOWN),)
NEAREST := import difflib, sys; print(*difflib.get_close_matches(sys.argv[1].upper(), sys.argv[2:], 1))
NEAREST := $(shell $(PYTHON) -c "$(NEAREST)" "$(firstword $(UNKNOWN))" $(VARIABLES))
$(error $(firstword $(UNKNOWN)) is no variable of this Makefile; there are $(VARIABLES)$(if \
  $(NEAREST), (did you mean $(NEAREST)?)))
endif
$(foreach switch,FRESH ALLOW_ROOT,$(if $(filter-out 0 1,$($(switch))),$(error $(switch)='$($(switch))' is not allowed; \
  it must be 1, or 0 or empty)))
ifneq ($(strip $(JOBS)),)
ifneq ($(shell printf '%s' '$(subst ','\'',$(JOBS))' | grep -cxE '0*[1-9][0-9]*'),1)
$(error JOBS='$(JOBS)' is not allowed; it must be a whole number of at least 1)
endif
endif

# So are the names of presets, data sets, tables and engines, before minutes go into an environment.
NAMES_PRESET := smoke quick study paper
NAMES_ENGINE := local ray torchrun
NAMES_DATASET := digits glyphs eyes grammar cifar10 cifar100 multi30k wmt14 imagenet food101 flowers102 stanford-cars pets \
  voc2012 openeds
NAMES_TABLES = $(shell cut -d, -f1 data/published/index.csv data/published/figures.csv | grep -v _id)
NEAREST_OF := import difflib, sys; found = difflib.get_close_matches(sys.argv[1], sys.argv[2:], 1, 0); \
  print(*found or sys.argv[2:3])
nearest = $(shell $(PYTHON) -c "$(NEAREST_OF)" '$(subst ','\'',$(1))' $(2))
refuse = $(if $(1),$(error $(2)='$($(2))' is not allowed; $(firstword $(1)) is unknown$(if $(3), (did you mean \
  $(call nearest,$(firstword $(1)),$(3))?))))
$(foreach variable,PRESET ENGINE DATASET,$(if $(word 2,$($(variable))),$(error $(variable)='$($(variable))' is not \
  allowed; it must be one name)))
ifneq ($(strip $(SEEDS)),)
ifneq ($(shell printf '%s' '$(subst ','\'',$(SEEDS))' | grep -cxE ' *[0-9]+( +[0-9]+)* *'),1)
$(error SEEDS='$(SEEDS)' is not allowed; it must be whole numbers, for example "0 1 2")
endif
endif
ifneq ($(strip $(GPUS)),)
ifneq ($(shell printf '%s' '$(subst ','\'',$(GPUS))' | grep -cxE '[0-9]+(\.[0-9]+)?'),1)
$(error GPUS='$(GPUS)' is not allowed; it must be a number of at least 0)
endif
endif
ifneq ($(strip $(RAY_ADDRESS)),)
ifeq ($(strip $(ENGINE)),ray)
ifneq ($(shell printf '%s' '$(subst ','\'',$(RAY_ADDRESS))' | grep -cxE '[^[:space:]]+:[0-9]+'),1)
$(error RAY_ADDRESS='$(RAY_ADDRESS)' is not allowed; it must be host:port)
endif
export RAY_ADDRESS
else ifeq ($(firstword $(origin RAY_ADDRESS)),command)
$(error RAY_ADDRESS='$(RAY_ADDRESS)' is not allowed without ENGINE=ray; other engines use this machine)
endif
endif
$(foreach variable,PRESET ENGINE DATASET,$(call refuse,$(filter-out $(NAMES_$(variable)),$($(variable))),$(variable),\
  $(NAMES_$(variable))))
ifneq ($(strip $(TABLES)),)
$(call refuse,$(filter-out $(NAMES_TABLES),$(TABLES)),TABLES,$(NAMES_TABLES))
endif

VENV := .venv
BIN  := $(VENV)/bin
RUN  := $(BIN)/python -m repro
REQUEST = --preset "$(PRESET)" --dataset "$(DATASET)" --seeds "$(SEEDS)" --tables "$(TABLES)" $(if $(filter 1,$(FRESH)),--fresh) \
  $(if $(ENGINE),--engine "$(ENGINE)") $(if $(GPUS),--gpus "$(GPUS)")
export JOBS

# Each target is one step or hands its parallelism to JOBS; running two of them side by side gains nothing.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help env env-cluster env-site tables figures reference test test-pages test-faults test-cluster test-site test-install test-gpu lab app site bench \
  weights wheel lint clean

help:  ## print the targets and variables
	@echo "Targets"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-12s %s\n", $$1, $$2}'
	@echo "Variables (now)"
	@echo "  PRESET=$(PRESET)   smoke (seconds), quick (minutes, two cores), study (hours; makes the reference) or paper (GPUs)"
	@echo "  DATASET=$(DATASET)        one that a preset of the table has, such as digits, glyphs, cifar10 (default: the preset's)"
	@echo "  SEEDS=$(SEEDS)          for example '0 1 2' (default: the preset's)"
	@echo "  TABLES=$(TABLES)         for example 'acghostnet_t06 acghostnet_t03' (default: all)"
	@echo "  FRESH=$(FRESH)          1 repeats finished runs"
	@echo "  JOBS=$(JOBS)           processes side by side (default: the number of cores)"
	@echo "  ENGINE=$(ENGINE)         local (default), or ray for the nodes of the cluster at RAY_ADDRESS (needs make env-cluster)"
	@echo "  GPUS=$(GPUS)           GPUs of a node for each run (ENGINE=ray)"
	@echo "  RAY_ADDRESS=$(RAY_ADDRESS)    host:port of the cluster's head (ENGINE=ray; empty: a cluster of this machine alone)"
	@echo "  ALLOW_ROOT=$(ALLOW_ROOT)     1 lets 'make lab' run as root, as containers do"
	@echo "  PYTHON=$(PYTHON)   the interpreter the environment is made from (3.11 or newer)"

env: $(VENV)/.installed $(VENV)/.installed-test  ## make .venv with the pinned versions (the other targets do this themselves)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than Python 3.11; name a newer one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "Could not make $(VENV); on Debian or Ubuntu: apt-get install python3-venv, then try again."; exit 1; }

# torch first and pinned: otherwise another package may ask for a newer one and its several GB of CUDA libraries.
$(VENV)/.installed: constraints.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV) (a few minutes the first time) ..."
	@{ $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch && \
	   $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[notebooks]'; } || \
	  { echo "Installation failed (see above). Check the network and about 4 GB of free disk"; \
	    echo "(torch's CUDA build: several more), then run the same command again: what is already"; \
	    echo "installed is kept. 'rm -rf $(VENV)' starts over."; exit 1; }
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "Installing what the tests need ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[notebooks,triton,export,dev]' || \
	  { echo "Installation failed (see above). Check the network and about 1 GB of free disk, then try again."; exit 1; }
	@touch $@

tables: $(VENV)/.installed  ## regenerate tables, figures and pages in output/ (see PRESET, DATASET, TABLES)
	@$(RUN) tables $(REQUEST)

figures: $(VENV)/.installed  ## draw all figures of the committed records into figures/
	@$(RUN) figures

reference: $(VENV)/.installed  ## as tables, but into the committed records; then redraw the README's status board
	@$(RUN) tables --reference $(REQUEST)
	@$(RUN) status --update-readme

test: $(VENV)/.installed-test  ## run the tests on this machine's cores
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m "not gpu and not pages"

test-pages: $(VENV)/.installed-test  ## execute at smoke the notebooks that run only when they are named (minutes)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -m pages tests/pages

test-faults: $(VENV)/.installed-test  ## kill runs and damage stored files many times (minutes; 'test' does a few)
	@REPRO_FAULTS=full OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto tests/test_faults.py tests/test_datasets.py \
	  tests/runs tests/train/test_imagefolder.py

env-cluster: $(VENV)/.installed-test  ## add Ray to .venv, for ENGINE=ray
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cluster]'

test-cluster: env-cluster  ## kill workers, nodes and drivers of a small Ray cluster on this machine (minutes)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/runs/test_cluster.py

env-site: $(VENV)/.installed-test  ## add Sphinx to .venv, for the site
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[site]'

site: env-site  ## build static pages of all results, guides and the reference into output/site/ (minutes)
	@$(RUN) site

test-site: env-site  ## build the site and check its links, headings, pictures and search (minutes)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/site

test-install: $(VENV)/.installed-test  ## fetch all that the wheel asks for into a fresh environment of $(PYTHON) and use it (minutes)
	@REPRO_INSTALL=full PYTHON="$(PYTHON)" $(BIN)/python -m pytest --timeout 1800 tests/test_package.py

test-gpu: $(VENV)/.installed-test  ## run the full grid of kernel tests on a CUDA device
	@$(BIN)/python -m pytest -m gpu

bench: $(VENV)/.installed-test  ## test the operators, then time them beside their peers (minutes; records in output/)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/ops $(wildcard tests/cpu) -q -n auto -m "not gpu"
	@$(RUN) bench

lab: $(VENV)/.installed  ## open JupyterLab on this machine only, protected by its token
	@if [ "$$(id -u)" = 0 ] && [ "$(ALLOW_ROOT)" != 1 ]; then \
	  echo "JupyterLab would run as root, with all rights on this machine; in a container: make lab ALLOW_ROOT=1"; exit 1; fi
	@$(BIN)/jupyter lab --ip=127.0.0.1 --notebook-dir=notebooks $(if $(filter 1,$(ALLOW_ROOT)),--allow-root)

app: $(VENV)/.installed  ## serve the explorer as a page on this machine only; prints its address with a token
	@$(RUN) app

clean:  ## remove output/, decoded data and caches; keeps finished runs, downloads and .venv
	@rm -rf output data/cache build dist .ruff_cache .mypy_cache .pytest_cache .hypothesis
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

weights: $(VENV)/.installed  ## train the small networks whose weights come with the package, into data/weights (minutes)
	@for op in conv shift adder; do $(RUN) train resnet20 --set width=0.25 --set op=$$op --dataset glyphs --epochs 20 \
	  --batch-size 64 --lr 0.15 --eta 0.5 --save data/weights/resnet20-$$op-glyphs.safetensors || exit 1; done

wheel: $(VENV)/.installed-test  ## build wheel and sdist into dist/
	@$(BIN)/python -m hatchling build

lint: $(VENV)/.installed-test  ## check style, and the types of what a user calls and of most bodies
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy --no-error-summary
