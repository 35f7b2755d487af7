#!/bin/bash
# enter.sh DIR COMMAND...: runs a command in the namespaces that unshare has made, as on a host of its own: with the
# address 192.0.2.1, with DIR as /run/node, and with empty folders where a node keeps its state.
set -euo pipefail
mount --make-rprivate /
for state in /run /var/lib /var/log; do
    mount -t tmpfs tmpfs "$state"
done
mkdir /run/node
mount --bind "$1" /run/node
shift

# The kubelet finds these settings of the kernel as it wants them and leaves them alone: they are the host's, too. Those of
# the network belong to the namespace.
mount --bind /proc/sys /proc/sys
mount --bind /proc/sys/net /proc/sys/net
mount -o remount,bind,ro /proc/sys
for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    file=/run/${setting%%=*}
    mkdir -p "${file%/*}"
    echo "${setting##*=}" >"$file"
    mount --bind "$file" "/proc/sys/${setting%%=*}"
done

# The cgroup of all containers.
for controller in /sys/fs/cgroup/*/; do
    mkdir -p "$controller/ecom-node"
    for file in cpuset.mems cpuset.cpus; do
        if [ -e "$controller/$file" ]; then
            cat "$controller/$file" >"$controller/ecom-node/$file"
        fi
    done
done

ip link set lo up
ip address add 192.0.2.1/32 dev lo
exec "$@"
