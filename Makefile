# Commands for people. Each installs what it needs itself.
SHELL := /bin/bash

.PHONY: help demo test perf perf-smoke soak

help:
	@echo "make demo   10,000 hints, 20,000 watchers, latencies and lamps, in a few minutes"
	@echo "make test   everything CI checks: style, lints, docs, tests, interop with SIPp, baresip and Kamailio"
	@echo "make perf   every measurement, beside Kamailio and the bare system calls, recorded; 10 minutes"
	@echo "make perf-smoke   the short measurements, in under a minute; no figure makes it fail"
	@echo "make soak   simulator seeds until stopped"

demo:
	@.make/demo.sh

test:
	@.make/test.sh

perf:
	@.make/perf.sh full

perf-smoke:
	@.make/perf.sh smoke

soak:
	@. .make/common.sh; need_rust; need_programs cc:gcc git:git; \
	exec cargo run --release -p lampfield-sim --bin soak
