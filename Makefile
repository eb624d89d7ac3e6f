# Two commands matter: `make demo` shows it, `make test` proves it. CONTRIBUTING.md says the rest.

BIN := .venv/bin
FHIR ?= sekmet
ARGS ?=

.PHONY: help setup demo test check bench bench-kill format

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

setup: .venv/ready ## make .venv and install everything into it (nothing to do the second time)

.venv/ready: pyproject.toml constraints.txt scripts/setup.sh scripts/find_python.py scripts/packages.sh
	@scripts/setup.sh

demo: setup ## a practice hospital on this machine: real orders in, results checked (FHIR=sekmet or FHIR=hapi, ARGS=--keep)
	@case "$(FHIR)" in \
	  sekmet) ;; \
	  hapi) scripts/packages.sh javac=default-jdk-headless mvn=maven ;; \
	  *) echo "FHIR=$(FHIR) is not known; choose FHIR=sekmet or FHIR=hapi" >&2; exit 2 ;; \
	esac
	@$(BIN)/fhir-bridge demo --fhir $(FHIR) $(ARGS)

test: setup ## everything that can be checked here: style, types, directions of imports, tests (ARGS=tests/mappings)
	@scripts/test.sh $(ARGS)

check: setup ## style, types, directions of imports, and the tests that start no peer and no TensorFlow: seconds
	@scripts/lint.sh
	@$(BIN)/pytest -q -m "not real_parts and not tensorflow" $(ARGS)

bench: setup ## every figure of docs/benchmarks.md, measured anew (minutes)
	@scripts/bench.sh $(ARGS)

bench-kill: setup ## 1,000 kills of the whole server under a stream of orders (long)
	@$(BIN)/python benchmarks/kill.py --kills 1000 $(ARGS)

format: setup ## let ruff write the code as it should look
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .
