# What building and testing need on a bare Debian or Ubuntu machine. Sourced by deploy/quickstart and tests/run.
# shellcheck shell=bash

# The release of Rust that Cargo.toml states.
rust_version=$(sed -n 's/^rust-version = "\([0-9.]*\)".*/\1/p' "$(dirname "${BASH_SOURCE[0]}")/../Cargo.toml")
cargo_deny_version=0.20.2

# prerequisites_packages [PACKAGE:PROGRAM...]: install what is missing of these and of what every build needs.
prerequisites_packages() {
  local entry missing=()
  for entry in gcc:cc libc6-dev:/usr/include/stdlib.h make:make cmake:cmake git:git curl:curl python3:python3 python3-venv:/usr/share/doc/python3-venv "$@"; do
    command -v "${entry#*:}" >/dev/null || [ -e "${entry#*:}" ] || missing+=("${entry%%:*}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$EUID" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "these packages are missing: ${missing[*]}; install them (apt-get install ${missing[*]}) and try again" >&2
    return 1
  fi
  echo "installing Debian packages: ${missing[*]}" >&2
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "${missing[@]}"; } >&2
}

# Rust as new as Cargo.toml asks for, by rustup when there is none.
prerequisites_rust() {
  local found
  # shellcheck source=/dev/null
  [ ! -f "$HOME/.cargo/env" ] || . "$HOME/.cargo/env"
  if ! command -v cargo >/dev/null; then
    echo "installing Rust with rustup" >&2
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
      sh -s -- -y --profile minimal --component clippy,rustfmt >&2 || {
      echo "rustup could not be installed; install Rust $rust_version or newer from https://rustup.rs and try again" >&2
      return 1
    }
    # shellcheck source=/dev/null
    . "$HOME/.cargo/env"
  fi
  found=$(rustc --version | awk '{ print $2 }')
  if [ "$(printf '%s\n' "$rust_version" "${found%%-*}" | sort -V | head -n 1)" != "$rust_version" ]; then
    echo "Rust $found is too old: $rust_version or newer is needed; run 'rustup update stable' and try again" >&2
    return 1
  fi
}

# The path of cargo-deny, built when it is missing.
prerequisites_cargo_deny() {
  local folder=$MOORING_CACHE/tools/cargo-deny-$cargo_deny_version
  if [ ! -x "$folder/bin/cargo-deny" ]; then
    echo "building cargo-deny $cargo_deny_version, once: some minutes" >&2
    CARGO_TARGET_DIR=$MOORING_CACHE/tools/build cargo install --quiet --locked --root "$folder" \
      "cargo-deny@$cargo_deny_version" >&2
    rm -rf "$MOORING_CACHE/tools/build"
  fi
  echo "$folder/bin/cargo-deny"
}
