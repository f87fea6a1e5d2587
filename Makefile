# One word per task; `make help` lists them. Each does its own set-up and can be repeated.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO := cargo
# Files for `make demo`, arguments for `make bench`.
FILES ?=
ARGS ?=

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

.PHONY: help setup demo test check torture conformance bench py c docs prices clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## brings what a build needs, or says what is missing
	@.ci/setup

demo: setup ## runs the example `review`, on FILES="…" if given; no key is needed
	$(CARGO) run --locked --quiet -p blitz-examples --bin review -- $(FILES)

test: check ## everything that must pass: check, documentation tests, all tests
	$(CARGO) test --workspace --doc --locked
	$(call run_tests)

check: setup ## format, lints, documentation, licences and bans
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked
	$(CARGO) test --workspace --test all --locked --quiet -- dependencies

torture: export BLITZ_TORTURE = 1
torture: setup ## the tests again, their campaigns at full length
	$(call run_tests)

conformance: setup ## the suites that every store, provider and tool must pass
	$(call run_tests,conformance)

bench: setup ## measures beside the floors; ARGS="execution --rounds 9", ARGS="list"
	$(CARGO) build --release --locked -p blitz-benches --bins
	$(CARGO) run --release --locked --quiet -p blitz-benches --bin bench -- $(ARGS)

py: setup ## builds the library behind the Python package
	$(CARGO) build --release --locked -p blitz-py

c: setup ## builds the C library
	$(CARGO) build --release --locked -p blitz-ffi

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
