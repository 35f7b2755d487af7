#!/bin/bash
# rust.sh OUT: writes an archive of what the builder's image of the Dockerfile has, from Debian's packages, but for Rust's
# toolchain, which is mounted. Stands for that image where no image registry can be reached.
set -euo pipefail
# mmdebstrap takes the format from the end of the name.
mmdebstrap --quiet --variant=minbase --include=build-essential,ca-certificates bookworm "$1.tar"
mv "$1.tar" "$1"
