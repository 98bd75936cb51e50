#!/usr/bin/env bash
# `perf.sh full`: every run of `perf compare`, beside Kamailio and the bare system calls, recorded.
# `perf.sh smoke`: its short runs of ours. Figures are told and never make it fail; a wrong lamp does.
# A second word is the profile they are built in: CI has most of `counts` already.
. "$(dirname "$0")/common.sh"

mode=${1:?full or smoke} profile=${2:-release}
# glommio's build script compiles liburing with cc and make, and calls git.
need_rust
need_programs cc:build-essential make:make git:git taskset:util-linux
[ "$(nproc)" -ge 2 ] || fail "two cores are needed: one for the server, one for the generator"

# The generator has 10,000 sockets.
descriptors=12000
[ "$(ulimit -n)" = unlimited ] || [ "$(ulimit -n)" -ge "$descriptors" ] ||
    ulimit -n "$descriptors" 2>/dev/null ||
    fail "$descriptors file descriptors are needed, the hard limit is $(ulimit -Hn)"

case $mode in
full)
    need_kamailio
    arguments=(compare --record)
    said="Measuring: 100 to 100,000 watchers, phones and one edge, lists, Kamailio, bare system calls (10 minutes at most)"
    ;;
smoke)
    arguments=(compare --quick --without-kamailio)
    said="Measuring: 1,000 and 10,000 watchers, lists, bare system calls (under a minute)"
    ;;
*) fail "$mode: full or smoke" ;;
esac

say "Building lampfield, lampload and perf ($profile; minutes the first time, seconds later)"
cargo build --profile "$profile" -q -p lampfield -p lampload -p lampfield-perf

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
say "$said"
begun=$SECONDS
TMPDIR=$dir "$TARGET/$profile/perf" "${arguments[@]}"
say "Measured in $((SECONDS - begun)) s. What the columns mean, and what may not be compared: docs/MEASURING.md"
