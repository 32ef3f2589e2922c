#!/usr/bin/env bash
# Runs the two programs of the demonstration, which are built: scripts/first-run.sh [SCALE]
set -euo pipefail
programs=${CARGO_TARGET_DIR:-$(dirname "${BASH_SOURCE[0]}")/../target}/debug
"$programs/first_run" "${1:-1}"
printf '\n'
if [ "$(id -u)" = 0 ]; then "$programs/site_drill"; else sudo "$programs/site_drill"; fi
