#!/usr/bin/env bash
# Backup and restore of PostgreSQL against its peers, on one private server in one run, as ratios.
#
#   tests/benches/postgres.sh [SCALE] [ROUNDS]      (10 and 2 unless told; scale 1 is about 100 MB of database)
#
# Peers that are not installed (pgbackrest, pgcopydb) are left out and said to be. The S3 rows need
# tests/servers/fetch-seaweedfs.sh. Wall time is the best of the rounds, contenders taking turns within each; CPU is our
# process alone. Prints a Markdown table; docs/benchmarks.md keeps one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
scale=${1:-10} rounds=${2:-2}
root=$PWD
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
work=$(mktemp -d /var/tmp/veza-bench.XXXXXX)
as=(); [ "$(id -u)" = 0 ] && { as=(runuser -u postgres --); chown postgres "$work"; }
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
s3_pid=
cleanup() {
    "${as[@]}" "$bin/pg_ctl" -D "$work/data" -m immediate stop >/dev/null 2>&1 || true
    [ -z "$s3_pid" ] || kill -9 "$s3_pid" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

cargo build --quiet --release -p veza-dr-cli
veza="$root/target/release/veza-dr"
export PGHOST=127.0.0.1 PGPORT=$port PGUSER=postgres
cd "$work"
"${as[@]}" "$bin/initdb" -D "$work/data" -U postgres --locale=C.UTF-8 -E UTF8 -A trust >/dev/null
mkdir -p "$work/wal"; chmod 777 "$work"
"${as[@]}" "$bin/pg_ctl" -D "$work/data" -l "$work/log" -w start -o "-p $port -c listen_addresses=127.0.0.1 \
    -c unix_socket_directories=$work -c fsync=off -c max_wal_size=8GB -c shared_buffers=512MB \
    -c archive_mode=on -c archive_command='cp %p $work/wal/%f'" >/dev/null
"$bin/createdb" bench
echo "loading scale $scale…" >&2
"$bin/psql" -q -d bench -v scale="$scale" -f "$root/tests/fixtures/veza.sql" >/dev/null
"$bin/psql" -qd bench -c 'VACUUM ANALYZE' -c 'CHECKPOINT'
size=$("$bin/psql" -Atd bench -c 'SELECT pg_size_pretty(pg_database_size(current_database()))')

cat > bench.yml <<YML
sources:
  database: { postgres: { url: "postgres://postgres@127.0.0.1:$port/bench", jobs: 2 } }
stores:
  local: { directory: { path: $work/store } }
YML
{ cat bench.yml; echo 'backup: { database: { compression: { codec: zstd, level: 1 } } }'; } > fast.yml
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
fresh() { "$bin/psql" -qc "DROP DATABASE IF EXISTS $1 WITH (FORCE)" postgres; "$bin/createdb" "$1"; }

for round in $(seq "$rounds"); do
    echo "round $round: backup" >&2
    measure guide_backup "$bin/pg_dump bench | gzip > guide.sql.gz";            bytes[guide]=$(size_of guide.sql.gz)
    rm -rf fd; measure fd_backup "$bin/pg_dump -Fd -j2 -Z1 -f fd bench";         bytes[fd]=$(size_of fd)
    measure pipe_backup "$bin/pg_dump -Fc -Z0 bench | zstd -3 -T2 -q -f -o pipe.zst"; bytes[pipe]=$(size_of pipe.zst)
    rm -rf store; measure fast_backup "$veza --config fast.yml backup database"; bytes[fast]=$(size_of store)
    rm -rf store; measure our_backup "$veza --config bench.yml backup database"; bytes[our]=$(size_of store)
    if command -v pgbackrest >/dev/null; then
        rm -rf pbr; mkdir -p pbr; [ -z "${as[*]}" ] || chown postgres pbr
        pbr=("${as[@]}" pgbackrest --config=/dev/null --stanza=bench --repo1-path="$work/pbr" --pg1-path="$work/data"
             --pg1-port="$port" --pg1-socket-path="$work" --pg1-user=postgres --log-path="$work/pbr"
             --lock-path="$work/pbr" --log-level-console=error)
        "${pbr[@]}" stanza-create >/dev/null
        measure pbr_backup "${pbr[*]} --type=full --process-max=2 --compress-type=lz4 --start-fast --no-archive-check --repo1-retention-full=1 backup";                        bytes[pbr]=$(size_of pbr)
    fi
done

weed="$root/target/servers/seaweedfs/bin/weed"
if [ -x "$weed" ]; then
    read -r p1 p2 p3 p4 < <(python3 - <<'PY'
import random, socket
def free(p):
    try:
        for q in (p, p + 10000):
            s = socket.socket(); s.bind(("127.0.0.1", q)); s.close()
        return True
    except OSError:
        return False
found = []
while len(found) < 4:
    p = random.randrange(20000, 40000)
    if free(p) and p not in found: found.append(p)
print(*found)
PY
)
    echo '{"identities":[{"name":"b","credentials":[{"accessKey":"a","secretKey":"b"}],"actions":["Admin","Read","Write","List","Tagging"]}]}' > s3.json
    mkdir -p weed
    "$weed" server -dir=weed -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.telemetry=false -master.port="$p1" -volume.port="$p2" \
        -filer -filer.port="$p3" -s3 -s3.port="$p4" -s3.config=s3.json -volume.max=100 -master.volumeSizeLimitMB=256 >weed.log 2>&1 &
    s3_pid=$!
    sed "s|^stores:|stores:\n  s3: { s3: { bucket: bench, region: us-east-1, endpoint: \"http://127.0.0.1:$p4\", path_style: true, access_key_id: a, secret_access_key: b } }|; /local:/d" bench.yml > s3.yml
    for _ in $(seq 60); do curl -s -o /dev/null "http://127.0.0.1:$p4/" && break; sleep 1; done
    sleep 5
    echo "s3.bucket.create -name bench" | "$weed" shell -master="127.0.0.1:$p1" -filer="127.0.0.1:$p3" >/dev/null 2>&1 || true
    for round in $(seq "$rounds"); do
        measure s3_backup "$veza --config s3.yml backup database"
        rm -rf store; measure our_backup "$veza --config bench.yml backup database"
    done
    kill -9 "$s3_pid"; s3_pid=
fi

for round in $(seq "$rounds"); do
    echo "round $round: restore" >&2
    fresh r; measure guide_restore "gunzip -c guide.sql.gz | $bin/psql -q -d r -v ON_ERROR_STOP=1 >/dev/null && $bin/vacuumdb -q --analyze-only -d r"
    fresh r; measure fd_restore "$bin/pg_restore -j2 -d r fd && $bin/vacuumdb -q --analyze-only -j2 -d r"
    "$bin/psql" -qc "DROP DATABASE IF EXISTS ours WITH (FORCE)" postgres
    measure our_restore "$veza --config bench.yml --json restore database --to ours --yes"; cp out.txt restore.json
    if command -v pgcopydb >/dev/null; then
        fresh r
        measure pgcopydb "pgcopydb clone --source 'host=127.0.0.1 port=$port user=postgres dbname=bench' \
            --target 'host=127.0.0.1 port=$port user=postgres dbname=r' --table-jobs 2 --index-jobs 2 --dir $work/pcd --no-acl && rm -rf $work/pcd"
    fi
done

echo "critical path: load of messages in two streams, then its slowest index" >&2
fresh path
"$bin/pg_dump" -s --section=pre-data bench | "$bin/psql" -q -d path >/dev/null
mem=$(awk '/MemAvailable/{m=int($2/8); if (m > 2097152) m = 2097152; print m}' /proc/meminfo)
"$bin/psql" -qd bench -c "\copy (SELECT id, room_id, user_id, content, created_at FROM messages WHERE id % 2 = 0) TO '$work/m0'" \
    -c "\copy (SELECT id, room_id, user_id, content, created_at FROM messages WHERE id % 2 = 1) TO '$work/m1'"
measure path_load "for h in 0 1; do $bin/psql -qd path -c \"\\\\copy messages (id, room_id, user_id, content, created_at) FROM '$work/m\$h'\" & done; wait"
measure path_index "PGOPTIONS='-c maintenance_work_mem=${mem}kB' $bin/psql -qd path -c \"CREATE INDEX ON messages USING gin (to_tsvector('french', content))\""
path=$(awk "BEGIN{print ${wall[path_load]}+${wall[path_index]}}")

ratio() { awk "BEGIN{printf \"%.2f\", $1/$2}"; }
mib() { awk "BEGIN{printf \"%.0f MiB\", $1/1048576}"; }
proof=$(python3 - restore.json <<'PY'
import json, sys
def find(o, key):
    if isinstance(o, dict):
        if key in o: return o[key]
        for v in o.values():
            r = find(v, key)
            if r is not None: return r
    if isinstance(o, list):
        for v in o:
            r = find(v, key)
            if r is not None: return r
took = find(find(json.load(open(sys.argv[1])), "verification") or {}, "took")
print(f"{took['secs'] + took['nanos'] / 1e9:.1f}" if isinstance(took, dict) else took)
PY
)
cat <<MD
PostgreSQL $("$bin/postgres" --version | awk '{print $3}'), $(nproc) cores, database of $size (scale $scale), best of $rounds.

| backup | wall | against ours | stored | our CPU | peak memory |
|---|---|---|---|---|---|
| **veza-dr to a directory** | ${wall[our_backup]} s | 1 | $(mib ${bytes[our]}) | ${cpu[our_backup]} s | $((${rss[our_backup]} / 1024)) MiB |
| veza-dr, zstd level 1 | ${wall[fast_backup]} s | $(ratio ${wall[fast_backup]} ${wall[our_backup]})× | $(mib ${bytes[fast]}) | ${cpu[fast_backup]} s | $((${rss[fast_backup]} / 1024)) MiB |
| the guide: \`pg_dump \| gzip\` | ${wall[guide_backup]} s | $(ratio ${wall[guide_backup]} ${wall[our_backup]})× | $(mib ${bytes[guide]}) | | |
| \`pg_dump -Fd -j2 -Z1\` | ${wall[fd_backup]} s | $(ratio ${wall[fd_backup]} ${wall[our_backup]})× | $(mib ${bytes[fd]}) | | |
| \`pg_dump -Fc -Z0 \| zstd -3 -T2\` | ${wall[pipe_backup]} s | $(ratio ${wall[pipe_backup]} ${wall[our_backup]})× | $(mib ${bytes[pipe]}) | | |
$([ -z "${wall[pbr_backup]:-}" ] && echo "| pgbackrest: not installed | | | | | |" || echo "| \`pgbackrest backup\` full, process-max 2, lz4 | ${wall[pbr_backup]} s | $(ratio ${wall[pbr_backup]} ${wall[our_backup]})× | $(mib ${bytes[pbr]}) | | |")
$([ -z "${wall[s3_backup]:-}" ] && echo "| S3: no server fetched | | | | | |" || echo "| veza-dr to S3 on the same two cores | ${wall[s3_backup]} s | $(ratio ${wall[s3_backup]} ${wall[our_backup]})× | | ${cpu[s3_backup]} s | $((${rss[s3_backup]} / 1024)) MiB |")

| restore, until analyzed | wall | against ours | our CPU | peak memory |
|---|---|---|---|---|
| **veza-dr, proof included** | ${wall[our_restore]} s | 1 | ${cpu[our_restore]} s | $((${rss[our_restore]} / 1024)) MiB |
| the guide: \`gunzip \| psql\`, not proven | ${wall[guide_restore]} s | $(ratio ${wall[guide_restore]} ${wall[our_restore]})× | | |
| \`pg_restore -j2\`, not proven | ${wall[fd_restore]} s | $(ratio ${wall[fd_restore]} ${wall[our_restore]})× | | |
$([ -z "${wall[pgcopydb]:-}" ] && echo "| pgcopydb: not installed | | | | |" || echo "| \`pgcopydb clone\`, copy out and in, against our backup and restore together | ${wall[pgcopydb]} s | $(ratio ${wall[pgcopydb]} "(${wall[our_backup]}+${wall[our_restore]})")× | | |")
| critical path: two-stream load of \`messages\`, then its GIN index, alone | $path s | $(ratio $path ${wall[our_restore]})× (ours is $(ratio ${wall[our_restore]} $path) of it) | | |

The proof read everything back in $proof s of stream time, most of it while the slowest index was being built.
MD
