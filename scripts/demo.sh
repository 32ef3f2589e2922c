#!/usr/bin/env bash
# The main job on a private server: fill, back up, lose everything, restore, prove. scripts/demo.sh [SCALE]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
scripts/setup.sh demo
cargo build --quiet -p veza-dr-examples --bin first_run
exec target/debug/first_run "${1:-1}"
