#!/usr/bin/env bash
# Backup and restore of Redis against its peers, on one private server in one run, as ratios.
#
#   tests/benches/redis.sh [KEYS] [ROUNDS]      (1200000 and 3 unless told; that is about 600 MB of dump.rdb)
#
# With BACKUPS_ONLY=1 nothing is restored. Wall time is the median of the rounds, contenders taking turns within each; CPU is our process alone. The peers: BGSAVE,
# wait, cp; redis-cli --rdb. Prints a Markdown table; docs/benchmarks.md keeps one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
keys=${1:-1200000} rounds=${2:-3}
root=$PWD
work=$(mktemp -d /var/tmp/veza-bench.XXXXXX)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cli=(redis-cli -p "$port")
pid=
other=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
# Ends the second server; with `empty`, starts it with nothing, else leaves the file that it is to be started over.
target() {
    redis-cli -p "$other" SHUTDOWN NOSAVE 2>/dev/null || true
    while redis-cli -p "$other" PING >/dev/null 2>&1; do sleep 0.1; done
    rm -rf "$work/back"; mkdir "$work/back"
    if [ "${1:-}" = empty ]; then
        redis-server --port "$other" --bind 127.0.0.1 --dir "$work/back" --save '' --daemonize yes >/dev/null
        until redis-cli -p "$other" PING 2>/dev/null | grep -q PONG; do sleep 0.05; done
    else
        cp "$work/data/dump.rdb" "$work/back/"
    fi
}
cleanup() { redis-cli -p "$other" SHUTDOWN NOSAVE 2>/dev/null || true; [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true; rm -rf "$work"; }
trap cleanup EXIT

veza=${VEZA_DR:-}
if [ -z "$veza" ]; then
    cargo build --quiet --release -p veza-dr-cli
    veza="$root/target/release/veza-dr"
fi
mkdir "$work/data"
# Save points, so that the way by disk is chosen; they never come due by themselves.
redis-server --port "$port" --bind 127.0.0.1 --dir "$work/data" --save '86400 1000000000' --appendonly no \
    --logfile "$work/log" & pid=$!; disown
until "${cli[@]}" PING 2>/dev/null | grep -q PONG; do sleep 0.1; done
echo "loading $keys keys…" >&2
cat > "$work/load.lua" <<'LUA'
local function text(n, size)
    local parts = {}
    local x = n
    while #parts * 8 < size do
        x = (x * 1103515245 + 12345) % 2147483648
        parts[#parts + 1] = string.format('%08x', x)
    end
    return table.concat(parts)
end
for n = tonumber(ARGV[1]), tonumber(ARGV[2]) do
    local kind, key = n % 10, 'key:' .. n
    if kind < 5 then redis.call('SET', key, text(n, 400))
    elseif kind == 5 then redis.call('HSET', key, 'name', text(n, 40), 'mail', text(n + 1, 60), 'body', text(n + 2, 700))
    elseif kind == 6 then for i = 1, 8 do redis.call('RPUSH', key, text(n + i, 100)) end
    elseif kind == 7 then for i = 1, 12 do redis.call('SADD', key, text(n * 13 + i, 32)) end
    elseif kind == 8 then for i = 1, 12 do redis.call('ZADD', key, i * 0.5, text(n * 13 + i, 32)) end
    else redis.call('SET', key, text(n, 900), 'EX', 864000) end
end
LUA
for ((n = 1; n <= keys; n += 10000)); do
    "${cli[@]}" --eval "$work/load.lua" , "$n" "$((n + 9999 < keys ? n + 9999 : keys))" >/dev/null
done
cat > "$work/veza-dr.yml" <<YML
sources:
  disk: { redis: { url: "redis://127.0.0.1:$port", mode: disk } }
  diskless: { redis: { url: "redis://127.0.0.1:$port", mode: diskless } }
stores:
  local: { directory: { path: $work/store } }
YML
measure() { # NAME COMMAND…
    local name=$1; shift
    sync
    /usr/bin/time -o "$work/t" -f '%e %U %S %M' bash -c "set -o pipefail; $*" >"$work/out" 2>&1 ||
        { cat "$work/out" >&2; echo "$name failed" >&2; exit 1; }
    read -r wall user sys rss < "$work/t"
    echo "$wall $(awk "BEGIN{print $user+$sys}") $rss" >> "$work/$name.times"
    echo "  $name: $wall s" >&2
}
bgsave="before=\$(redis-cli -p $port LASTSAVE); sleep 1; redis-cli -p $port BGSAVE; \
    while [ \"\$(redis-cli -p $port LASTSAVE)\" = \"\$before\" ]; do sleep 0.05; done; cp $work/data/dump.rdb $work/copy.rdb"
for ((round = 1; round <= rounds; round++)); do
    echo "round $round" >&2
    measure bgsave "$bgsave"
    measure cli "redis-cli -p $port --rdb $work/cli.rdb"
    measure disk "$veza --config $work/veza-dr.yml backup disk"
    measure diskless "$veza --config $work/veza-dr.yml backup diskless"
    "${cli[@]}" CONFIG SET repl-diskless-sync-delay 0 >/dev/null
    measure at_once "$veza --config $work/veza-dr.yml backup diskless"
    "${cli[@]}" CONFIG SET repl-diskless-sync-delay 5 >/dev/null
    [ -z "${BACKUPS_ONLY:-}" ] || { rm -rf "$work/store"; continue; }
    rm -rf "$work/cli.rdb" "$work/copy.rdb"
    # The same data into an empty server: by a restart over the file, by replication, key by key.
    "${cli[@]}" SAVE >/dev/null
    target
    measure restart "redis-server --port $other --bind 127.0.0.1 --dir $work/back --save '' --daemonize yes --pidfile $work/pid; \
        until redis-cli -p $other PING 2>/dev/null | grep -q PONG; do sleep 0.02; done"
    for way in replication keys; do
        target empty
        keys_only=; [ $way = keys ] && keys_only="--keys '*'"
        measure $way "$veza --config $work/veza-dr.yml --json restore disk $keys_only --to redis://127.0.0.1:$other --yes"
        # Seconds of the exchange itself, and until clients have the data: all but the comparison and the save.
        sed -n '/^{/,$p' "$work/out" | jq -r 'first(.. | .steps? | arrays | select(any(.[]; has("took")))) | map({name, s: (.took.secs + .took.nanos / 1e9)})
            | "\(map(select(.name | test("^(replicate|restore keys)")).s) | add) \(map(select(.name | test("^(compare|make it last)$") | not).s) | add)"' \
            >>"$work/$way.live.times"
        [ "$(redis-cli -p "$other" DBSIZE)" = "$("${cli[@]}" DBSIZE)" ]
    done
    rm -rf "$work/store"
done
median() { # NAME COLUMN
    cut -d' ' -f"$2" "$work/$1.times" | sort -n | awk '{v[NR]=$1} END{print v[int((NR+1)/2)]}'
}
# LASTSAVE counts seconds: the wait for the next one before BGSAVE is no part of it.
base=$(awk "BEGIN{print $(median bgsave 1) - 1}")
ratio() { awk "BEGIN{printf \"%.2f\", $1/$2}"; }
size=$("${cli[@]}" SAVE >/dev/null; stat -c %s "$work/data/dump.rdb")
cat <<MD
$(redis-server --version | grep -o 'v=[0-9.]*'), $(nproc) cores, $keys keys, dump.rdb of $((size / 1048576)) MiB, median of $rounds.

| backup | wall | against BGSAVE | our CPU | peak memory |
|---|---|---|---|---|
| \`BGSAVE\`, wait, \`cp\` | $base s | 1 | | |
| \`redis-cli --rdb\` | $(median cli 1) s | $(ratio "$(median cli 1)" "$base") | | |
| **veza-dr, by way of disk**, compressed, proven | $(median disk 1) s | $(ratio "$(median disk 1)" "$base") | $(median disk 2) s | $(($(median disk 3) / 1024)) MiB |
| **veza-dr, diskless** (the server waits 5 s first), compressed, proven | $(median diskless 1) s | $(ratio "$(median diskless 1)" "$base") | $(median diskless 2) s | $(($(median diskless 3) / 1024)) MiB |
| **veza-dr, diskless, with \`repl-diskless-sync-delay 0\`** | $(median at_once 1) s | $(ratio "$(median at_once 1)" "$base") | $(median at_once 2) s | $(($(median at_once 3) / 1024)) MiB |
MD
[ -z "${BACKUPS_ONLY:-}" ] || exit 0
cat <<MD

| restore | wall | against a restart | the exchange itself | until clients have the data | our CPU | peak memory |
|---|---|---|---|---|---|---|
| restart over a local \`dump.rdb\`, not proven | $(median restart 1) s | 1 | | | | |
$(for way in replication keys; do
    what='by replication'; [ $way = replication ] || what='key by key'
    again=$(median restart 1)
    echo "| **veza-dr, $what**, every key compared, saved | $(median $way 1) s | $(ratio "$(median $way 1)" "$again") | $(ratio "$(median $way.live 1)" "$again") | $(ratio "$(median $way.live 2)" "$again") | $(median $way 2) s | $(($(median $way 3) / 1024)) MiB |"
done)
MD
