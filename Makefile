# Two commands for people: `make demo` and `make test`. Both install what they need themselves.
SHELL := /bin/bash

.PHONY: help demo test soak

help:
	@echo "make demo   10,000 hints, 20,000 watchers, latencies and lamps, in a few minutes"
	@echo "make test   everything CI checks: style, lints, docs, tests, interop with SIPp and baresip"
	@echo "make soak   simulator seeds until stopped"

demo:
	@.make/demo.sh

test:
	@.make/test.sh

soak:
	@. .make/common.sh; need_rust; need_programs cc:gcc git:git; \
	exec cargo run --release -p lampfield-sim --bin soak
