#!/usr/bin/env bash
# Each crate builds by itself, with no features, with each alone where it has engines, and with all: what others'
# features switch on must not hide what a crate forgot to ask for.
set -euo pipefail
check() { echo "  cargo check $*"; cargo check --quiet "$@"; }
for crate in veza-dr-core veza-dr-backup veza-dr-restore veza-dr-failover veza-dr-cli; do
    check -p $crate --no-default-features
    check -p $crate
    check -p $crate --all-features
done
for feature in postgres redis files s3 docker; do check -p veza-dr-backup --no-default-features --features $feature; done
for feature in postgres redis files; do check -p veza-dr-restore --no-default-features --features $feature; done
for feature in http smtp docker dns route53 postgres redis; do check -p veza-dr-failover --no-default-features --features $feature; done
check -p veza-dr-cli --no-default-features --features files
