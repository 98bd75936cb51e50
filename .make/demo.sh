#!/usr/bin/env bash
# A node from an Asterisk-style configuration with 10,000 hints, 20,000 watchers, state changes
# over AMI; shows latencies and rates, and fails if a single lamp is wrong at the end.
. "$(dirname "$0")/common.sh"

HINTS=10000 WATCHERS=20000
# glommio's build script compiles liburing with cc and make, and calls git.
need_rust
need_programs cc:build-essential make:make git:git

say "Building lampfield and lampload (release; minutes the first time, seconds later)"
cargo build --release -q -p lampfield -p lampload
lampfield=$TARGET/release/lampfield lampload=$TARGET/release/lampload

dir=$(mktemp -d) node=
end() {
    trap - EXIT INT TERM
    [ -z "$node" ] || { kill -TERM "$node" 2>/dev/null; wait "$node" 2>/dev/null; } || true
    rm -rf "$dir"
}
trap end EXIT
trap 'exit 130' INT TERM

say "Writing an Asterisk-style configuration with $HINTS hints"
"$lampfield" example-config --asterisk --hints "$HINTS" "$dir/etc"

say "Starting a node from it, on free ports of 127.0.0.1"
"$lampfield" run --asterisk "$dir/etc" --state-dir "$dir/state" --console "$dir/console.sock" \
    --listen udp:127.0.0.1:0 --ami 127.0.0.1:0 --ready-file "$dir/ready" 2>"$dir/log" &
node=$!
for _ in $(seq 300); do
    [ -e "$dir/ready" ] && break
    kill -0 "$node" 2>/dev/null || break
    sleep 0.1
done
[ -e "$dir/ready" ] || { cat "$dir/log" >&2; fail "the node did not start"; }
sip=$(sed -n 's/^udp //p' "$dir/ready") ami=$(sed -n 's/^ami //p' "$dir/ready")
echo "   SIP on $sip, AMI on $ami, $("$lampfield" console --socket "$dir/console.sock" -x shards | grep -cE '^ *[0-9]+ ') shards"

say "Subscribing $WATCHERS watchers, then changing states for 15 seconds"
# On two cores the node and the generator share the machine: a generator that is late by more than
# the usual 5 ms is let pass up to 50 ms. Its lateness is in the latencies, and printed beside them.
code=0
timeout 240 "$lampload" fanout --target "$sip" --change-by "ami://demo:demo@$ami" \
    --extensions "10000..$((10000 + HINTS - 1))" --device-template 'Custom:lamp{exten}' \
    --watchers "$WATCHERS" --subscribe-rate 4000/s --changes-rate 500/s --duration 15s \
    --max-own-lateness 50ms --max-wrong 0 || code=$?

end
kill -0 "$node" 2>/dev/null && fail "the node (process $node) is still running"
say "The node has ended, its files are gone"
[ "$code" = 0 ] || fail "lampload ended with code $code (1: a lamp or threshold, 3: this machine was too busy, 124: it took too long)"
