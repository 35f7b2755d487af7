#!/usr/bin/env bash
# Runs as a service of the systemd that boot.sh boots: the units as an operator uses them.
set -euo pipefail

roles=(order_consumer:9464 payment_consumer:9465 dlq_handler:9466 api_service:9467 payment_processor:9468 notifier:9469)

fail() {
    echo "FAILED: $*"
    systemctl --no-pager --failed --no-legend list-units 'ecom*' || true
    tail -n 20 /check/services.log || true
    exit 1
}

# Waits up to 30 s for a command to succeed.
until_ok() {
    for _ in $(seq 150); do
        if "$@" >/check/last 2>&1; then return 0; fi
        sleep 0.2
    done
    cat /check/last
    fail "$* did not succeed within 30 s"
}

says() { curl --silent "http://127.0.0.1:$1/readyz" | grep -F "$2"; }
is_ready() { curl --silent --fail "http://127.0.0.1:$1/readyz"; }
show() { systemctl show --property "$2" --value "$1"; }
has() { [ "$(show "$1" "$2")" = "$3" ]; }
# Runs a program as an operator does: as the user of the services, with their configuration, in their folder.
as_ecom() { runuser -u ecom -- env --chdir=/var/lib/ecom ECOM_CONFIG=/etc/ecom/ecom.toml "$@"; }

echo "all roles on the embedded bus and store"
mkdir -p /etc/ecom
printf '[bus]\nkind = "embedded"\n[store]\nkind = "embedded"\n' >/etc/ecom/ecom.toml
mv /etc/systemd/system/ecom-.service.d/20-cassandra.conf /check/
systemctl daemon-reload
systemctl start ecom-setup || fail "ecom-setup"
for role in "${roles[@]}"; do systemctl --quiet enable "ecom-${role%:*}@"; done
systemctl start ecom.target || fail "ecom.target"
for role in "${roles[@]}"; do until_ok is_ready "${role#*:}"; done

echo "each process has no privileges and a filter of system calls"
for role in "${roles[@]}"; do
    unit=ecom-${role%:*}@${role#*:}
    status=/proc/$(show "$unit" MainPID)/status
    for line in 'CapBnd:\t0000000000000000' 'CapEff:\t0000000000000000' 'NoNewPrivs:\t1' 'Seccomp:\t2'; do
        grep -qP "^$line" "$status" || fail "$unit has no $line"
    done
    ! grep -qP '^Uid:\t0' "$status" || fail "$unit runs as root"
done

echo "orders and payments become rows"
for stream in orders payments; do
    as_ecom "${stream}_producer" --order-ids 1-200 --rate max --manifest "data/$stream.json" >/check/last 2>&1 ||
        fail "${stream}_producer: $(cat /check/last)"
done
until_ok as_ecom ecom_facts verify --manifest data/orders.json --manifest data/payments.json

echo "an order of the shop is paid and confirmed"
curl --silent --fail --output /dev/null http://127.0.0.1:8000/api/v1/orders -H 'Content-Type: application/json' \
    -H 'Idempotency-Key: cart-1' -d '{"customer_id": 7, "lines": [{"item": "Laptop", "quantity": 2, "unit_price": 999}],
        "shipping_address": "1 Main St", "email": "ada@example.com", "payment_method": "Test: succeed"}' ||
    fail "the API refused an order"
until_ok compgen -G '/var/lib/ecom/data/mail/*.eml'

echo "another process of a role has a port of its own"
systemctl start ecom-payment_consumer@9475 || fail "a second payment consumer"
until_ok is_ready 9475

echo "a killed process starts again"
systemctl kill --signal KILL ecom-dlq_handler@9466
until_ok has ecom-dlq_handler@9466 NRestarts 1
until_ok is_ready 9466

echo "all restart, as after an upgrade"
systemctl restart 'ecom-*@*' || fail "restart"
for role in "${roles[@]}"; do until_ok is_ready "${role#*:}"; done

echo "all stop in time, without a fault"
begin=$SECONDS
systemctl stop ecom.target || fail "stop"
[ -z "$(systemctl --no-legend --plain list-units 'ecom-*')" ] || fail "not all have stopped"
((SECONDS - begin < 10)) || fail "it took $((SECONDS - begin)) s"

echo "a configuration with a fault is not tried again"
cp /etc/ecom/ecom.toml /check/
echo 'unknown = 1' >>/etc/ecom/ecom.toml
systemctl start ecom-notifier@9469 || true
until_ok has ecom-notifier@9469 ActiveState failed
sleep 6
[ "$(show ecom-notifier@9469 ExecMainStatus),$(show ecom-notifier@9469 NRestarts)" = 2,0 ] || fail "it was started again"
cp /check/ecom.toml /etc/ecom/

echo "each service gets its own password"
printf '[bus]\nkind = "embedded"\n[store]\nkind = "cassandra"\n[store.cassandra]\ncontact_points = ["localhost:1"]\n' \
    >/etc/ecom/ecom.toml
mv /check/20-cassandra.conf /etc/systemd/system/ecom-.service.d/
systemctl daemon-reload
systemctl reset-failed
! systemctl start ecom-notifier@9469 2>/dev/null || fail "the notifier starts without its password"
systemctl reset-failed
mkdir -m 0700 /etc/ecom/credentials
for role in notifier order_consumer; do (umask 077 && echo "of $role" >"/etc/ecom/credentials/ecom_$role"); done
systemctl start ecom-notifier@9469 ecom-order_consumer@9464 || fail "start with passwords"
# No Cassandra listens there, so a role that has read its password and resolved the name waits for it.
until_ok says 9469 "could not reach Cassandra at localhost:1: connection refused"
for role in notifier:9469 order_consumer:9464; do
    unit=ecom-${role%:*}@${role#*:}.service
    password=/proc/$(show "$unit" MainPID)/root/run/credentials/$unit/cassandra-password
    [ "$(cat "$password")" = "of ${role%:*}" ] || fail "the password of $unit"
    others=$(find "/proc/$(show "$unit" MainPID)/root/run/credentials/" -name cassandra-password | wc -l)
    [ "$others" = 1 ] || fail "$unit sees $others passwords"
done
[[ "$(show ecom-setup Environment)" == *ECOM__STORE__CASSANDRA__USER=ecom_setup* ]] || fail "the login of ecom-setup"
systemctl stop 'ecom-*'
echo "passed"
