#!/usr/bin/env bash
# Packs PROGRAM, links to it with the names of its programs, and the files that a host needs, as NAME.tar.gz with NAME.tar.gz.sha256.
# Then unpacks the archive elsewhere and runs it.
#   deploy/release/pack.sh target/dist/ecom ecom-0.1.0-x86_64-unknown-linux-gnu
set -euo pipefail
program=$(realpath "$1")
name=$2
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/$name/bin"
cp "$program" "$work/$name/bin/ecom"
for file in "$root"/src/bin/*.rs; do
    link=$(basename "$file" .rs)
    [ "$link" = ecom ] || ln -s ecom "$work/$name/bin/$link"
done
cd "$root"
cp -R config cql schema.cql README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT "$work/$name/"
mkdir "$work/$name/deploy"
cp -R deploy/systemd deploy/prometheus deploy/grafana "$work/$name/deploy/"
cd - >/dev/null
tar -czf "$name.tar.gz" -C "$work" "$name"
# macOS has no sha256sum.
{ sha256sum "$name.tar.gz" 2>/dev/null || shasum -a 256 "$name.tar.gz"; } >"$name.tar.gz.sha256"

mkdir "$work/unpacked"
tar -xzf "$name.tar.gz" -C "$work/unpacked"
cd "$work/unpacked/$name"
bin/order_consumer --version
bin/ecom_demo --orders 500 >/dev/null
echo "packed $name.tar.gz"
