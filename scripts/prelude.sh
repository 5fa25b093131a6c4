# shellcheck shell=bash
# What every script here starts with: sourced, never run. Leaves the shell in the repository's root.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cache="${XDG_CACHE_HOME:-$HOME/.cache}/ryokan"
tools="$cache/tools"
export PATH="$tools/bin:$PATH"

# A CI run may start from a clean clone on a machine that has built before.
if [ "${CI:-}" = true ]; then
    export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target}" CARGO_INCREMENTAL=0
fi
# Used by the scripts that source this file.
# shellcheck disable=SC2034
target="${CARGO_TARGET_DIR:-$PWD/target}"

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Waits up to half a minute for a command to succeed, while another one, which says that what it waits for is alive, does.
wait_for() {
    local alive="$1" tries
    shift
    for tries in $(seq 300); do
        if "$@" >/dev/null 2>&1; then
            return
        fi
        "$alive" || break
        sleep 0.1
    done
    die "gave up after $tries tries: $*"
}

# The server leaves the operator's own access in its data folder, for nobody else to read: FOLDER url|token.
access() { sed -n "s/.*\"$2\" *: *\"\([^\"]*\)\".*/\1/p" "$1/cli.json" 2>/dev/null | head -1; }

# Runs a command as root, with sudo when we are not.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        die "this needs root, and there is no sudo: $*"
    fi
}

# Installs Debian packages without their recommendations: those start daemons that nobody asked for.
apt_install() {
    have apt-get || die "please install yourself (this is no Debian): $*"
    say "installing $*"
    local log
    log="$(mktemp)"
    # Package lists may be absent or too old to find the files they name.
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >"$log" 2>&1; then
        as_root apt-get update >>"$log" 2>&1 || true
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >>"$log" 2>&1 || {
            tail -20 "$log" >&2
            die "apt-get could not install $* (whole log: $log)"
        }
    fi
    rm -f "$log"
}

# The command of the container engine that answers, or failure.
engine() {
    local candidate
    for candidate in ${RYOKAN_ENGINE:-docker podman}; do
        if have "$candidate" && timeout 20 "$candidate" version >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' 2>/dev/null ||
        node -e 's = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close() })'
}

# Puts a tool of scripts/prebuilt.txt into a folder; fails when PyPI or this machine's kind is out of reach.
prebuilt() {
    local package="$1" folder="$2" requirements
    have pip3 || apt_install python3-pip
    requirements="$(mktemp)"
    sed -n "/^$package==/,/[^\\\\]$/p" scripts/prebuilt.txt >"$requirements"
    say "getting $package"
    rm -rf "$folder"
    local got=0
    pip3 install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --require-hashes --only-binary :all: \
        --target "$folder" -r "$requirements" || got=$?
    rm -f "$requirements"
    return "$got"
}

# Makes `cargo NAME` available: prebuilt in seconds, else built here in minutes. Kept in the user's cache.
cargo_tool() {
    local name="$1" version="$2"
    ! have "$name" || return 0
    mkdir -p "$tools/bin"
    if grep -q "^astral-dev-toolchain-$name==" scripts/prebuilt.txt &&
        prebuilt "astral-dev-toolchain-$name" "$tools/$name"; then
        ln -sf "$tools/$name/bin/$name" "$tools/bin/$name"
    else
        say "building $name $version"
        # Unoptimised: it is used for seconds and built for minutes.
        env -u CARGO_TARGET_DIR cargo install --quiet --locked --debug --root "$tools" "$name@$version"
    fi
}

# The packages of a folder with a package-lock.json, exactly as locked; nothing when they are there.
npm_packages() {
    local lock
    lock="$(sha256sum "$1/package-lock.json" | cut -d' ' -f1)"
    if [ "$(cat "$1/node_modules/.ryokan-lock" 2>/dev/null)" != "$lock" ]; then
        say "installing the packages of $1"
        (cd "$1" && npm ci --silent --no-audit --no-fund)
        echo "$lock" >"$1/node_modules/.ryokan-lock"
    fi
}
