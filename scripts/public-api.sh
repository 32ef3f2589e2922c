#!/usr/bin/env bash
# The public items of each crate, as its documentation lists them, against docs/api/CRATE.txt: what users can name
# changes on purpose only. `scripts/public-api.sh --update` writes the lists anew. Needs `cargo doc` to have run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
docs=${CARGO_TARGET_DIR:-target}/doc
changed=0
mkdir -p docs/api
for crate in veza-dr-core veza-dr-backup veza-dr-restore veza-dr-failover veza-dr-cli; do
    page=$docs/${crate//-/_}/all.html
    [ -s "$page" ] || { echo "public-api: $page is missing: cargo doc --workspace --no-deps --all-features" >&2; exit 1; }
    # Links such as href="manifest/struct.Manifest.html" become "struct manifest::Manifest".
    list=$(grep -oE 'href="([a-z0-9_]+/)*(struct|enum|trait|fn|macro|constant|static|type|union|derive|attr)\.[A-Za-z0-9_]+\.html"' "$page" |
        sed -E 's/^href="//; s/\.html"$//; s#^(.*/)?(struct|enum|trait|fn|macro|constant|static|type|union|derive|attr)\.(.*)$#\2 \1\3#; s#/#::#g' | LC_ALL=C sort -u)
    [ -n "$list" ] || { echo "public-api: $page lists nothing" >&2; exit 1; }
    if [ "${1:-}" = --update ]; then
        printf '%s\n' "$list" >docs/api/$crate.txt
    elif ! diff -u docs/api/$crate.txt <(printf '%s\n' "$list"); then
        changed=1
    fi
    echo "  $crate: $(wc -l <<<"$list") items"
done
[ "$changed" = 0 ] || { echo "public-api: what users can name has changed; if that is meant: scripts/public-api.sh --update, and say so in CHANGELOG.md" >&2; exit 1; }
