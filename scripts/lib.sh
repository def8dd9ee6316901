# shellcheck shell=bash disable=SC2034
# Shared by every script here: messages, paths, and installing what is missing.
# Source it; it changes into the root of the checkout. Everything in it is safe to repeat.
#
# Environment:
#   CI           set and not empty: build output goes to the cache folder, outside the checkout
#   DITTO_CACHE  the cache folder (tools, Python environments, fuzz corpus), by default
#                $XDG_CACHE_HOME/ditto-ci or ~/.cache/ditto-ci

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${DITTO_CACHE:-${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/ditto-ci}
cd "$ROOT"
mkdir -p "$CACHE"

if [ -n "${CI:-}" ]; then
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
  # Incremental state helps editing. Between checkouts it is not found again and only fills the cache.
  export CARGO_INCREMENTAL=0
fi
# A fresh rustup installation is not on the PATH of a shell that was already open.
if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
  export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
fi
export PATH="$CACHE/tools/bin:$PATH"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PYTHONDONTWRITEBYTECODE=1
# Where cargo writes: `target/` of the checkout unless it was told otherwise.
TARGET_DIR=${CARGO_TARGET_DIR:-$ROOT/target}

if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then
  BOLD=$'\e[1m' RED=$'\e[31m' GREEN=$'\e[32m' PLAIN=$'\e[0m'
else
  BOLD='' RED='' GREEN='' PLAIN=''
fi

# say TEXT: one line of progress, on stderr so that results on stdout stay clean.
say() { printf '%s\n' "$*" >&2; }

# step TEXT: the headline of a piece of work.
step() { printf '%s== %s%s\n' "$BOLD" "$*" "$PLAIN" >&2; }

# die PROBLEM [FIX]: ends the script. The fix is what the reader should do about it.
die() {
  printf '%serror:%s %s\n' "$RED" "$PLAIN" "$1" >&2
  if [ $# -gt 1 ]; then
    printf '  fix: %s\n' "$2" >&2
  fi
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# as_root COMMAND...: runs it directly as root, else through sudo.
as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif have sudo; then
    sudo "$@"
  else
    die "this needs root: $*" "run it as root, or install sudo"
  fi
}

# ensure_apt PACKAGE...: installs the Debian packages that are missing.
ensure_apt() {
  local package missing=()
  have apt-get || die "needs $* and this system has no apt-get" "install the equivalents of $* with your package manager"
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]} (apt)"
  as_root apt-get update -qq || say "apt-get update failed; trying with the package lists that are here"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 ||
    die "apt-get could not install ${missing[*]}" "see the lines above; is the package mirror reachable?"
}

# ensure_command COMMAND PACKAGE...: installs the packages when the command is missing.
ensure_command() {
  local command=$1
  shift
  have "$command" || ensure_apt "$@"
  have "$command" || die "$command is still missing after installing $*"
}

# at_least HAVE WANT: true when version HAVE is WANT or newer.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

wanted_rust() { sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml; }

# ensure_rust: a C compiler and a Rust toolchain that is new enough.
ensure_rust() {
  local wanted found
  wanted=$(wanted_rust)
  [ -n "$wanted" ] || die "Cargo.toml names no rust-version"
  have cargo || die "cargo is not installed" \
    "install Rust $wanted or newer from https://rustup.rs (Debian 12's own package is too old), then run this again"
  found=$(cargo --version | sed -n 's/^cargo \([0-9.]*\).*/\1/p')
  at_least "$found" "$wanted" || die "cargo $found is older than the $wanted this workspace needs" "rustup update stable"
  # Some dependencies compile C and C++, whatever the compiler is called.
  if ! have cc || ! have c++; then
    ensure_apt build-essential
  fi
}

# ensure_component CARGO_COMMAND COMPONENT: `cargo fmt` and `cargo clippy` are separate components.
ensure_component() {
  cargo "$1" --version >/dev/null 2>&1 && return 0
  have rustup || die "cargo $1 is not installed" "install the $2 component of your Rust toolchain"
  say "installing $2 (rustup)"
  rustup component add "$2" >&2 || die "rustup could not add $2"
}

# ensure_cargo_tool NAME VERSION: a program from crates.io, built once into the cache folder.
ensure_cargo_tool() {
  local name=$1 version=$2
  have "$name" && return 0
  ensure_rust
  say "installing $name $version (cargo, once; this takes a few minutes)"
  # Light optimisation: the tool is fast enough, and is built in half the time.
  CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    CARGO_TARGET_DIR="$CACHE/tools-target" \
    cargo install --quiet --locked --root "$CACHE/tools" --version "$version" "$name" >&2 ||
    die "cargo could not install $name $version" "see the lines above"
  rm -rf "$CACHE/tools-target"
}

# ensure_python: sets PYTHON to a Python 3.9 or newer that can make virtual environments.
ensure_python() {
  ensure_command python3 python3 python3-venv
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' ||
    die "$(python3 --version) is too old" "install Python 3.9 or newer as python3"
  python3 -c 'import ensurepip, venv' 2>/dev/null || ensure_apt python3-venv
  PYTHON=$(command -v python3)
}

# ensure_venv NAME PACKAGE...: sets VENV to an environment with exactly these packages, made once.
# Another list of packages or another Python makes another environment.
ensure_venv() {
  local name=$1 key
  shift
  ensure_python
  key=$({ "$PYTHON" -c 'import sys; print(sys.version, sys.base_prefix)' && printf '%s\n' "$@"; } | cksum | cut -d ' ' -f 1)
  VENV=$CACHE/venv-$name-$key
  if [ ! -e "$VENV/complete" ]; then
    say "making the Python environment $name ($*)"
    rm -rf "$VENV"
    "$PYTHON" -m venv "$VENV"
    "$VENV/bin/python" -m pip install --quiet "$@" >&2 ||
      die "pip could not install $*" "see the lines above; is the package index reachable?"
    touch "$VENV/complete"
  fi
}

