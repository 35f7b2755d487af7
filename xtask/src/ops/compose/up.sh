#!/usr/bin/env bash
# up.sh PACKAGES SERVICES-FILE ROLES-FILE, in the namespaces of enter.sh: starts a Docker engine, runs the commands in the
# headers of both Compose files as they are written, and checks what came of them.
set -eEuo pipefail
packages=$1 services=$2 roles=$3
home=/run/node
export PATH=$packages/usr/bin:$packages/usr/sbin:$PATH
export LD_LIBRARY_PATH=$packages/usr/lib/x86_64-linux-gnu
export DOCKER_HOST=unix://$home/docker.sock DOCKER_CONFIG=$home/client
unset ECOM_IMAGE API_PORT CASSANDRA_PORT PROMETHEUS_PORT PUBSUB_EMULATOR_PORT DOCKER_CONTEXT "${!COMPOSE_@}"
export COMPOSE_PROJECT_NAME=ecom
exec 3>&2

say() { printf '%6s s  %s\n' "$SECONDS" "$*"; }
fail() {
    trap - ERR
    exec >&3 2>&3
    [ ! -e "$home/errors" ] || cat "$home/errors"
    echo "error: $*"
    docker ps --all || true
    for container in $(docker ps --all --format '{{.Names}}'); do
        docker logs "$container" >"$home/$container.log" 2>&1 || true
    done
    exit 1
}
trap 'fail "line $LINENO: $BASH_COMMAND"' ERR
# eventually COMMAND...: runs it until it succeeds, for at most a minute.
eventually() {
    for _ in $(seq 60); do
        ! "$@" || return 0
        sleep 1
    done
    fail "not within a minute: $*"
}

# The commands write into a copy of the checkout that is dropped afterwards.
mkdir /run/upper /run/work
mount -t overlay overlay -o "lowerdir=$PWD,upperdir=/run/upper,workdir=/run/work" "$PWD"
cd "$PWD"

# The limits that the engine would raise for each container are as high as they can be here.
dockerd --data-root /var/lib/docker --exec-root /run/docker --pidfile /run/docker.pid -H "$DOCKER_HOST" \
    --cgroup-parent /ecom-node --default-ulimit nofile=1024:1024 >"$home/dockerd.log" 2>&1 &
engine_answers() { docker version >/dev/null 2>&1; }
eventually engine_answers
say "Docker $(docker version --format '{{.Server.Version}}'), Compose $(docker compose version --short)"

# The image of the stand-ins has nothing but what a program needs beside this host's folders, which they mount.
skeleton=/run/skeleton
mkdir -p "$skeleton"/{etc/ssl,tmp,var/lib,var/tmp}
for link in bin sbin lib lib64; do
    [ ! -L "/$link" ] || cp -a "/$link" "$skeleton"
done
for entry in /etc/{alternatives,group,java-*,ld.so.cache,nsswitch.conf,passwd,ssl/certs}; do
    [ ! -e "$entry" ] || cp -a "$entry" "$skeleton$entry"
done
tar -C "$skeleton" -c . | docker import - stand-in >/dev/null

# docker as users have it, but for images that cannot be pulled or built here.
docker() {
    if [ "$1" = build ]; then
        command docker load --quiet --input "$home/ecom.tar"
        command docker tag localhost/ecom:test ecom
        return
    fi
    local words=() word
    for word; do
        words+=("$word")
        # The stand-ins for the images of this file.
        case "$1 $word" in "compose $services" | "compose $roles") words+=(-f "$home/$(basename "$word" .yml).json") ;; esac
    done
    command docker "${words[@]}"
}
shopt -s expand_aliases
# commands FILE: prints the commands of a header, the last of which removes everything.
commands() { sed -n '/^#/!q; s/^#   //p' "$1"; }
run() {
    [ -s "$1" ] || fail "the header has no commands"
    # shellcheck disable=SC1090
    . "$1" </dev/null >"$home/output" 2>"$home/errors"
    cat "$home/output"
}
left() { docker ps --all --quiet && docker volume ls --quiet && docker network ls --quiet --filter type=custom; }
# Status, exit code and restarts of a service.
state() { docker inspect --format '{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}' "ecom-$1-1"; }
is() { [ "$(state "$1")" = "$2" ] || fail "$1 is $(state "$1"), not $2"; }
schema_ended() { [[ $(state cassandra-schema) = exited* ]]; }
roles_are() {
    for role in order-consumer payment-consumer dlq-handler api-service payment-processor notifier; do
        is "$role" "$1"
    done
}
six_are_up() {
    curl -sS --get --data-urlencode 'query=sum(up{job="ecom"})' http://127.0.0.1:9090/api/v1/query | grep -q ',"6"\]'
}

for file in "$services" "$roles"; do
    commands "$file" | sed '$d' >"$home/commands"
    commands "$file" | tail -n 1 >"$home/removal"
    say "the commands of $file"
    run "$home/commands"
    say "done"
    eventually schema_ended
    is cassandra-schema "exited 0 0"
    if [ "$file" = "$roles" ]; then
        # SELECT … LIMIT 10 of what was published, and the first page of the API.
        grep -q '(10 rows)' "$home/output" || fail "the table has no rows"
        grep -q '"orders":\[' "$home/output" || fail "the API does not answer"
        roles_are "running 0 0"
        eventually six_are_up
        say "Prometheus scrapes six roles"
        docker compose -f "$services" -f "$roles" --profile emulator --profile shop stop >"$home/errors" 2>&1
        roles_are "exited 0 0"
        say "every role has stopped by itself"
    fi
    run "$home/removal"
    remains=$(left)
    [ -z "$remains" ] || fail "containers, volumes or networks are left: $remains"
    say "removed"
done
