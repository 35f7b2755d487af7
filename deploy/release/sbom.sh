#!/usr/bin/env bash
# Writes the dependencies of the released program to FILE, as CycloneDX JSON. Needs cargo-cyclonedx.
#   deploy/release/sbom.sh ecom-0.1.0.cdx.json
set -euo pipefail
file=$(realpath -m "$1" 2>/dev/null || echo "$PWD/$1")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cargo cyclonedx --format json --spec-version 1.5 --manifest-path Cargo.toml --features otlp --target all --override-filename ecom-sbom
mv ecom-sbom.json "$file"
# One file for each package of the workspace is written; only that of the program is wanted.
find . -name ecom-sbom.json -not -path './target/*' -delete
grep -q '"name": "scylla"' "$file"
echo "wrote $file" >&2
