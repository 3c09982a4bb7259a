# Every target makes the virtual environment it needs. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INPUT ?=
OUT ?= out
PROFILE ?= cpu
ARGS ?=
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help shards inspect weights doctor latents train edit evaluate test test-slow lint bench bench-quality bench-learn bench-gpu schema clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/core: pyproject.toml .constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint .constraints.txt --editable .
	@touch $@

$(VENV)/lite $(VENV)/models $(VENV)/train: pyproject.toml .constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint .constraints.txt --editable '.[$(@F)]'
	@touch $@ $(VENV)/core

# The tests build tiny networks of every kind, so they need every extra.
$(VENV)/dev: pyproject.toml .constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint .constraints.txt --editable '.[dev,lite,models,train]'
	@touch $@ $(VENV)/core $(VENV)/lite $(VENV)/models $(VENV)/train

# What a profile needs installed; a configuration of your own (ARGS='--config …') may need EXTRA=models.
EXTRA ?= $(if $(filter vivid,$(PROFILE)),models,$(if $(filter lite,$(PROFILE)),lite,core))

shards: $(VENV)/$(EXTRA) ## videos and images → shards; INPUT= OUT= PROFILE= ARGS= (no INPUT: the demo clips)
ifeq ($(strip $(INPUT)),)
	@$(BIN)/vivid demo demo >/dev/null
	@$(BIN)/vivid shards demo/input --out $(OUT) --profile $(PROFILE) $(ARGS)
else
	@$(BIN)/vivid shards $(INPUT) --out $(OUT) --profile $(PROFILE) $(ARGS)
endif
	@echo "look at it: make inspect OUT=$(OUT)"

weights: $(VENV)/$(EXTRA) ## fetch the weights of PROFILE= into VIVID_WEIGHTS, verified
	@$(BIN)/vivid weights --profile $(PROFILE) $(ARGS)

doctor: $(VENV)/$(EXTRA) ## what PROFILE= needs and what of it is on this machine
	@$(BIN)/vivid doctor --profile $(PROFILE) $(ARGS)

inspect: $(VENV)/core ## the funnel and the contact sheet of OUT=
	@$(BIN)/vivid inspect $(OUT) $(ARGS)

latents: $(VENV)/train ## latents of OUT= for training, computed once (ARGS='--base …')
	@$(BIN)/vivid latents $(OUT) $(ARGS)

train: $(VENV)/train ## the editor, from the shards in OUT= (without ARGS='--base …': a tiny random base, a few steps)
	@$(BIN)/vivid train $(OUT) $(ARGS)

edit: $(VENV)/train ## ARGS='VIDEO --model … --box … --prompt … --output …'
	@$(BIN)/vivid edit $(ARGS)

evaluate: $(VENV)/train ## BP, TA, TC on the held-out samples of OUT= (ARGS='--model …')
	@$(BIN)/vivid evaluate $(OUT) $(ARGS)

test: $(VENV)/dev ## the tests (minutes), JOBS= at a time
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

test-slow: $(VENV)/dev ## the long tests: Ray, kills at random moments
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: $(VENV)/dev ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/dev ## speed, as ratios within one run (table and bench/speed.json)
	$(BIN)/python tests/bench/speed.py $(ARGS)

bench-quality: $(VENV)/dev ## masks, deletion pairs and captions against ground truth (tables in bench/)
	$(BIN)/python tests/bench/quality.py $(ARGS)

bench-learn: $(VENV)/dev ## a small editor trained on rendered clips: deletion, colour, LoRA on held-out ones (≤ 40 minutes)
	$(BIN)/python tests/bench/learn.py --only-shards $(ARGS)
	$(BIN)/python tests/bench/learn.py $(ARGS)

bench-gpu: $(VENV)/dev ## on a GPU: a LoRA step of CogVideoX-5B's size, seconds, MFU and memory (random weights)
	$(BIN)/python tests/bench/large_step.py $(ARGS)

schema: $(VENV)/core ## write manifests/SCHEMA.md from the row classes
	$(BIN)/python -c "from manifests.schema import schema_page; print(schema_page(), end='')" > manifests/SCHEMA.md

clean: ## remove the environment, the demo and its output
	rm -rf $(VENV) demo out
