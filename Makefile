# Every target sets up what it needs. Nothing here names a machine or a package index.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# the first interpreter on the path that is new enough
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && { echo "$$p"; break; }; done)

VENV := .venv
PEER := .venv-peer
BENCH := .venv-bench
WHEEL := .venv-wheel
ENGINES := .venv-engines
TYPES := .venv-types
FUZZ := .venv-fuzz
MUTATION := .venv-mutation
DOCS := .venv-docs
SUPPLY := .venv-supply
BIN := $(VENV)/bin

PIP_FLAGS := --quiet --disable-pip-version-check --no-input
ARGS ?=
# Tests mostly wait for sockets: two at a time leave half of two cores idle.
WORKERS ?= 3
# What runs on the wheel: only a module, a data file or a command that it lacks can make a difference,
# so what goes in through the doors once. `make test-wheel WHEEL_TESTS=tests` runs all.
WHEEL_TESTS ?= tests/gates tests/peers tests/cli $(addprefix tests/emulator/test_,life.py openapi.py scoring.py streams.py)

.PHONY: help setup peer test gates lint types imports unit peers test-wheel coverage chaos engines fuzz long soak docs demo bench bench-call bench-overload bench-spark format clean schedules audit sbom verify-types pythons properties mutation

help:
	@echo "make setup | test | docs | demo | bench [ARGS=...] | bench-call | bench-overload | bench-spark | format | clean"
	@echo "parts of test: lint types imports unit peers test-wheel coverage"
	@echo "apart from it: engines (Spark, Locust, Ray) chaos [SCALE=0.1], schedules, properties [PROFILE=nightly], mutation, fuzz [ARGS=...], soak [ARGS=...], audit, sbom, long"

# ---------------------------------------------------------------- environments, each built once per change of its inputs

define new_venv
	@test -n "$(PYTHON)" || { echo "Python 3.10 or later is needed; set PYTHON=/path/to/python3"; exit 1; }
	@test -x $(1)/bin/pip || "$(PYTHON)" -m venv $(1)
endef

setup: $(VENV)/.stamp

$(VENV)/.stamp: pyproject.toml constraints.txt
	$(call new_venv,$(VENV))
	$(BIN)/pip install $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	@touch $@

peer: $(PEER)/.stamp

$(PEER)/.stamp: constraints-peer.txt
	$(call new_venv,$(PEER))
	$(PEER)/bin/pip install $(PIP_FLAGS) -c constraints-peer.txt mlflow-skinny pandas scikit-learn fastapi uvicorn
	@touch $@

$(BENCH)/.stamp: pyproject.toml constraints-peer.txt
	$(call new_venv,$(BENCH))
	$(BENCH)/bin/pip install $(PIP_FLAGS) -c constraints-peer.txt -e '.[bench]' mlflow-skinny
	@touch $@

# every extra is there, since what is not installed is of unknown type
$(TYPES)/.stamp: pyproject.toml constraints.txt
	$(call new_venv,$(TYPES))
	$(TYPES)/bin/pip install $(PIP_FLAGS) -c constraints.txt \
		'.[cli,emulator,redis,otel,prometheus,datadog,fastapi,openai]' \
		basedpyright pytest opentelemetry-sdk pandas pyarrow numpy
	$(TYPES)/bin/pip install $(PIP_FLAGS) -c constraints-engines.txt locust
	@touch $@

$(ENGINES)/.stamp: pyproject.toml constraints-engines.txt
	$(call new_venv,$(ENGINES))
	$(ENGINES)/bin/pip install $(PIP_FLAGS) -c constraints-engines.txt -e '.[engines]'
	$(ENGINES)/bin/pip install $(PIP_FLAGS) -c constraints-engines.txt 'ray[data]' || echo "Ray does not install here: its tests are skipped"
	@touch $@

$(DOCS)/.stamp: pyproject.toml constraints.txt
	$(call new_venv,$(DOCS))
	$(DOCS)/bin/pip install $(PIP_FLAGS) -c constraints.txt -e '.[docs]'
	@touch $@

# Not pinned: each release of atheris has wheels for other versions of Python, and its source needs
# a build of clang.
$(FUZZ)/.stamp: pyproject.toml constraints.txt
	$(call new_venv,$(FUZZ))
	$(FUZZ)/bin/pip install $(PIP_FLAGS) --only-binary atheris -c constraints.txt -e '.[fuzz]' \
		|| { echo "atheris has wheels for CPython 3.10 to 3.13 on Linux: make fuzz PYTHON=/path/to/one of them"; exit 1; }
	@touch $@

# ---------------------------------------------------------------- tests, the fastest first

test: lint types imports unit peers test-wheel
	@echo "lint, types, imports, suite, peers and wheel: all passed"

gates: lint types imports

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

unit: setup
	$(BIN)/python -m pytest -m "not peer and not long" -n $(WORKERS) --dist worksteal $(ARGS)

peers: setup peer
	$(BIN)/python -m pytest -m peer tests/peers $(ARGS)

# Scoring and load on real engines. Spark needs Java 17 on the path: its tests say so and are skipped
# without. Not part of `test`.
engines: $(ENGINES)/.stamp
	$(ENGINES)/bin/python -m pytest -p no:cacheprovider tests/engines $(ARGS)

# Millions of inputs for the parsers of what comes from outside; see tests/fuzz/run.py.
fuzz: $(FUZZ)/.stamp
	$(FUZZ)/bin/python -m tests.fuzz.run $(ARGS)

# What `unit` leaves out: ten seconds of cancelling, two minutes of soak, a million hints, an endpoint
# that scales up under calls that arrive in twenty ways.
long: setup
	$(BIN)/python -m pytest -m long tests/policies tests/transport tests/overload tests/soak $(ARGS)

# Clients under load for minutes or hours, and what they hold afterwards; see tests/soak/run.py.
soak: setup
	$(BIN)/python -m tests.soak.run $(ARGS)

# The wheel as a user gets it: first alone, with no extra installed, then under the suite. The tools
# of the suite are borrowed from .venv by path; a path in a .pth file does not run the .pth files
# there, so the editable install stays out of sight, and the suite runs where there is no src.
WHEEL_DIR := build/wheel

test-wheel: setup
	rm -rf $(WHEEL_DIR) $(WHEEL) && mkdir -p $(WHEEL_DIR)/suite
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m build --outdir $(WHEEL_DIR) . >$(WHEEL_DIR)/log \
		|| { tail -50 $(WHEEL_DIR)/log; exit 1; }
	$(BIN)/python -m venv $(WHEEL)
	$(WHEEL)/bin/pip install $(PIP_FLAGS) -c constraints.txt $(WHEEL_DIR)/*.whl
	$(WHEEL)/bin/python -I -W error tests/wheel/alone.py
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
		>"$$($(WHEEL)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tools.pth"
	cp -R tests pyproject.toml $(wildcard *.md) $(WHEEL_DIR)/suite
	cd $(WHEEL_DIR)/suite && $(CURDIR)/$(WHEEL)/bin/python -m pytest -q -p no:cacheprovider \
		-n $(WORKERS) --dist worksteal -m "not peer and not soak and not checkout" $(WHEEL_TESTS) $(ARGS)

# The chaos matrix: faults on real sockets under load. The long form takes its own times, some
# minutes a row; most of it is waiting, so rows run side by side. SCALE=0.1 takes a tenth of the time.
SCALE ?= 1
CHAOS_WORKERS ?= 6

chaos: setup
	$(BIN)/python -m pytest -q -n $(CHAOS_WORKERS) --dist load --scale $(SCALE) tests/chaos $(ARGS)

# Every state machine of hypothesis for longer than in the suite: `pull_request` is 200 examples of 50
# steps each, `nightly` 5,000 of 100, which takes an hour.
PROFILE ?= pull_request

properties: setup
	$(BIN)/python -m pytest -q --hypothesis-profile=$(PROFILE) -o timeout=0 -k machine --durations=12 \
		tests/auth tests/batching tests/bulk tests/enrichment tests/policies tests/transport $(ARGS)

# What the tests of the decisions would notice: mutmut on a copy, an hour on one core. Fails where
# fewer than 85 % of a module's mutants are killed.
$(MUTATION)/.stamp: pyproject.toml constraints.txt
	$(call new_venv,$(MUTATION))
	$(MUTATION)/bin/pip install $(PIP_FLAGS) -c constraints.txt -e '.[mutation]'
	@touch $@

mutation: $(MUTATION)/.stamp
	rm -rf build/mutation && mkdir -p build/mutation
	cp -R src tests pyproject.toml README.md build/mutation
	cd build/mutation && $(CURDIR)/$(MUTATION)/bin/mutmut run --max-children 1 $(ARGS)
	$(MUTATION)/bin/python tests/mutation/scores.py build/mutation/mutants 85

# Ten thousand schedules of many callers under virtual time; `make schedules ARGS="--seed 7"` plays one.
schedules: setup
	$(BIN)/python -m tests.story.explore $(ARGS)

# What a type checker of a user's sees of the installed wheel.
verify-types: $(TYPES)/.stamp
	rm -rf $(TYPES)/wheel
	$(TYPES)/bin/pip wheel $(PIP_FLAGS) --no-deps --wheel-dir $(TYPES)/wheel .
	$(TYPES)/bin/pip install $(PIP_FLAGS) --no-deps --force-reinstall $(TYPES)/wheel/*.whl
	cd $(TYPES) && { PATH="$(CURDIR)/$(TYPES)/bin:$$PATH" bin/basedpyright --verifytypes servingclient \
		--ignoreexternal --outputjson || true; } | bin/python $(CURDIR)/tests/wheel/typed.py

# The wheel alone on every Python that is on the path and supported.
pythons: setup
	rm -rf build/pythons && mkdir -p build/pythons
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m build --wheel --outdir build/pythons . >build/pythons/log \
		|| { tail -50 build/pythons/log; exit 1; }
	for python in 3.10 3.11 3.12 3.13; do \
		"python$$python" -c '' 2>/dev/null || { echo "python$$python is not on the path: left out"; continue; }; \
		"python$$python" -m venv "build/pythons/$$python"; \
		"build/pythons/$$python/bin/pip" install $(PIP_FLAGS) -c constraints.txt build/pythons/*.whl; \
		echo "python$$python"; \
		"build/pythons/$$python/bin/python" -I -W error tests/wheel/alone.py; \
	done

coverage: setup peer
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q $(ARGS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

# ---------------------------------------------------------------- the site, into build/docs

# Nothing is fetched while it is made; a reference that leads nowhere, or any other warning, fails.
docs: $(DOCS)/.stamp
	$(DOCS)/bin/python docs/render.py --check
	$(DOCS)/bin/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet --fresh-env \
		-b html -d build/doctrees docs build/docs $(ARGS)
	@echo "build/docs/index.html"

# ---------------------------------------------------------------- what is depended upon

$(SUPPLY)/.stamp:
	$(call new_venv,$(SUPPLY))
	$(SUPPLY)/bin/pip install $(PIP_FLAGS) 'pip-audit>=2.10,<3' 'cyclonedx-bom>=7.5,<8'
	@touch $@

# Fails on a known vulnerability, and where a pin could not be looked at: also when the advisory
# database is out of reach.
audit: $(SUPPLY)/.stamp
	$(SUPPLY)/bin/python tests/security/audit.py constraints.txt $(SUPPLY)/bin/pip-audit

# CycloneDX of what a user of the wheel runs, in build/sbom/servingclient.cdx.json. The environment
# that is listed has the wheel and what it needs, and is made anew.
SBOM_DIR := build/sbom

sbom: setup $(SUPPLY)/.stamp
	rm -rf $(SBOM_DIR) && mkdir -p $(SBOM_DIR)
	PIP_CONSTRAINT=$(CURDIR)/constraints.txt $(BIN)/python -m build --wheel --outdir $(SBOM_DIR) . >$(SBOM_DIR)/log \
		|| { tail -50 $(SBOM_DIR)/log; exit 1; }
	$(BIN)/python -m venv $(SBOM_DIR)/venv
	$(SBOM_DIR)/venv/bin/pip install $(PIP_FLAGS) -c constraints.txt $(SBOM_DIR)/*.whl
	$(SUPPLY)/bin/cyclonedx-py environment $(SBOM_DIR)/venv/bin/python --pyproject pyproject.toml \
		--mc-type library --output-reproducible --of JSON -o $(SBOM_DIR)/made.json
	$(BIN)/python tests/security/sbom.py $(SBOM_DIR)/made.json \
		"$$($(SBOM_DIR)/venv/bin/python -c 'import servingclient; print(servingclient.__version__)')" \
		$(SBOM_DIR)/servingclient.cdx.json

# ---------------------------------------------------------------- running it

demo: setup
	@$(BIN)/servingclient demo $(ARGS)

# every figure that has a target, some minutes; two cores and nothing else running
bench: $(BENCH)/.stamp
	$(BENCH)/bin/python benchmarks/bench.py $(ARGS)

bench-call: $(BENCH)/.stamp
	$(BENCH)/bin/python benchmarks/bench_call.py $(ARGS)

bench-overload: $(BENCH)/.stamp
	$(BENCH)/bin/python benchmarks/bench.py --only overload $(ARGS)

bench-spark: $(ENGINES)/.stamp
	$(ENGINES)/bin/python benchmarks/bench_spark.py $(ARGS)

format: setup
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean:
	rm -rf $(MUTATION) $(VENV) $(PEER) $(BENCH) $(WHEEL) $(ENGINES) $(DOCS) $(FUZZ) $(SUPPLY) build dist src/*.egg-info .cache .pytest_cache .mypy_cache .ruff_cache
	rm -rf .import_linter_cache .hypothesis .coverage* htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
