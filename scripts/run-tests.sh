#!/usr/bin/env bash
# Builds every test of the workspace and runs them, several programs at a time: scripts/run-tests.sh [NAME...]
# Most tests wait for servers more than they compute, and `cargo test` runs one program after the other. What a
# program prints is shown whole, once it has ended. With names: only those programs (`traps`, `journey_swap`).
#   TEST_LANES   how many at a time (default: one more than there are processors)
#   TEST_LIMIT   seconds after which a program is killed and has failed (default 1200)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
lanes=${TEST_LANES:-$(($(nproc) + 1))}
export TEST_LIMIT=${TEST_LIMIT:-1200}
# The longest ones begin first, or the last of them would run on alone; the order of the others does not matter.
slowest=(failover_sites drill_compose site_lease site_files journey_recipe files_crash serve_journey fixtures postgres_journey journey_roundtrip journey_rows oracle
    fault_storm fault_server redis_kin redis_memory redis_restore_keys store_s3 crash_restore redis_restore_file fault_store)

logs=$(mktemp -d)
export logs
trap 'rm -rf "$logs"' EXIT
cargo test --workspace --all-features --no-run --message-format=json-render-diagnostics >"$logs/built"
# A line each: name, program, the folder of its package, where tests run.
jq -r 'select(.reason == "compiler-artifact" and .profile.test and .executable != null)
    | [.target.name, .executable, (.manifest_path | rtrimstr("/Cargo.toml"))] | @tsv' "$logs/built" >"$logs/all"
[ "$#" = 0 ] || { awk -F'\t' 'BEGIN { for (i = 1; i < ARGC; i++) want[ARGV[i]]; ARGC = 1 } $1 in want' "$@" <"$logs/all" >"$logs/some" && mv "$logs/some" "$logs/all"; }
[ -s "$logs/all" ] || { echo "run-tests: no such test program: $*" >&2; exit 1; }

one() { # number, name, program, folder
    local began=$SECONDS rc=0
    (cd "$4" && CARGO_MANIFEST_DIR="$4" timeout --kill-after=10 "$TEST_LIMIT" "$3") >"$logs/$1.out" 2>&1 </dev/null || rc=$?
    [ "$rc" = 0 ] || echo "$2: exit code $rc$([ "$rc" != 124 ] || echo ", not done in $TEST_LIMIT s")" >"$logs/$1.failed"
    { flock 9; printf '\n-- %s (%s s)\n' "$2" "$((SECONDS - began))"; cat "$logs/$1.out"; } 9>"$logs/lock"
}
export -f one
{
    for name in "${slowest[@]}"; do awk -F'\t' -v n="$name" '$1 == n' "$logs/all"; done
    awk -F'\t' -v all=" ${slowest[*]} " 'index(all, " " $1 " ") == 0' "$logs/all"
} | nl -w1 | tr '\t' '\n' | xargs -d '\n' -n 4 -P "$lanes" bash -c 'one "$@"' one

cat "$logs"/*.failed >"$logs/failures" 2>/dev/null || true
if [ -s "$logs/failures" ]; then
    # What failed once more at the very end: whoever reads only the last lines must find the reason there.
    for failed in "$logs"/*.failed; do
        printf '\n-- %s\n' "$(cat "$failed")"
        grep -E -A 6 "panicked at|^failures:|^test result: FAILED" "${failed%.failed}.out" | tail -n 120 || tail -n 60 "${failed%.failed}.out"
    done >&2
    printf '\nrun-tests: failed:\n' >&2; sed 's/^/  /' "$logs/failures" >&2; exit 1
fi
echo "run-tests: $(wc -l <"$logs/all") programs, all passed"
