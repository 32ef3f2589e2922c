#!/usr/bin/env bash
# The dashboard at one year of history: the server's own time, and the first paint, contrast and keyboard order in
# headless Chromium (apt-get install chromium), with pictures in OUT: tests/benches/dashboard.sh [OUT]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
out=${1:-target/dashboard}; mkdir -p "$out"
work=$(mktemp -d); trap 'exec 3>&-; wait; rm -rf "$work"' EXIT
export VEZA_DR_BENCH_FILE="$work/at" VEZA_DR_BENCH_TOKEN=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
program=$(cargo test -p veza-dr-failover --all-features --test dashboard --no-run --message-format=json 2>/dev/null |
    jq -r 'select(.reason == "compiler-artifact" and .target.name == "dashboard" and .executable != null).executable')
mkfifo "$work/stop"
"$program" --ignored --exact serve_a_year <"$work/stop" >/dev/null &
exec 3>"$work/stop"
for _ in $(seq 600); do [ -s "$VEZA_DR_BENCH_FILE" ] && break; sleep 0.1; done
at=$(cat "$VEZA_DR_BENCH_FILE")
for path in / /reports; do
    for _ in $(seq 50); do
        curl -fsS -o "$work/page" -w '%{time_total}\n' -H "Authorization: Bearer $VEZA_DR_BENCH_TOKEN" "$at$path"
    done | sort -n | awk -v path="$path" '{ t[NR] = $1 * 1000 } END { printf "%s: median %.1f ms, p95 %.1f ms over HTTP\n", path, t[int((NR+1)/2)], t[int(NR*.95)] }'
    printf '%s: %s bytes\n' "$path" "$(wc -c <"$work/page")"
done
python3 tests/benches/browser.py "$at" "$out" "$VEZA_DR_BENCH_TOKEN"
