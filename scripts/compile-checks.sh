#!/usr/bin/env bash
# What needs compilers and no servers: each crate by itself, documentation, the public items, packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }

step "each crate alone"; scripts/each-crate.sh
step "documentation";    RUSTDOCFLAGS='-D warnings' cargo doc --quiet --workspace --no-deps --all-features
step "public API";       scripts/public-api.sh
step "packages";         scripts/package.sh
