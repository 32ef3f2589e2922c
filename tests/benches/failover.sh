#!/usr/bin/env bash
# What a run of a plan and an assessment cost besides what they wait for.
#
#   tests/benches/failover.sh [ROUNDS]      (5 unless told; VEZA_DR_BIN names a program that is built already)
#
# A plan of 20 steps, one after the other, none of which waits for anything: each is written down durably before and after,
# and copied to a store. 50 services, each with a probe that its server answers late, the slowest after a second. Wall time
# of the whole command, median of the rounds. Prints a Markdown table; docs/benchmarks.md keeps one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
rounds=${1:-5}
work=$(mktemp -d /var/tmp/veza-bench.XXXXXX)
server=
cleanup() { [ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$work"; }
trap cleanup EXIT
if [ -z "${VEZA_DR_BIN:-}" ]; then
    cargo build --quiet --release -p veza-dr-cli
    VEZA_DR_BIN=$PWD/target/release/veza-dr
fi
python3 - "$work/port" <<'PY' &
import http.server, os, sys, time
class Late(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(int(self.path.strip('/')) / 1000)
        self.send_response(200); self.send_header('Content-Length', '2'); self.end_headers(); self.wfile.write(b'ok')
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
server = Server(('127.0.0.1', 0), Late)
with open(sys.argv[1] + '.new', 'w') as f: f.write(str(server.server_address[1]))
os.rename(sys.argv[1] + '.new', sys.argv[1])
server.serve_forever()
PY
server=$!
until [ -e "$work/port" ]; do sleep 0.05; done
python3 - "$work" "$(cat "$work/port")" <<'PY'
import sys, os
work, port = sys.argv[1:]
os.mkdir(f'{work}/books')
with open(f'{work}/books/twenty.yml', 'w') as f:
    f.write('name: twenty\nsteps:\n')
    for n in range(20):
        needs = f', needs: [s{n - 1}]' if n else ''
        f.write(f'  - {{ id: s{n}, do: command, with: {{ run: "true", idempotent: true }}{needs} }}\n')
with open(f'{work}/veza-dr.yml', 'w') as f:
    f.write('state_dir: state\nstores: { local: { directory: { path: store } } }\nfailover: { runbooks: books }\n')
    f.write('sites: { primary: { role: primary, address: 127.0.0.1, compose: { file: none.yml, project: none } } }\nservices:\n')
    for n in range(50):
        f.write(f'  s{n}: {{ probes: [ {{ http: {{ url: "http://127.0.0.1:{port}/{20 * (n + 1)}" }} }} ] }}\n')
PY
python3 - "$VEZA_DR_BIN" "$work/veza-dr.yml" "$rounds" <<'PY'
import json, statistics, subprocess, sys, time
program, config, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
def timed(expected, *arguments):
    began = time.monotonic()
    done = subprocess.run([program, '--config', config, '--json', *arguments], capture_output=True, text=True)
    took = time.monotonic() - began
    assert done.returncode in expected, (done.returncode, done.stdout, done.stderr)
    return took, json.loads(done.stdout)
runs, looks = [], []
for _ in range(rounds):
    took, told = timed([0], 'failover', 'run', '--scenario', 'twenty', '--yes')
    assert len(told['steps']) == 20 and all(s['status'] == 'done' for s in told['steps']), told
    runs.append(took)
    took, told = timed([0, 19], 'assess')
    services = told['sites'][0]['services']
    assert len(services) == 50 and all(s['condition'] == 'healthy' for s in services), told
    looks.append(took)
run, look = statistics.median(runs), statistics.median(looks)
print('| | wall, median | besides what is waited for | target | |')
print('|---|---|---|---|---|')
print(f'| `failover run`, 20 steps | {run:.2f} s | {run:.2f} s | < 2 s | {"met" if run < 2 else "missed"} |')
print(f'| `assess`, 50 services, the slowest answers after 1 s | {look:.2f} s | {look - 1:.2f} s | < 0.5 s | {"met" if look < 1.5 else "missed"} |')
PY
