# Everything a person types. `make demo` and `make test` are the two commands of a fresh machine:
# Python >= 3.11, make and git are all they need.

PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,\
	$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# torch stays out of the lock: its hash differs per build. On PyPI the Linux wheel brings CUDA.
TORCH_VERSION := 2.13.0
TORCH := torch==$(TORCH_VERSION)
PIP := $(BIN)/python -m pip
SAYS_WHAT_IT_SKIPS := -rsfE

.PHONY: install demo test test-all test-gpu check lint fuzz fuzz-parsers chaos chaos-ci soak bench lock

install: $(STAMP)

$(STAMP): requirements.lock pyproject.toml Makefile
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and none is on PATH." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q --require-hashes --no-deps -r requirements.lock
	@set -e; if nvidia-smi >/dev/null 2>&1; then \
		echo "A GPU is here: installing the CUDA build of $(TORCH) from $${TORCH_INDEX:-PyPI}"; \
		$(PIP) install -q $${TORCH_INDEX:+--index-url "$$TORCH_INDEX"} "$(TORCH),!=$(TORCH_VERSION)+cpu"; \
	elif $(PIP) install -q --no-index "$(TORCH)" 2>/dev/null; then \
		echo "Installed $(TORCH) from a local wheel"; \
	else \
		echo "Installing $(TORCH) from $${TORCH_INDEX:-PyPI}"; \
		$(PIP) install -q $${TORCH_INDEX:+--index-url "$$TORCH_INDEX"} "$(TORCH)"; \
	fi
	$(PIP) install -q --no-deps --no-build-isolation -e .
	$(PIP) check
	@touch $@

# KEEP=1 leaves the service running until Ctrl-C.
demo: install
	@$(BIN)/python -m afterprop.demo $(if $(KEEP),--keep)

# The whole suite; at its end it names every test that was skipped, and why. First what needs no running service, on two
# processes, test by test; then what starts services and often waits for them, on three, file by file.
COMPUTES := tests/api tests/identities tests/learners tests/specs tests/store tests/worker_comparison tests/worker_training \
	tests/test_house.py
test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SAYS_WHAT_IT_SKIPS) -n 2 --dist worksteal $(COMPUTES)
	$(BIN)/python -m pytest $(SAYS_WHAT_IT_SKIPS) -n 3 --dist loadfile --no-loadscope-reorder --ignore=tests/chaos $(COMPUTES:%=--ignore=%)

# Requests made from the OpenAPI document: every boundary of every field, random ones, and chains of them.
fuzz: install
	AFTERPROP_FUZZ_CASES=20000 AFTERPROP_FUZZ_PHASES=examples,coverage,fuzzing,stateful \
		$(BIN)/python -m pytest $(SAYS_WHAT_IT_SKIPS) -o timeout=7200 tests/api/test_openapi_fuzz.py

# Every fault that the tests can make, on SQLite and on PostgreSQL, one test at a time; AFTERPROP_CHAOS_SEED repeats a run.
CHAOS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SAYS_WHAT_IT_SKIPS) -p tests.chaos.results
chaos: install
	AFTERPROP_CHAOS_SCALE=1 $(CHAOS) --chaos-results=benchmarks/results/chaos.md -m "not soak" tests/chaos

# The same at a fifth of the numbers.
chaos-ci: install
	AFTERPROP_CHAOS_SCALE=0.2 $(CHAOS) -m "not soak" tests/chaos

# Short jobs without a pause for AFTERPROP_SOAK_S seconds, an hour by default: memory, descriptors, processes.
soak: install
	AFTERPROP_SOAK_S=$${AFTERPROP_SOAK_S:-3600} $(CHAOS) -m soak tests/chaos

# Every parser of bytes on good files that were changed at random, so many seconds each.
fuzz-parsers: install
	AFTERPROP_FUZZ_SECONDS=$(or $(SECONDS),600) $(BIN)/python -m pytest $(SAYS_WHAT_IT_SKIPS) tests/fuzz

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_house.py

check: lint test

# Also the road of a job with the plain launcher, which other systems than Linux use, and what needs a GPU.
test-all: check
	AFTERPROP_LAUNCHER=spawn $(BIN)/python -m pytest $(SAYS_WHAT_IT_SKIPS) tests/acceptance
	$(MAKE) test-gpu

# Whatever needs a CUDA device and no service. Without a device every test says that it was skipped.
test-gpu: install
	$(BIN)/python -m pytest $(SAYS_WHAT_IT_SKIPS) -m gpu

# The cost of a whole job beside the loop that a user would write. AFTERPROP_DATA_DIR holds mnist/.
bench: install
	$(BIN)/python -m benchmarks.job_overhead "$${AFTERPROP_DATA_DIR:?set it to the folder that holds mnist/}"

LOCKED := uv pip compile --python-version 3.11 --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-header
lock:
	$(LOCKED) requirements.in -o requirements.lock
	$(LOCKED) deploy/api.in -o deploy/api.lock -c requirements.lock
	$(LOCKED) deploy/worker.in -o deploy/worker.lock -c requirements.lock
