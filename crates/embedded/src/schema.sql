-- The schema of the embedded store and bus. Comments inside a statement are kept in the file: `.schema` in
-- sqlite3 shows them. All times are microseconds since the epoch.

CREATE TABLE facts (
    -- The rows behind the view orders_payments_facts: its 13 columns and, for each column group, the
    -- event time T of the event it came from. The larger T wins. A value set by hand stays until an event
    -- with a larger T arrives; raise the T beside it to keep the value for good.
    order_id INTEGER PRIMARY KEY,
    customer_id INTEGER,
    item TEXT,
    quantity INTEGER,
    price REAL,
    shipping_address TEXT,
    order_status TEXT,
    creation_date TEXT,
    order_ts INTEGER,
    payment_id INTEGER,
    payment_method TEXT,
    card_last_four TEXT,
    payment_status TEXT,
    payment_datetime TEXT,
    payment_ts INTEGER
);
CREATE VIEW orders_payments_facts AS SELECT
    order_id, customer_id, item, quantity, price, shipping_address, order_status, creation_date,
    payment_id, payment_method, card_last_four, payment_status, payment_datetime
FROM facts;

CREATE TABLE superseded_payments (
    -- The payments that lost against a newer one of their order, each at its event time T. Each lost against
    -- the one with the next larger T: the next row of its order here, else the one in orders_payments_facts.
    -- It is written in the transaction of the write that decided it.
    order_id INTEGER NOT NULL,
    t INTEGER NOT NULL,
    payment_id INTEGER NOT NULL,
    payment_method TEXT,
    card_last_four TEXT,
    payment_status TEXT,
    payment_datetime TEXT,
    PRIMARY KEY (order_id, t DESC, payment_id DESC)
) WITHOUT ROWID;

CREATE TABLE dead_letters (
    -- One row per dead letter. A null state means the initial state of the reason. A row without a kind is
    -- an update whose dead letter has not been recorded yet, or was removed. state_time and schedule_time
    -- are write timestamps: of two writes the one with the larger timestamp wins. corrects is the id of the
    -- dead letter whose corrected body this message carried.
    id TEXT PRIMARY KEY,
    t INTEGER NOT NULL,
    kind TEXT,
    reason TEXT,
    detail TEXT,
    order_id INTEGER,
    payment_id INTEGER,
    first_failed_at INTEGER,
    body_length INTEGER,
    body_sha256 TEXT,
    corrects TEXT,
    state TEXT,
    generation INTEGER NOT NULL DEFAULT 0,
    state_at INTEGER,
    state_time INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER,
    schedule_time INTEGER
) WITHOUT ROWID;
CREATE INDEX dead_letters_by_order ON dead_letters (order_id, t, id) WHERE order_id IS NOT NULL;
CREATE TABLE dead_letter_bodies (
    -- Kept apart, so that scans without bodies stay fast.
    dead_letter_id TEXT PRIMARY KEY,
    attributes TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE dead_letter_history (
    -- The audit log of each dead letter; append-only. run_id is the process run or the bulk operation that
    -- wrote the entry; operation_outcome is set once that bulk operation is done with the dead letter. The
    -- correction columns are a claim of a correction number; corrected_by is the id of the message whose
    -- body replaced the dead letter, replaced is what the row showed before it, as JSON.
    dead_letter_id TEXT NOT NULL,
    entry_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    action TEXT NOT NULL,
    reason TEXT,
    attempt INTEGER,
    outcome TEXT,
    actor TEXT NOT NULL,
    host TEXT NOT NULL,
    note TEXT,
    run_id TEXT,
    operation_outcome TEXT,
    correction_number INTEGER,
    correction_sha256 TEXT,
    correction_order_id INTEGER,
    correction_body TEXT,
    correction_status TEXT,
    corrected_by TEXT,
    replaced TEXT,
    PRIMARY KEY (dead_letter_id, entry_id)
) WITHOUT ROWID;

CREATE VIEW dead_letters_readable AS SELECT
    id,
    coalesce(state, CASE reason WHEN 'order_not_found' THEN 'waiting' ELSE 'parked' END) AS state,
    reason, detail, kind, order_id, payment_id,
    strftime('%Y-%m-%dT%H:%M:%fZ', t / 1e6, 'unixepoch') AS event_time,
    strftime('%Y-%m-%dT%H:%M:%fZ', first_failed_at / 1e6, 'unixepoch') AS first_failed,
    strftime('%Y-%m-%dT%H:%M:%fZ', state_at / 1e6, 'unixepoch') AS state_since,
    attempts,
    strftime('%Y-%m-%dT%H:%M:%fZ', next_attempt_at / 1e6, 'unixepoch') AS next_attempt,
    corrects, CAST(body AS TEXT) AS body, attributes
FROM dead_letters LEFT JOIN dead_letter_bodies ON dead_letter_id = id
WHERE kind IS NOT NULL;
CREATE VIEW dead_letters_open AS
SELECT * FROM dead_letters_readable WHERE state IN ('waiting', 'parked');
CREATE VIEW dead_letter_history_readable AS SELECT
    dead_letter_id, strftime('%Y-%m-%dT%H:%M:%fZ', at / 1e6, 'unixepoch') AS at,
    action, reason, attempt, outcome, actor, host, note, run_id, operation_outcome, correction_number,
    correction_status, correction_body, corrected_by, replaced
FROM dead_letter_history ORDER BY dead_letter_id, dead_letter_history.at, entry_id;

CREATE TABLE role_heartbeats (
    -- The last heartbeat of each role on each host, with the largest event time the role has processed.
    -- A row is deleted 30 days after its last heartbeat.
    role TEXT NOT NULL,
    host TEXT NOT NULL,
    version TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    newest_event_at INTEGER,
    PRIMARY KEY (role, host)
) WITHOUT ROWID;
CREATE TABLE bulk_operations (
    -- The audit log of bulk operations. outcomes is a JSON object: dead letters by outcome.
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    host TEXT NOT NULL,
    selection TEXT NOT NULL,
    note TEXT,
    dead_letters INTEGER NOT NULL,
    batches INTEGER NOT NULL,
    state TEXT NOT NULL,
    ended_at INTEGER,
    outcomes TEXT NOT NULL,
    revision INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE bulk_operation_batches (
    -- The plan of each bulk operation, in batches. planned is a JSON array of [dead letter id, verdict].
    -- outcomes is null until every dead letter of the batch is done.
    operation_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    planned TEXT NOT NULL,
    outcomes TEXT,
    PRIMARY KEY (operation_id, number)
);

CREATE TABLE schema_extensions (
    -- One row per group of tables that only some programs use. The first of them that opens the file creates the
    -- group; a program that needs another version of it does not open the file.
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE topics (
    -- last_message is the id of the last message published on the topic; ids are consecutive.
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    last_message INTEGER NOT NULL DEFAULT 0,
    last_publish_time INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE subscriptions (
    -- Every message up to the cursor has been delivered at least once.
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    topic INTEGER NOT NULL,
    cursor INTEGER NOT NULL
);
CREATE TABLE messages (
    -- One row per message and subscription, deleted by the ack. due is the end of its ack deadline; 0 means
    -- deliver now, as does a time later than any deadline set now; null means never delivered, or the deadline
    -- of its row in first_deliveries. attempt counts deliveries and names the current one: an ack or nack of an
    -- earlier attempt has no effect. It is 0 until a first delivery ends without an ack.
    subscription INTEGER NOT NULL,
    id INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    due INTEGER,
    publish_time INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (subscription, id)
) WITHOUT ROWID;
CREATE INDEX messages_by_due ON messages (subscription, due) WHERE due IS NOT NULL;
CREATE TABLE first_deliveries (
    -- One row per range of messages that were delivered together for the first time, with the end of their ack
    -- deadline: a first delivery changes no row of messages.
    subscription INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    due INTEGER NOT NULL,
    PRIMARY KEY (subscription, first)
) WITHOUT ROWID;
