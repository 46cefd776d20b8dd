# Every command makes or refreshes .venv itself, so each works as the first one after a clone.

VENV := .venv
BIN := $(VENV)/bin
# Written last, so an interrupted setup is never taken for a whole one. The folder is part of its name because
# an environment that was copied or moved along with its checkout still points at the old place.
READY := $(VENV)/.ready-$(shell pwd -P | cksum | cut -d' ' -f1)
# One thread: the tests' matrices are small. `make test` has a process for each core.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

quote = '$(subst ','\'',$(1))'
setting = $(if $($(1)),$(call quote,$(2)=$($(1))))
BENCH = $(call quote,dataset=$(DATASET)) $(call setting,SOURCE,source) $(call setting,ALGORITHM,algorithm) \
	$(call setting,BUDGET,budget) $(call setting,SEEDS,seeds) $(call setting,STEPS,steps) $(call setting,DEVICE,device) \
	$(call setting,RESULTS,results)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup check fix test docs links gallery demo bench finetune report paper gate selftest speed profile policy lock clean named

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  make bench and finetune take DATASET= and, where wanted, SOURCE=auto|d4rl|minari|embedded,"
	@echo "  ALGORITHM=cql|iql|td3_bc and so on (paper: several, with commas, or all),"
	@echo "  BUDGET=smoke|quick|paper, SEEDS=3 or SEEDS=0,1,2, STEPS=, DEVICE=auto|cpu|cuda, RESULTS=folder,"
	@echo "  and ARGS= for everything else. PYTHON= chooses the interpreter that .venv is made with."

setup: $(READY) ## Make or refresh .venv from requirements.lock
	@echo "$(VENV) is ready."

$(READY): requirements.lock pyproject.toml $(if $(filter bench finetune,$(MAKECMDGOALS)),| named)
	@python=$$(sh scripts/find_python.sh $(call quote,$(PYTHON))) && "$$python" scripts/bootstrap.py $@

check: $(READY) ## Lint, formatting, types, structure: what CI checks before the tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(PYTEST) -q tests/test_structure.py

fix: $(READY) ## Mend what a tool can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

test: $(READY) ## Run every test
	@$(PYTEST) -n auto --dist worksteal $(ARGS)

docs: $(READY) ## Build the documentation into build/docs, notebooks executed; warnings are errors; NOTEBOOKS=off
	@$(BIN)/python -m sphinx -q -W --keep-going -j auto -d build/doctrees docs build/docs && echo "build/docs/index.html"

links: $(READY) ## Try the links of the documentation that lead elsewhere; needs a network
	@NOTEBOOKS=off $(BIN)/python -m sphinx -q -b linkcheck -j auto -d build/doctrees-links docs build/linkcheck

demo: $(READY) ## See it work, in a minute or two: data, training, evaluation, a report
	@$(BIN)/cqlbench demo $(call setting,RESULTS,results) $(ARGS)

named:
	@test -n $(call quote,$(DATASET)) || { \
		echo "DATASET is missing; name one, for example: make $(MAKECMDGOALS) DATASET=hopper-medium" >&2; exit 2; }

bench: named $(READY) ## Train, evaluate and tabulate: make bench DATASET=hopper-medium
	@$(BIN)/cqlbench bench $(BENCH) $(ARGS)

finetune: named $(READY) ## Train offline, then go on with frames from the environment; variables as of bench
	@$(BIN)/cqlbench finetune $(BENCH) $(ARGS)

report: $(READY) ## Tables of recorded runs; RESULTS=, SELECT=last|best|mean10, OUTPUT=, and filters as ARGS=
	@$(BIN)/cqlbench report $(call setting,RESULTS,results) $(call setting,SELECT,select) \
		$(call setting,OUTPUT,output) $(call setting,DATASET,dataset) $(call setting,ALGORITHM,algorithm) \
		$(call setting,BUDGET,budget) $(ARGS)

paper: $(READY) ## Run or resume a suite, then its report: make paper SUITE=d4rl_locomotion ALGORITHM=bc,iql,cql
	@$(BIN)/cqlbench paper $(call setting,SUITE,suite) $(call setting,ALGORITHM,algorithm) \
		$(call setting,BUDGET,budget) $(call setting,SEEDS,seeds) $(call setting,DEVICE,device) $(call setting,RESULTS,results) $(call setting,SELECT,select) \
		$(call setting,LAUNCHER,launcher) $(ARGS)

# One thread: the suite's networks are small, and a baseline's speed is compared at equal threads only.
gate: $(READY) ## Has a score or the algorithm changed? SUITE=smoke against its baseline; ARGS=--accept makes the baseline
	@OMP_NUM_THREADS=1 $(BIN)/cqlbench gate suite=$(call quote,$(or $(SUITE),smoke)) \
		baseline=$(call quote,$(or $(BASELINE),results/baselines/$(or $(SUITE),smoke).json)) \
		$(call setting,SEEDS,seeds) $(call setting,RESULTS,results) $(ARGS)

selftest: $(READY) ## Does the gate see planted bugs? Minutes on two cores
	@$(PYTEST) -q -n 2 --dist worksteal -m slow tests/commands/test_gate_selftest.py

speed: $(READY) ## Time every algorithm's step against its matrix products and an eager one, CQL's also against torchrl
	@PYTHONPATH=scripts $(BIN)/python -m speed $(call setting,DEVICE,device) $(call setting,RESULTS,results) $(ARGS)

profile: $(READY) ## Where the time of a gradient step goes, by operation, and a trace: make profile ARGS='seeds=10 layers=3'
	@PYTHONPATH=scripts $(BIN)/python -m speed.profiling $(call setting,DEVICE,device) $(call setting,RESULTS,results) $(ARGS)

gallery: $(READY) ## Draw the pictures of datasets in the documentation again (maintainers, minutes)
	@PYTHONPATH=scripts $(BIN)/python -m gallery $(ARGS)

policy: $(READY) ## Train the behaviour policies of an embedded dataset: make policy RECIPE=hopper-v0 (maintainers, hours)
	@PYTHONPATH=scripts $(BIN)/python -m behaviour.train $(call quote,$(RECIPE)) $(ARGS)

lock: $(READY) ## Write requirements.lock anew from what .venv holds
	@$(BIN)/python scripts/lock.py

clean: ## Remove .venv and tool caches; results, records and datasets stay
	@rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find cqlbench tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
