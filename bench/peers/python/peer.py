"""The same work in Python, tuned: streaming pull, prepared statements without waiting, ack after each write.

usage: peer.py order|payment PROJECT TOPIC KEYSPACE STREAMS
with PUBSUB_EMULATOR_HOST and CASSANDRA_CONTACT_POINTS set; prints `done TOTAL` as it goes.
"""

import json
import os
import sys
import threading

from cassandra.cluster import Cluster
from google.cloud import pubsub_v1

try:
    from cassandra.io.libevreactor import LibevConnection as Connection
except ImportError:
    from cassandra.io.asyncorereactor import AsyncoreConnection as Connection

WRITTEN_AT = 1_700_000_000_000_001


def main(kind, project, topic, keyspace, streams):
    nodes = [node.rsplit(":", 1) for node in os.environ["CASSANDRA_CONTACT_POINTS"].split(",")]
    cluster = Cluster([host for host, _ in nodes], port=int(nodes[0][1]), connection_class=Connection)
    session = cluster.connect(keyspace)
    insert = session.prepare(
        "INSERT INTO orders_payments_facts (order_id, customer_id, item, quantity, price, shipping_address, "
        "order_status, creation_date) VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
    )
    select = session.prepare("SELECT customer_id FROM orders_payments_facts WHERE order_id = ?")
    update = session.prepare(
        "UPDATE orders_payments_facts USING TIMESTAMP ? SET payment_id = ?, payment_method = ?, "
        "card_last_four = ?, payment_status = ?, payment_datetime = ? WHERE order_id = ?"
    )
    lock = threading.Lock()
    done = 0

    def finished(message):
        nonlocal done
        message.ack()
        with lock:
            done += 1
            if done == 1 or done % 200 == 0:
                print("done", done, flush=True)

    def failed(message, error):
        print("not written:", type(error).__name__, file=sys.stderr)
        message.nack()

    def order(message):
        event = json.loads(message.data)
        names = "order_id customer_id item quantity price shipping_address order_status creation_date".split()
        written = session.execute_async(insert, [event[name] for name in names] + [WRITTEN_AT])
        written.add_callbacks(lambda _: finished(message), lambda error: failed(message, error))

    def payment(message):
        event = json.loads(message.data)
        names = "payment_id payment_method card_last_four payment_status payment_datetime order_id".split()

        def found(_):
            written = session.execute_async(update, [WRITTEN_AT] + [event[name] for name in names])
            written.add_callbacks(lambda _: finished(message), lambda error: failed(message, error))

        looked = session.execute_async(select, [event["order_id"]])
        looked.add_callbacks(found, lambda error: failed(message, error))

    subscriber = pubsub_v1.SubscriberClient()
    path = subscriber.subscription_path(project, f"{topic}-sub")
    handle = order if kind == "order" else payment
    flow = pubsub_v1.types.FlowControl(max_messages=1000)
    pulls = [subscriber.subscribe(path, callback=handle, flow_control=flow) for _ in range(streams)]
    for pull in pulls:
        pull.result()


if __name__ == "__main__":
    main(*sys.argv[1:5], int(sys.argv[5]))
