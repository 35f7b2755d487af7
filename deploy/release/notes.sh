#!/usr/bin/env bash
# Prints what CHANGELOG.md says of VERSION; fails if it says nothing.
#   deploy/release/notes.sh 0.1.0
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
notes=$(awk -v heading="## [$1]" 'index($0, "## ") == 1 { inside = (index($0, heading) == 1) ; next } inside' "$root/CHANGELOG.md")
if [ -z "${notes//[[:space:]]/}" ]; then
    echo "CHANGELOG.md has no section \"## [$1]\"" >&2
    exit 1
fi
printf '%s\n' "$notes"
