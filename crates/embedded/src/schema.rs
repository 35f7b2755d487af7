//! Tables and views. The comments inside the statements stay in the file: `.schema` in `sqlite3`
//! shows them.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::Route;

/// Version of the schema below, kept in the file's `user_version`.
pub(super) const VERSION: i64 = 3;
/// Each makes of a file of the version before it one of its own.
const STEPS: [(i64, &str); 3] = [(1, FIRST), (2, SECOND), (VERSION, THIRD)];

const FIRST: &str = "
CREATE TABLE facts (
    -- Behind the view orders_payments_facts: its 13 columns and, for each column group, the time T
    -- of the event it came from, in microseconds since the epoch. The larger T wins; a value set by
    -- hand stays until an event of a larger T arrives, so raise the T beside it to keep it for good.
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

CREATE TABLE dead_letters (
    -- One row a dead letter. Times are microseconds since the epoch; state NULL means what the reason
    -- says. A row without a kind is a dead letter that was acted on and has not been recorded (again).
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
    state TEXT,
    generation INTEGER NOT NULL DEFAULT 0,
    state_at INTEGER,
    state_time INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at INTEGER,
    schedule_time INTEGER
) WITHOUT ROWID;
CREATE TABLE dead_letter_bodies (
    -- Apart, so that reading dead letters without their bodies stays fast.
    dead_letter_id TEXT PRIMARY KEY,
    attributes TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE TABLE dead_letter_history (
    dead_letter_id TEXT NOT NULL,
    entry_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    action TEXT NOT NULL,
    outcome TEXT NOT NULL,
    actor TEXT NOT NULL,
    host TEXT NOT NULL,
    note TEXT,
    run_id TEXT,
    PRIMARY KEY (dead_letter_id, entry_id)
) WITHOUT ROWID;
CREATE VIEW dead_letter_history_readable AS SELECT
    dead_letter_id, strftime('%Y-%m-%dT%H:%M:%fZ', at / 1e6, 'unixepoch') AS at,
    action, outcome, actor, host, note, run_id
FROM dead_letter_history ORDER BY dead_letter_id, dead_letter_history.at, entry_id;

CREATE TABLE topics (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    last_publish_time INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE subscriptions (
    -- Messages up to the cursor were handed out at least once.
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    topic INTEGER NOT NULL,
    cursor INTEGER NOT NULL
);
CREATE TABLE messages (
    -- Stored once, deleted when every subscription of the topic has acked.
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    topic INTEGER NOT NULL,
    publish_time INTEGER NOT NULL,
    attributes TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX messages_by_topic ON messages (topic);
CREATE TABLE deliveries (
    -- Handed out and not acked. due = when the lease ends, 0 = at once. The attempt is the lease's
    -- token: it grows with every delivery, so an ack that names an older one changes nothing.
    message INTEGER NOT NULL,
    subscription INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    due INTEGER NOT NULL,
    PRIMARY KEY (message, subscription)
) WITHOUT ROWID;
CREATE INDEX deliveries_by_due ON deliveries (subscription, due);
";

const SECOND: &str = "
-- The dead letter whose corrected body this was: it came back.
ALTER TABLE dead_letters ADD COLUMN corrects TEXT;
-- Which dead letters are about an order.
CREATE INDEX dead_letters_by_order ON dead_letters (order_id, t, id) WHERE order_id IS NOT NULL;
DROP VIEW IF EXISTS dead_letters_open;
DROP VIEW IF EXISTS dead_letters_readable;
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

CREATE TABLE role_heartbeats (
    -- When each role was last seen on each host, and the latest T it settled. Not kept for ever.
    role TEXT NOT NULL,
    host TEXT NOT NULL,
    version TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    newest_event_at INTEGER,
    PRIMARY KEY (role, host)
) WITHOUT ROWID;
CREATE TABLE bulk_operations (
    -- What people did to dead letters. outcomes is dead letters by what came of them, as JSON.
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
    -- The plan of each run, in parts: ids and verdicts as JSON. outcomes NULL = not all of it is done.
    run_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    planned TEXT NOT NULL,
    outcomes TEXT,
    PRIMARY KEY (run_id, number)
);
";

const THIRD: &str = "
-- Numbers the messages of the topic.
ALTER TABLE topics ADD COLUMN last_message INTEGER NOT NULL DEFAULT 0;
UPDATE topics SET last_message = coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'messages'), 0);
ALTER TABLE messages RENAME TO messages_once;
CREATE TABLE messages (
    -- One row for each subscription that has not acked it. due = when the lease ends, 0 = at once,
    -- NULL = never handed out. The attempt is the lease's token: it grows with every delivery, so an
    -- ack that names an older one changes nothing.
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
INSERT INTO messages
SELECT subscriptions.id, messages_once.id, coalesce(attempt, 0), due, publish_time, attributes, body
FROM messages_once JOIN subscriptions USING (topic)
LEFT JOIN deliveries ON message = messages_once.id AND subscription = subscriptions.id
WHERE messages_once.id > cursor OR message IS NOT NULL;
DROP TABLE messages_once;
DROP TABLE deliveries;
";

/// Creates what is missing of schema, topics and subscriptions, in one transaction, and brings a file
/// of an earlier version up to date; writes nothing where all is there. Returns the file's schema version.
pub(super) fn provision(connection: &mut Connection, routes: &[Route]) -> rusqlite::Result<i64> {
    let found = version(connection)?;
    if found > VERSION || (found == VERSION && all_there(connection, routes)?) {
        return Ok(found);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    for (version, step) in STEPS {
        if found < version {
            transaction.execute_batch(step)?;
            transaction.pragma_update(None, "user_version", version)?;
        }
    }
    for route in routes {
        create(&transaction, route)?;
    }
    transaction.commit()?;
    Ok(found.max(VERSION))
}

/// A topic's row id.
pub(super) fn topic(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM topics WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn all_there(connection: &Connection, routes: &[Route]) -> rusqlite::Result<bool> {
    for route in routes {
        let there = match &route.subscription {
            None => topic(connection, &route.topic)?.is_some(),
            Some(name) => connection
                .prepare_cached(
                    "SELECT 1 FROM subscriptions JOIN topics ON topics.id = topic
                     WHERE subscriptions.name = ?1 AND topics.name = ?2",
                )?
                .exists([name, &route.topic])?,
        };
        if !there {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A new subscription gets what is published from now on.
fn create(connection: &Connection, route: &Route) -> rusqlite::Result<()> {
    connection.execute("INSERT OR IGNORE INTO topics (name) VALUES (?1)", [&route.topic])?;
    if let Some(subscription) = &route.subscription {
        connection.execute(
            "INSERT OR IGNORE INTO subscriptions (name, topic, cursor)
             SELECT ?1, id, last_message FROM topics WHERE name = ?2",
            [subscription, &route.topic],
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every table's and view's text.
    fn shape(connection: &Connection) -> Vec<String> {
        let mut statement =
            connection.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn a_file_of_the_first_version_becomes_as_a_new_one_and_keeps_dead_letters_and_messages() {
        let mut old = Connection::open_in_memory().unwrap();
        old.execute_batch(FIRST).unwrap();
        // As the first version had them.
        old.execute_batch(
            "CREATE VIEW dead_letters_readable AS SELECT id FROM dead_letters;
             CREATE VIEW dead_letters_open AS SELECT * FROM dead_letters_readable;
             INSERT INTO dead_letters (id, t, kind, reason, order_id)
             VALUES ('20240121-00-0', 1, 'payment', 'order_not_found', 7);
             INSERT INTO topics VALUES (1, 'orders', 50), (2, 'payments', 60);
             -- The second has not come to the fourth message, and has acked the first two.
             INSERT INTO subscriptions VALUES (1, 'first', 1, 4), (2, 'second', 1, 3), (3, 'other', 2, 4);
             INSERT INTO messages VALUES (1, 1, 10, '{}', 'a'), (3, 1, 30, '{}', 'c'), (4, 1, 40, '{}', 'd');
             INSERT INTO deliveries VALUES (1, 1, 7, 99), (3, 1, 1, 0), (3, 2, 2, 77), (4, 1, 1, 99);",
        )
        .unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        let mut new = Connection::open_in_memory().unwrap();
        for connection in [&mut old, &mut new] {
            assert_eq!(provision(connection, &[]).unwrap(), VERSION);
            assert_eq!(provision(connection, &[]).unwrap(), VERSION);
        }
        assert_eq!(shape(&old), shape(&new));
        let open = "SELECT order_id, state, corrects IS NULL FROM dead_letters_open";
        let row = old.query_row(open, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        assert_eq!(row, (7, "waiting".to_owned(), true));
        let messages = "SELECT group_concat(subscription || ':' || id || body || attempt || '/'
            || coalesce(due, 'never') || '@' || publish_time, ' ') FROM messages";
        let messages: String = old.query_row(messages, [], |row| row.get(0)).unwrap();
        assert_eq!(messages, "1:1a7/99@10 1:3c1/0@30 1:4d1/99@40 2:3c2/77@30 2:4d0/never@40");
        let last: i64 = old.query_row("SELECT min(last_message) FROM topics", [], |row| row.get(0)).unwrap();
        assert_eq!(last, 4, "an id is given once");
    }

    #[test]
    fn the_dead_letters_of_an_order_are_found_by_the_index() {
        let mut connection = Connection::open_in_memory().unwrap();
        provision(&mut connection, &[]).unwrap();
        let plan = format!("EXPLAIN QUERY PLAN {}", super::super::dead_letters::page_of_order());
        let plan: Vec<String> = connection
            .prepare(&plan)
            .unwrap()
            .query_map((1, 2, "x", 3), |row| row.get(3))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert!(plan[0].contains("USING INDEX dead_letters_by_order (order_id=?"), "{plan:?}");
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{plan:?}");
    }
}
