#!/usr/bin/env bash
# Every check of the project, on real servers: format, lints, layering, each crate alone, docs, tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
step() { printf '\n== %s (%s s)\n' "$1" "$SECONDS"; }
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}
# Where nobody debugs, what is built is not built for it.
[ "${CI:-}" != true ] || export CARGO_PROFILE_DEV_DEBUG=${CARGO_PROFILE_DEV_DEBUG:-0}

step "setup";            scripts/setup.sh test
step "format";           cargo fmt --all --check
step "layering";         scripts/layering.sh
step "clippy";           cargo clippy --quiet --workspace --all-targets --all-features -- -D warnings
step "each crate alone"; scripts/each-crate.sh
step "documentation";    RUSTDOCFLAGS='-D warnings' cargo doc --quiet --workspace --no-deps --all-features
step "public API";       scripts/public-api.sh
step "packages";         scripts/package.sh
step "tests";            scripts/run-tests.sh
step "examples in docs"; cargo test --quiet --workspace --all-features --doc
step "first run";        cargo build --quiet --workspace --all-features --bins
report=$(scripts/first-run.sh | tee >(cat >&2) | tail -n 1)
grep -q '</html>' "$report"
