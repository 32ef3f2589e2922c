#!/usr/bin/env bash
# The main job: servers filled, backed up, lost, brought back and proven; then the failover of a whole site rehearsed in
# containers. Prints what happens, and on its last line where the report is. scripts/demo.sh [SCALE]
# Container engines need root: where this user is not root, sudo asks for the second part.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh demo
cargo build --quiet -p veza-dr-examples -p veza-dr-cli --bin first_run --bin site_drill --bin veza-dr
scripts/first-run.sh "$@"
