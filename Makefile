# One word per task; `make help` lists them. Each does its own set-up and can be repeated.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO := cargo
# Files for `make demo`, arguments for `make bench`.
FILES ?=
ARGS ?=
# Whom `make live` asks: a provider, or provider:model.
PROVIDER ?=
# Where `make install` puts the C library; DESTDIR goes before it.
PREFIX ?= /usr/local
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))

# All runs name the whole workspace: one choice of features, so nothing is built twice.
# The runner of the tests: nextest where it is installed, else cargo's own, which finds the same.
define run_tests
@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	$(CARGO) nextest run --workspace --locked $(1); \
else \
	echo "cargo-nextest is not installed: running the tests by cargo test"; \
	$(CARGO) test --workspace --all-targets --locked $(1); \
fi
endef

# Python: the tools that build the wheel, an environment that each test run makes anew, and one for measuring.
PY_TOOLS := target/py-tools
PY_TESTS := target/py-tests
PY_BENCH := target/py-bench

.PHONY: help setup demo live test check torture conformance bench py py-test py-stubs c c-test install docs prices clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## brings what a build needs, or says what is missing
	@.ci/setup

demo: setup ## runs the example `review`, on FILES="…" if given; no key is needed
	$(CARGO) run --locked --quiet -p blitz-examples --bin review -- $(FILES)

live: setup ## ten calls to a real provider by the environment's key, PROVIDER=name or name:model; no part of the tests
	$(CARGO) run --locked --quiet -p blitz-examples --bin live -- $(PROVIDER)

test: check ## everything that must pass: check, documentation tests, all tests
	$(CARGO) test --workspace --doc --locked
	$(call run_tests)
	$(MAKE) --no-print-directory c-test
	$(MAKE) --no-print-directory py-test

check: setup ## format, lints, documentation, licences and bans
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked
	$(CARGO) test --workspace --test all --locked --quiet -- dependencies

torture: export BLITZ_TORTURE = 1
torture: setup ## the tests again, their campaigns at full length
	$(call run_tests)
	$(MAKE) --no-print-directory c-test CALLS=100000 ROUNDS=100
	$(MAKE) --no-print-directory py-test

conformance: setup ## the suites that every store, provider and tool must pass, and exact token counts; counts per provider (BLITZ_RECORDINGS=folder)
	@rm -rf target/tmp/conformance
	$(call run_tests,--features blitz-tests/tokens -- conformance tokens::exact bedrock)
	@cat target/tmp/conformance/*.txt 2>/dev/null || echo "no recordings: set BLITZ_RECORDINGS to their folder"

# The Python rows measure the wheel as it is shipped, in an environment that has the floor's module beside it.
bench: setup $(PY_TOOLS)/bin/maturin $(PY_BENCH)/bin/python ## measures beside the floors; ARGS="execution --rounds 9", ARGS="list"
	$(CARGO) build --release --locked -p blitz-benches -p blitz-benches-floor --bins --lib
	rm -rf $(PY_BENCH)/wheel
	$(PY_TOOLS)/bin/maturin build --release --quiet --manifest-path blitz-py/Cargo.toml --out $(PY_BENCH)/wheel
	$(PY_BENCH)/bin/pip install --quiet --disable-pip-version-check --no-index --no-deps --force-reinstall $(PY_BENCH)/wheel/*.whl
	cp $(TARGET)/release/libblitz_floor.$(if $(wildcard /System/Library),dylib,so) \
		"$$($(PY_BENCH)/bin/python -c 'import sysconfig; print(sysconfig.get_path("platlib"))')/blitz_floor.abi3.so"
	$(TARGET)/release/bench $(ARGS)

py: setup $(PY_TOOLS)/bin/maturin ## builds the wheel into target/wheels
	$(PY_TOOLS)/bin/maturin build --release --manifest-path blitz-py/Cargo.toml --out target/wheels

# The wheel of the tests is built as all else is, so that what they share is built once.
py-test: setup $(PY_TOOLS)/bin/maturin ## builds the wheel and tests it in a new virtual environment
	rm -rf $(PY_TESTS)
	python3 -m venv $(PY_TESTS)/venv
	$(PY_TOOLS)/bin/maturin build --profile dev --manifest-path blitz-py/Cargo.toml --out $(PY_TESTS)
	$(PY_TESTS)/venv/bin/pip install --quiet --disable-pip-version-check -r blitz-py/requirements-test.txt $(PY_TESTS)/*.whl
	if command -v node >/dev/null; then $(PY_TESTS)/venv/bin/pip install --quiet --disable-pip-version-check pyright; fi
	cd blitz-py && ../$(PY_TESTS)/venv/bin/python -m pytest $(ARGS)

py-stubs: ## prints the stubs of the Python package from the tables, by the environment of py-test
	$(PY_TESTS)/venv/bin/python blitz-py/stubs.py --write

$(PY_BENCH)/bin/python:
	python3 -m venv --clear $(PY_BENCH)

$(PY_TOOLS)/bin/maturin: blitz-py/requirements-build.txt
	python3 -m venv --clear $(PY_TOOLS)
	$(PY_TOOLS)/bin/pip install --quiet --disable-pip-version-check -r blitz-py/requirements-build.txt
	touch $@

c: setup ## builds the C library
	$(CARGO) build --release --locked -p blitz-ffi

c-test: ## the C and C++ programs of blitz-ffi/tests, plain, under sanitizers and valgrind
	@.ci/setup c
	$(CARGO) build --workspace --lib --locked
	@$(MAKE) --no-print-directory -j2 -C blitz-ffi/tests TARGET=$(TARGET)

install: c ## installs the C library; PREFIX=/usr/local, DESTDIR=
	blitz-ffi/install.sh $(TARGET)/release $(PREFIX)

docs: setup ## the API pages in target/doc, and docs/errors.md from the code table
	BLITZ_BLESS=1 $(CARGO) test --workspace --test all --locked --quiet -- errors_doc
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

prices: ## makes blitz-core/prices/prices.json anew from published collections, and lists where they disagree
	python3 -m venv target/prices
	target/prices/bin/pip install --quiet --upgrade genai-prices
	target/prices/bin/pip install --quiet --upgrade --no-deps litellm
	target/prices/bin/python blitz-core/prices/update.py \
		target/prices/lib/python3*/site-packages/litellm/model_prices_and_context_window_backup.json

clean: ## removes what was built
	$(CARGO) clean
	rm -rf demo-output
