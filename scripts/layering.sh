#!/usr/bin/env bash
# Holds the crates to their layers: core ← backup ← restore, core ← failover, all ← cli; core has no driver; one
# cryptography provider; the minimum Rust version is the one stated.
set -euo pipefail
fail() { echo "layering: $*" >&2; exit 1; }

tree() { cargo tree --offline -e normal --prefix none --format '{p}' "$@" 2>/dev/null || cargo tree -e normal --prefix none --format '{p}' "$@"; }
needs() { tree -p "$1" --all-features | awk '{print $1}' | sort -u; }

for driver in tokio-postgres fred bollard aws-sdk-s3 aws-sdk-route53 aws-config reqwest hyper rustls clap tar zstd age; do
    needs veza-dr-core | grep -qx "$driver" && fail "veza-dr-core depends on $driver"
done
forbid() { needs "$1" | grep -qx "$2" && fail "$1 depends on $2"; return 0; }
for upper in veza-dr-restore veza-dr-failover veza-dr-cli; do forbid veza-dr-backup $upper; done
for other in veza-dr-failover veza-dr-cli; do forbid veza-dr-restore $other; done
for other in veza-dr-backup veza-dr-restore veza-dr-cli; do forbid veza-dr-failover $other; done
for crate in veza-dr-backup veza-dr-restore veza-dr-failover; do forbid $crate clap; done
needs veza-dr-cli | grep -qx aws-lc-rs && fail "a second cryptography provider (aws-lc-rs) came in"

stated=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
running=$(rustc --version | sed 's/rustc \([0-9]*\.[0-9]*\).*/\1/')
[ "$(printf '%s\n%s\n' "$stated" "$running" | sort -V | head -1)" = "$stated" ] || fail "rustc $running is older than the stated $stated"
[ "$stated" = "$running" ] || echo "layering: note: built with $running, the minimum $stated is not what runs here"
echo "layering: ok (minimum Rust $stated)"
