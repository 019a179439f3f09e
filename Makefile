# make demo: set up and run the main job on a simulated screen. make test: set up and run the tests.
.PHONY: help demo test deepprofiler faults lint types docs format notebooks wheel-check clean
PY := .venv/bin/python
DEMO ?= idrstream_demo
# Test processes side by side; a module's tests stay together, since they share fixtures.
TEST_WORKERS ?= 2
# DeepProfiler has a Python of its own; what needs it is skipped until `make deepprofiler` has made it.
ifneq ($(wildcard .venv-deepprofiler/bin/python),)
export IDRSTREAM_DEEPPROFILER_PYTHON ?= $(CURDIR)/.venv-deepprofiler/bin/python
endif

help:
	@echo "make demo   set up .venv and stream a small simulated screen to features"
	@echo "make test   set up .venv and run the tests"
	@echo "make deepprofiler   set up .venv-deepprofiler, for engine = \"deepprofiler\" and its tests"
	@echo "make lint types   what CI checks before the tests"
	@echo "make docs   build the documentation site into site/"

demo:
	@PYTHON="$(PYTHON)" tools/venv.sh
	@$(PY) -m idrstream demo --force "$(DEMO)"

test:
	@PYTHON="$(PYTHON)" tools/venv.sh dev
	@$(PY) tests/tools/get_bioformats.py || echo "Tests of the Bio-Formats reader will be skipped."
	$(PY) -m pytest -n $(TEST_WORKERS) --dist loadscope -m "not slow and not gpu and not live" $(PYTEST_ARGS)

deepprofiler:
	@PYTHON="$(PYTHON)" tools/venv.sh --deepprofiler
	@echo "IDRSTREAM_DEEPPROFILER_PYTHON=$(CURDIR)/.venv-deepprofiler/bin/python"

# Kills and faults at every transition of a stream: is anything ever lost? Some minutes.
faults:
	@PYTHON="$(PYTHON)" tools/venv.sh dev
	$(PY) tests/faults/campaign.py --out benchmarks/results/faults.json $(FAULTS_ARGS)

lint:
	@PYTHON="$(PYTHON)" tools/venv.sh dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	.venv/bin/lint-imports --no-logo --no-cache

types:
	@PYTHON="$(PYTHON)" tools/venv.sh dev
	$(PY) -m mypy

# The documentation as a site without a network; warnings are errors (with --quiet they are not counted).
docs:
	@PYTHON="$(PYTHON)" tools/venv.sh dev
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

format:
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# A user's way in: a wheel in a clean environment, used in an empty folder.
wheel-check:
	@PYTHON="$(PYTHON)" tools/venv.sh dev
	$(PY) tools/wheel_check.py

# Runs the notebooks anew.
notebooks:
	@PYTHON="$(PYTHON)" tools/venv.sh dev
	$(PY) tools/run_notebooks.py

clean:
	rm -rf .venv .venv-deepprofiler build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis "$(DEMO)"
