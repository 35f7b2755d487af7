#!/bin/bash
# Writes to OUT.tar what the base image of the Dockerfile has, from Debian's packages: libc, libgcc, CA certificates, time zones and
# the user 65532. No shell. Stands for the base image where no image registry can be reached.
set -euo pipefail
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
packages=libc6,libgcc-s1,ca-certificates,tzdata,netbase,base-files
mmdebstrap --quiet --variant=extract --include="$packages" bookworm - | tar -xC "$root"
mkdir -p "$root"/etc/ssl/certs "$root"/home/nonroot "$root"/tmp
find "$root"/usr/share/ca-certificates -name '*.crt' | LC_ALL=C sort | xargs cat >"$root"/etc/ssl/certs/ca-certificates.crt
for user in root:0:/root nobody:65534:/nonexistent nonroot:65532:/home/nonroot; do
    IFS=: read -r name id home <<<"$user"
    echo "$name:x:$id:$id:$name:$home:/sbin/nologin" >>"$root"/etc/passwd.new
    echo "$name:x:$id:" >>"$root"/etc/group.new
done
mv "$root"/etc/passwd.new "$root"/etc/passwd
mv "$root"/etc/group.new "$root"/etc/group
chown 65532:65532 "$root"/home/nonroot
chmod 700 "$root"/home/nonroot
chmod 1777 "$root"/tmp
rm -rf "$root"/etc/{resolv.conf,hostname,apt,dpkg} "$root"/usr/share/{doc,man,locale,debconf,lintian,bash-completion} \
    "$root"/var/{lib,cache,log}/* "$root"/usr/{bin,sbin}/*
tar -C "$root" --numeric-owner -cf "$1" .
