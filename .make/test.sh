#!/usr/bin/env bash
# Everything CI checks. One line per stage while it runs, all of them with their times at the end.
# Tests, doc tests, benches and interop share one profile (test), so that nothing is built twice.
. "$(dirname "$0")/common.sh"

summary=()
finish() {
    local code=$?
    trap - EXIT
    echo
    printf '%s\n' "${summary[@]}"
    [ "$code" = 0 ] && echo "make test: passed" || echo "make test: FAILED"
    exit "$code"
}
trap finish EXIT

# stage NAME COMMAND...: runs it, remembers how long it took, ends everything if it fails.
stage() {
    local name=$1 begun=$SECONDS code=0
    shift
    say "$name: $*"
    "$@" || code=$?
    local verdict=ok
    [ "$code" = 0 ] || verdict="FAILED ($code)"
    summary+=("$(printf '%-14s %5d s  %s' "$name" $((SECONDS - begun)) "$verdict")")
    [ "$code" = 0 ] || exit "$code"
}

tools() {
    need_rust
    need_programs cc:build-essential make:make git:git sipp:sip-tester baresip:baresip-core \
        chromium:chromium valgrind:valgrind
    need_kamailio
    local part
    for part in fmt clippy; do
        cargo "$part" --version >/dev/null 2>&1 && continue
        command -v rustup >/dev/null || fail "cargo $part is missing, and rustup to install it"
        rustup component add "$([ "$part" = fmt ] && echo rustfmt || echo clippy)"
    done
}

# nextest if it is there. Compiling it here would take longer than it saves.
if cargo nextest --version >/dev/null 2>&1; then
    tests=(cargo nextest run --workspace --no-fail-fast --status-level slow)
    interop=(cargo nextest run --workspace --test interop --status-level pass)
    tests+=(-E 'not binary(interop)')
else
    say "cargo-nextest is not installed; cargo test does the same, more slowly"
    tests=(cargo test --workspace -q --lib --bins --tests)
    interop=(cargo test --workspace -q --test interop)
fi

stage tools    tools
stage fmt      cargo fmt --all --check
stage clippy   cargo clippy -q --workspace --all-targets -- -D warnings
stage docs     env RUSTDOCFLAGS='-D warnings' cargo doc -q --workspace --no-deps
stage tests    "${tests[@]}"
stage doctests cargo test -q --workspace --doc
stage benches  cargo test -q --workspace --bench '*'
stage counts   cargo run -q --profile counts -p lampfield-benches --bin instructions
stage smoke    .make/perf.sh smoke counts
stage interop  env LAMPFIELD_INTEROP=1 "${interop[@]}"
