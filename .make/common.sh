# Shared by the scripts of the Makefile: saying what is done, and getting what is missing.
# shellcheck shell=bash
set -euo pipefail
export PATH="$PATH:$HOME/.cargo/bin:/usr/games"
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}

say() { printf '\033[1m==\033[0m %s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# The compiler the workspace asks for (rust-version in Cargo.toml).
need_rust() {
    local want have
    want=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    command -v cargo >/dev/null ||
        fail "cargo not found. Install Rust $want or newer first: https://rustup.rs"
    have=$(cargo --version | cut -d' ' -f2)
    [ "$(printf '%s\n%s\n' "$want" "$have" | sort -V | head -n1)" = "$want" ] ||
        fail "Rust $want or newer is needed, this is $have. Try: rustup update stable"
}

# need_programs PROGRAM:PACKAGE...: installs the Debian packages of those that are missing.
need_programs() {
    local pair packages=()
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null || packages+=("${pair#*:}")
    done
    [ ${#packages[@]} -eq 0 ] || install_packages "${packages[@]}"
}

# Debian starts a server of its own with the package; ours has another port and configuration.
need_kamailio() {
    export PATH="$PATH:/usr/sbin"
    local modules=(/usr/lib/*/kamailio/modules/rls.so) tls=(/usr/lib/*/kamailio/modules/tls.so)
    local is_new=
    command -v kamailio >/dev/null || is_new=yes
    [ -z "$is_new" ] && [ -e "${modules[0]}" ] && [ -e "${tls[0]}" ] && return
    install_packages kamailio kamailio-presence-modules kamailio-tls-modules
    if [ -n "$is_new" ] && [ -d /run/systemd/system ]; then
        say "Stopping the kamailio service that Debian has just started"
        as_root systemctl disable -q --now kamailio || true
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install_packages() {
    local how="apt-get install $*" log
    command -v apt-get >/dev/null ||
        fail "missing: $* (Debian's names), and there is no apt-get here to install them"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null ||
        fail "missing: $*, and neither root nor sudo to install them. As root: $how"
    say "Installing Debian packages: $*"
    log=$(mktemp)
    as_root apt-get update -q >"$log" 2>&1 || true
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y \
        --no-install-recommends "$@" >>"$log" 2>&1 ||
        { tail -n 20 "$log" >&2; rm -f "$log"; fail "this did not work: $how"; }
    rm -f "$log"
}
