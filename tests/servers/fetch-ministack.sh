#!/usr/bin/env bash
# Fetches the Route 53 endpoint of the tests, ministack, into DIR/bin/ministack.
#
#   tests/servers/fetch-ministack.sh DIR
set -euo pipefail

dir=${1:?usage: fetch-ministack.sh DIR}
version=1.5.33
if [ ! -e "$dir/.done-$version" ]; then
    python3 -m venv --clear "$dir"
    "$dir/bin/python3" -m pip install --quiet --disable-pip-version-check --only-binary=:all: "ministack==$version"
    touch "$dir/.done-$version"
fi
test -x "$dir/bin/ministack"
