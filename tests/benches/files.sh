#!/usr/bin/env bash
# Backup and restore of a tree of files against restic and the guide's tar, in one run, as ratios.
#
#   tests/benches/files.sh [MEGABYTES] [ROUNDS]      (1000 and 2 unless told)
#
# The tree is mixed: small text files, large text, and bytes that do not compress. A peer that is not installed is left
# out and said to be. Wall time is the best of the rounds, contenders taking turns within each. Prints a Markdown table;
# docs/benchmarks.md keeps one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
megabytes=${1:-1000} rounds=${2:-2}
root=$PWD
work=$(mktemp -d /var/tmp/veza-bench.XXXXXX)
trap 'rm -rf "$work"' EXIT

cargo build --quiet --release -p veza-dr-cli
veza="$root/target/release/veza-dr"
echo "making $megabytes MB of files…" >&2
python3 - "$work/live" "$megabytes" <<'PY'
import os, random, sys
root, megabytes = sys.argv[1], int(sys.argv[2])
random.seed(7)
words = [''.join(random.choices('abcdefghijklmnopqrstuvwxyz', k=random.randint(2, 10))) for _ in range(5000)]
pool = [' '.join(random.choices(words, k=160)).encode() + b'\n' for _ in range(4000)]
def text(size):
    out = bytearray()
    while len(out) < size: out += random.choice(pool)
    return bytes(out[:size])
def put(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as f: f.write(data)
left = megabytes * 300_000
i = 0
while left > 0:
    size = int(random.lognormvariate(8.5, 1.4))
    put(f'{root}/small/{i % 97:02d}/{i % 13}/file-{i}.conf', text(size)); left -= size; i += 1
for n in range(4): put(f'{root}/logs/service-{n}.log', text(megabytes * 100_000))
for n in range(6): put(f'{root}/media/clip-{n}.bin', random.randbytes(megabytes * 50_000))
print(i + 10, 'files', file=sys.stderr)
PY
cd "$work"
cat > bench.yml <<YML
sources:
  files: { files: {} }
stores:
  local: { directory: { path: $work/store } }
backup:
  files: { include: [$work/live], schedule: "0 0 * * *", retention: 30 }
YML
declare -A wall cpu rss bytes
note() { # NAME SECONDS CPU RSS_KB
    if [ -z "${wall[$1]:-}" ] || awk "BEGIN{exit !($2 < ${wall[$1]})}"; then wall[$1]=$2 cpu[$1]=$3 rss[$1]=$4; fi
    echo "  $1: $2 s" >&2
}
measure() { # NAME COMMAND…
    local name=$1; shift
    sync
    /usr/bin/time -o t.txt -f '%e %U %S %M' bash -c "set -o pipefail; $*" >out.txt 2>err.txt || { cat err.txt out.txt >&2; echo "$name failed" >&2; exit 1; }
    read -r e u s m < <(tail -1 t.txt)
    note "$name" "$e" "$(awk "BEGIN{print $u+$s}")" "$m"
}
size_of() { du -sb "$1" | cut -f1; }
restic=; command -v restic >/dev/null && restic="restic -q -r $work/restic --password-command 'echo bench' --cache-dir $work/cache"

for round in $(seq "$rounds"); do
    echo "round $round" >&2
    rm -rf tar.gz; measure tar_first "tar -czf tar.gz -C / ${work#/}/live"; bytes[tar]=$(size_of tar.gz)
    rm -rf zst; measure zst_first "tar -cf - -C / ${work#/}/live | zstd -3 -T2 -q -o zst"; bytes[zst]=$(size_of zst)
    if [ -n "$restic" ]; then
        rm -rf restic cache; eval "$restic init" >/dev/null
        measure restic_first "$restic backup $work/live"; bytes[restic]=$(size_of restic)
        measure restic_again "$restic backup $work/live"
        rm -rf out; measure restic_restore "$restic restore latest --target $work/out"
    fi
    rm -rf store; measure our_first "$veza --config bench.yml backup files"; bytes[our]=$(size_of store)
    measure our_again "$veza --config bench.yml backup files"
    rm -rf ours; measure our_restore "$veza --config bench.yml restore files --to $work/ours --yes"
    rm -rf out; mkdir out; measure tar_restore "tar -xzf tar.gz -C $work/out"
    diff -r --no-dereference "$work/live" "$work/ours$work/live"
done

ratio() { awk "BEGIN{printf \"%.2f\", $1/$2}"; }
mib() { awk "BEGIN{printf \"%.0f MiB\", $1/1048576}"; }
cat <<MD
Tree of $(mib "$(size_of live)"), $(find live -type f | wc -l) files, $(nproc) cores, best of $rounds.

| | wall | against ours | stored | CPU | peak memory |
|---|---|---|---|---|---|
| **veza-dr, first backup** | ${wall[our_first]} s | 1 | $(mib ${bytes[our]}) | ${cpu[our_first]} s | $((${rss[our_first]} / 1024)) MiB |
| the guide: \`tar -czf\` | ${wall[tar_first]} s | $(ratio ${wall[tar_first]} ${wall[our_first]})× | $(mib ${bytes[tar]}) | ${cpu[tar_first]} s | |
| \`tar \| zstd -3 -T2\` | ${wall[zst_first]} s | $(ratio ${wall[zst_first]} ${wall[our_first]})× | $(mib ${bytes[zst]}) | ${cpu[zst_first]} s | |
$([ -z "$restic" ] && echo "| restic: not installed | | | | | |" || echo "| \`restic backup\` ($(restic version | awk '{print $2}')) | ${wall[restic_first]} s | $(ratio ${wall[restic_first]} ${wall[our_first]})× | $(mib ${bytes[restic]}) | ${cpu[restic_first]} s | $((${rss[restic_first]} / 1024)) MiB |")
| **veza-dr, unchanged** | ${wall[our_again]} s | 1 | | ${cpu[our_again]} s | $((${rss[our_again]} / 1024)) MiB |
$([ -z "$restic" ] || echo "| \`restic backup\`, unchanged | ${wall[restic_again]} s | $(ratio ${wall[restic_again]} ${wall[our_again]})× | | ${cpu[restic_again]} s | $((${rss[restic_again]} / 1024)) MiB |")
| **veza-dr restore, every byte read back, durable** | ${wall[our_restore]} s | 1 | | ${cpu[our_restore]} s | $((${rss[our_restore]} / 1024)) MiB |
$([ -z "$restic" ] || echo "| \`restic restore\`, not read back | ${wall[restic_restore]} s | $(ratio ${wall[restic_restore]} ${wall[our_restore]})× | | ${cpu[restic_restore]} s | $((${rss[restic_restore]} / 1024)) MiB |")
| \`tar -xzf\`, not read back | ${wall[tar_restore]} s | $(ratio ${wall[tar_restore]} ${wall[our_restore]})× | | ${cpu[tar_restore]} s | |
MD
