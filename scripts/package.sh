#!/usr/bin/env bash
# Whether the five crates could be published: each is packaged, with what a stranger needs in it and nothing of the rest.
# Not built from its package: that takes as long as everything else, and `cargo publish` does it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cargo package --quiet --workspace --exclude veza-dr-tests --exclude veza-dr-examples --no-verify --allow-dirty --target-dir "$out"
for crate in veza-dr-core veza-dr-backup veza-dr-restore veza-dr-failover veza-dr-cli; do
    files=$(tar -tzf "$out"/package/$crate-*.crate)
    for needed in Cargo.toml README.md src/lib.rs; do
        grep -qE "^$crate-[^/]+/$needed\$" <<<"$files" || { echo "package: $crate has no $needed" >&2; exit 1; }
    done
    manifest=$(tar -xzOf "$out"/package/$crate-*.crate --wildcards '*/Cargo.toml')
    for needed in description license repository rust-version readme; do
        grep -qE "^$needed = " <<<"$manifest" || { echo "package: $crate does not say its $needed" >&2; exit 1; }
    done
    ! grep -q 'veza-dr-tests' <<<"$manifest" || { echo "package: $crate needs veza-dr-tests, which nobody publishes" >&2; exit 1; }
    echo "  $crate: $(wc -l <<<"$files") files"
done
