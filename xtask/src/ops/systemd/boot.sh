#!/usr/bin/env bash
# Boots systemd as process 1 of namespaces of its own, on a copy of this host's files that is dropped afterwards, and runs
# check.sh as a service there. Nothing outside changes: files, network, processes, host name and cgroups are its own.
# Needs root.
#
# usage: boot.sh UNITS PROGRAMS
set -euo pipefail

units=$1 programs=$2
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if [ "${3-}" != inside ]; then
    work=$(mktemp -d)
    group=$(findmnt --noheadings --first-only --types cgroup2 --output TARGET)/$(basename "$work")
    mkdir "$group"
    boot=
    clean_up() {
        [ -z "$boot" ] || kill -KILL "$boot" 2>/dev/null || true
        # A group can be removed once its processes are gone.
        for _ in $(seq 50); do
            find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
            sleep 0.1
        done
        rm -rf "$work"
    }
    trap clean_up EXIT
    # The process joins the group first, so that its namespace begins there.
    # shellcheck disable=SC2016
    sh -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' sh "$group" \
        unshare --mount --pid --fork --kill-child --net --uts --ipc --cgroup \
        env WORK="$work" bash "${BASH_SOURCE[0]}" "$units" "$programs" inside >"$work/console" 2>&1 &
    boot=$!
    disown # bash would report its end.
    for _ in $(seq 1200); do
        [ ! -e "$work/code" ] || break
        kill -0 "$boot" 2>/dev/null || break
        sleep 0.1
    done
    [ ! -e "$work/log" ] || cat "$work/log" >&2
    if [ ! -e "$work/code" ]; then
        echo "error: the check did not end" >&2
        tail -n 30 "$work/console" >&2
        exit 1
    fi
    exit "$(cat "$work/code")"
fi

# A copy of the host's files; /proc, /run and the rest are new.
mount --make-rprivate /
layers=$WORK/layers
mkdir "$layers"
mount -t tmpfs tmpfs "$layers"
root=$layers/root
mkdir "$layers/upper" "$layers/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$layers/upper,workdir=$layers/work" "$root"
mount -t proc proc "$root/proc"
mount --bind -o ro "$root/proc/sys" "$root/proc/sys"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mkdir -p "$root/check" && mount --bind "$WORK" "$root/check"

# As README.md beside the units says.
touch "$root/usr/local/bin/ecom"
mount --bind "$programs/ecom" "$root/usr/local/bin/ecom"
for program in order_consumer payment_consumer dlq_handler api_service payment_processor notifier \
    ecom_setup ecom_facts orders_producer payments_producer; do
    ln -sf ecom "$root/usr/local/bin/$program"
done
system=$root/etc/systemd/system
rm -rf "$system" && mkdir -p "$system" "$root/etc/sysusers.d"
cp -r "$units"/*.service "$units"/*.service.d "$units"/*.target "$system"
cp "$units/ecom.sysusers.conf" "$root/etc/sysusers.d/ecom.conf"
cp "$scripts/check.sh" "$root/check/check.sh"

# None of the host's own units: targets that services wait for, and the check.
for target in sysinit basic network-online multi-user shutdown; do
    printf '[Unit]\nDefaultDependencies=no\n' >"$system/$target.target"
done
cat >"$system/check.service" <<'UNIT'
[Service]
Type=exec
Environment=SYSTEMD_UNIT_PATH=/etc/systemd/system
ExecStart=/bin/bash /check/check.sh
ExecStopPost=/bin/sh -c 'echo "$$EXIT_STATUS" >/check/code'
StandardOutput=append:/check/log
StandardError=append:/check/log
UNIT
# There is no journal: each service writes its lines to the log of the check.
printf '[Service]\nStandardOutput=append:/check/services.log\nStandardError=inherit\n' \
    >"$system/ecom-.service.d/90-check.conf"

cd "$root"
mkdir -p old
pivot_root . old
umount -l /old
# Credentials are mounted in a namespace of their own and shared from there.
mount --make-rshared /
systemd-sysusers /etc/sysusers.d/ecom.conf
container=check SYSTEMD_UNIT_PATH=/etc/systemd/system exec /lib/systemd/systemd \
    --system --unit=check.service --log-target=console --log-level=notice --show-status=no
