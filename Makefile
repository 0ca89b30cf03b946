# Each target does all its own set-up in .venv; nothing but Python 3.11 or later and make is needed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# What `make bench-remote` compares with.
PEERS := philote pytensor_federated tesseract umbridge

# The browser that the explorer is tested in; Debian's, or another that is named here.
CHROMIUM ?= $(firstword $(shell command -v chromium chromium-browser google-chrome))

.PHONY: help demo test test-browser lint fuzz bench bench-remote docs protos clean

help:
	@echo "make demo    start a server, ask it for gradients, show them"
	@echo "make test    run the tests"
	@echo "make test-browser"
	@echo "             use the explorer page in Chromium; as root on Debian it is installed first where it is missing"
	@echo "make lint    run the linters, and check that generated code is up to date"
	@echo "make fuzz    send changed messages, documents and expressions to all that reads them, until something breaks or"
	@echo "             FUZZ_SECONDS have passed; what breaks it lies in build/fuzz afterwards"
	@echo "make bench   compare speed and memory with torch, jax and autograd; takes about eight minutes"
	@echo "make bench-remote"
	@echo "             compare the service with a raw echo of gRPC and with others; takes about eight minutes"
	@echo "make docs    write the reference pages of the gates, docs/gates"
	@echo "make protos  generate graphsvc/v1 from protos/"
	@echo "make clean   remove what the targets made"

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "graphsvc needs Python 3.11 or later; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) --editable '.[test]'
	touch $@

$(VENV)/installed-browser: $(VENV)/installed-test
	$(PIP) --editable '.[browser]'
	touch $@

$(VENV)/installed-lint: $(VENV)/installed-test
	$(PIP) --editable '.[test,lint]'
	touch $@

# The generator has an environment of its own: stubs of this version work with protobuf 6 and 7, and it wants protobuf 6.
$(VENV)/protos/installed:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m venv $(VENV)/protos
	$(VENV)/protos/bin/python -m pip install --quiet --disable-pip-version-check 'grpcio-tools==1.81.*'
	touch $@

# So has the fuzzer, which few need.
$(VENV)/fuzz/installed: pyproject.toml tests/fuzzing/requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "graphsvc needs Python 3.11 or later; set PYTHON=...")'
	test -x $(VENV)/fuzz/bin/python || $(PYTHON) -m venv $(VENV)/fuzz
	$(VENV)/fuzz/bin/python -m pip install --quiet --disable-pip-version-check \
		--requirement tests/fuzzing/requirements.txt --editable .
	touch $@

# So have the peers of the benchmark, which are large.
$(VENV)/bench/installed: pyproject.toml benchmarks/requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "graphsvc needs Python 3.11 or later; set PYTHON=...")'
	test -x $(VENV)/bench/bin/python || $(PYTHON) -m venv $(VENV)/bench
	$(VENV)/bench/bin/python -m pip install --quiet --disable-pip-version-check \
		--requirement benchmarks/requirements.txt --editable .
	touch $@

# A peer that cannot be installed is left out, and asked for again the next time.
$(VENV)/remote/%/installed: benchmarks/remote/peers/%/requirements.txt
	test -x $(VENV)/remote/$*/bin/python || $(PYTHON) -m venv $(VENV)/remote/$*
	if $(VENV)/remote/$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<; \
		then touch $@; else echo "$* cannot be installed, so it is left out"; fi

demo: $(VENV)/installed
	$(BIN)/python examples/demo.py

test: $(VENV)/installed-test
	$(BIN)/python -m pytest --numprocesses auto

test-browser: $(VENV)/installed-browser
ifeq ($(CHROMIUM),)
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core > /dev/null
endif
	CHROMIUM=$(CHROMIUM) $(BIN)/python -m pytest tests/browser

lint: $(VENV)/installed-lint $(VENV)/protos/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd protos && ../$(BIN)/buf lint
	rm -rf build/protos && mkdir -p build/protos
	$(call generate,build/protos)
	for file in build/protos/graphsvc/v1/*; do diff -u graphsvc/v1/$$(basename $$file) $$file || exit 1; done

fuzz: $(VENV)/fuzz/installed
	mkdir -p build/fuzz/corpus
	$(VENV)/fuzz/bin/python -m tests.fuzzing.fuzz -max_total_time=$(or $(FUZZ_SECONDS),0) -max_len=65536 -mutate_depth=2 -timeout=20 \
		-rss_limit_mb=2048 -verbosity=0 -artifact_prefix=build/fuzz/ build/fuzz/corpus

bench: $(VENV)/bench/installed
	$(VENV)/bench/bin/python benchmarks/bench.py

bench-remote: $(VENV)/installed $(PEERS:%=$(VENV)/remote/%/installed)
	$(BIN)/python benchmarks/bench_remote.py --environments $(VENV)/remote

docs: $(VENV)/installed
	$(BIN)/graphsvc gates --pages docs/gates

define generate
$(VENV)/protos/bin/python -m grpc_tools.protoc -Iprotos --python_out=$(1) --pyi_out=$(1) protos/graphsvc/v1/*.proto
$(VENV)/protos/bin/python -m grpc_tools.protoc -Iprotos --grpc_python_out=$(1) protos/graphsvc/v1/service.proto
endef

protos: $(VENV)/protos/installed
	$(call generate,.)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
