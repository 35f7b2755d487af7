//! The transaction of a receive loop: applies acks and nacks, extends leases, and leases messages.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Rows};

use crate::outstanding::Room;
use ecom_clock::micros;

const ACK: &str = "DELETE FROM messages WHERE subscription = ?1 AND id = ?2 AND attempt = ?3";
/// Extends a lease; with 0 as the new deadline, a nack.
const SET_DUE: &str = "UPDATE messages SET due = ?4 WHERE subscription = ?1 AND id = ?2 AND attempt = ?3";
const EXPIRED: &str = "SELECT id, attempt + 1, publish_time, attributes, body FROM messages
    WHERE subscription = ?1 AND due <= ?2 ORDER BY due, id LIMIT ?3";
const IMPLAUSIBLE: &str = "SELECT id, attempt + 1, publish_time, attributes, body FROM messages
    WHERE subscription = ?1 AND due > ?2 ORDER BY due, id LIMIT ?3";
const LEASE_REDELIVERY: &str =
    "UPDATE messages SET attempt = ?3, due = ?4 WHERE subscription = ?1 AND id = ?2";
const CURSOR: &str = "SELECT cursor FROM subscriptions WHERE id = ?1";
const NEW: &str = "SELECT id, 1, publish_time, attributes, body FROM messages
    WHERE subscription = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
const LEASE_NEW: &str = "UPDATE messages SET attempt = 1, due = ?4
    WHERE subscription = ?1 AND id > ?2 AND id <= ?3";
const ADVANCE: &str = "UPDATE subscriptions SET cursor = ?2 WHERE id = ?1";
const HAS_DELIVERABLE: &str = "SELECT EXISTS (
        SELECT 1 FROM messages
        WHERE subscription = ?1 AND id > (SELECT cursor FROM subscriptions WHERE id = ?1))
    OR EXISTS (SELECT 1 FROM messages WHERE subscription = ?1 AND due <= ?2)
    OR EXISTS (SELECT 1 FROM messages WHERE subscription = ?1 AND due > ?3)";
/// The columns of messages to lease.
const ATTRIBUTES: usize = 3;
const BODY: usize = 4;
const HAS_UNACKED: &str = "SELECT EXISTS (SELECT 1 FROM messages WHERE subscription = ?1)";

/// The longest ack deadline.
pub(super) const LONGEST_ACK_DEADLINE: Duration = Duration::from_secs(600);
/// The time that a transaction may have waited for the file since it read its clock, and more.
const WAITED: Duration = Duration::from_secs(60);

/// The row ids of a subscription.
#[derive(Clone, Copy, Debug)]
pub(super) struct SubscriptionRow {
    /// The row id of the subscription.
    pub(super) subscription: i64,
    /// The row id of its topic.
    pub(super) topic: i64,
}

/// Identifies a delivery: the attempt distinguishes it from later deliveries of the same message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DeliveryToken {
    /// The message id.
    pub(super) message: i64,
    /// The delivery attempt; 1 is the first.
    pub(super) attempt: u32,
}

/// The response of a subscriber to a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum DeliveryResponse {
    /// Do not deliver it again.
    Acked(DeliveryToken),
    /// Deliver it again now.
    Nacked(DeliveryToken),
}

/// One transaction of a receive loop.
#[derive(Debug)]
pub(super) struct ReceiveTransaction {
    /// The subscription.
    pub(super) row: SubscriptionRow,
    /// The acks and nacks since the last transaction.
    pub(super) responses: Vec<DeliveryResponse>,
    /// The deliveries whose lease is extended.
    pub(super) extended: Vec<DeliveryToken>,
    /// The room for messages to lease.
    pub(super) room: Room,
    /// The current time, in microseconds since the epoch.
    pub(super) now: i64,
    /// The end of leases taken or extended here, in microseconds since the epoch.
    pub(super) until: i64,
}

/// A message that was leased.
#[derive(Debug)]
pub(super) struct LeasedMessage {
    /// Identifies the delivery.
    pub(super) token: DeliveryToken,
    /// Microseconds since the epoch.
    pub(super) publish_time: i64,
    /// A JSON object.
    pub(super) attributes: String,
    /// The body.
    pub(super) body: Vec<u8>,
}

impl LeasedMessage {
    /// Returns the size of body and attributes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.attributes.len() + self.body.len()
    }
}

/// The messages that a transaction has leased.
#[derive(Default, Debug)]
pub(super) struct Leased {
    /// The messages: redeliveries first, then new ones.
    pub(super) messages: Vec<LeasedMessage>,
    bytes: usize,
    /// The size of the message that did not fit, which was the end; 0 if none was.
    pub(super) next_bytes: usize,
}

impl Leased {
    /// Reads messages while there is room. Their number is limited by the query.
    fn read(&mut self, mut rows: Rows<'_>, room: Room) -> rusqlite::Result<()> {
        while self.next_bytes == 0
            && let Some(row) = rows.next()?
        {
            let size =
                |column| row.get_ref(column)?.as_bytes().map(<[u8]>::len).map_err(rusqlite::Error::from);
            let bytes = size(ATTRIBUTES)? + size(BODY)?;
            let alone = room.alone && self.messages.is_empty();
            if alone || self.bytes + bytes <= room.bytes {
                self.bytes += bytes;
                self.messages.push(leased_message(row)?);
            } else {
                self.next_bytes = bytes;
            }
        }
        Ok(())
    }
}

impl ReceiveTransaction {
    /// Runs the transaction and returns the leased messages.
    pub(super) fn run(&self, connection: &Connection) -> rusqlite::Result<Leased> {
        self.respond(connection)?;
        self.extend(connection)?;
        let mut leased = Leased::default();
        if self.room.messages > 0 {
            self.lease_redeliveries(connection, &mut leased)?;
            self.lease_new(connection, &mut leased)?;
        }
        Ok(leased)
    }

    fn respond(&self, connection: &Connection) -> rusqlite::Result<()> {
        let subscription = self.row.subscription;
        let mut ack = connection.prepare_cached(ACK)?;
        let mut set_due = connection.prepare_cached(SET_DUE)?;
        for response in &self.responses {
            match response {
                DeliveryResponse::Acked(DeliveryToken { message, attempt }) => {
                    ack.execute((subscription, message, attempt))?;
                }
                DeliveryResponse::Nacked(DeliveryToken { message, attempt }) => {
                    set_due.execute((subscription, message, attempt, 0))?;
                }
            }
        }
        Ok(())
    }

    fn extend(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut set_due = connection.prepare_cached(SET_DUE)?;
        for DeliveryToken { message, attempt } in &self.extended {
            set_due.execute((self.row.subscription, message, attempt, self.until))?;
        }
        Ok(())
    }

    fn lease_redeliveries(&self, connection: &Connection, leased: &mut Leased) -> rusqlite::Result<()> {
        let subscription = self.row.subscription;
        for (sql, bound) in [(EXPIRED, self.now), (IMPLAUSIBLE, latest_deadline(self.now))] {
            let limit = sql_limit(self.room.messages - leased.messages.len());
            let mut statement = connection.prepare_cached(sql)?;
            leased.read(statement.query((subscription, bound, limit))?, self.room)?;
        }
        let mut update = connection.prepare_cached(LEASE_REDELIVERY)?;
        for LeasedMessage { token, .. } in &leased.messages {
            update.execute((subscription, token.message, token.attempt, self.until))?;
        }
        Ok(())
    }

    fn lease_new(&self, connection: &Connection, leased: &mut Leased) -> rusqlite::Result<()> {
        let subscription = self.row.subscription;
        let cursor: Option<i64> =
            connection.prepare_cached(CURSOR)?.query_row([subscription], |row| row.get(0)).optional()?;
        let Some(cursor) = cursor else { return Ok(()) };
        let redeliveries = leased.messages.len();
        let mut statement = connection.prepare_cached(NEW)?;
        let limit = sql_limit(self.room.messages - redeliveries);
        leased.read(statement.query((subscription, cursor, limit))?, self.room)?;
        if let Some(LeasedMessage { token, .. }) = leased.messages[redeliveries..].last() {
            let lease = (subscription, cursor, token.message, self.until);
            connection.prepare_cached(LEASE_NEW)?.execute(lease)?;
            connection.prepare_cached(ADVANCE)?.execute((subscription, token.message))?;
        }
        Ok(())
    }
}

/// Returns whether the subscription has a message that can be leased now.
pub(super) fn has_deliverable(
    connection: &Connection,
    row: SubscriptionRow,
    now: i64,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(HAS_DELIVERABLE)?
        .query_row((row.subscription, now, latest_deadline(now)), |row| row.get(0))
}

/// Returns whether the subscription has a message that is not acked, leased or not.
pub(super) fn has_unacked(connection: &Connection, row: SubscriptionRow) -> rusqlite::Result<bool> {
    connection.prepare_cached(HAS_UNACKED)?.query_row([row.subscription], |row| row.get(0))
}

/// Returns the latest ack deadline that a process can have set by `now`. A later one was set under a clock
/// that was ahead, and counts as over: it would hide its message until the clock gets there.
fn latest_deadline(now: i64) -> i64 {
    now.saturating_add(micros(LONGEST_ACK_DEADLINE + WAITED))
}

fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn leased_message(row: &rusqlite::Row<'_>) -> rusqlite::Result<LeasedMessage> {
    Ok(LeasedMessage {
        token: DeliveryToken { message: row.get(0)?, attempt: row.get(1)? },
        publish_time: row.get(2)?,
        attributes: row.get(ATTRIBUTES)?,
        body: row.get(BODY)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{process, raw};
    use super::*;

    #[test]
    fn every_statement_goes_by_an_index_however_many_messages_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let _process = process(dir.path());
        let connection = raw(dir.path());
        for (sql, expected) in [
            (ACK, "SEARCH messages USING PRIMARY KEY (subscription=? AND id=?)"),
            (SET_DUE, "SEARCH messages USING PRIMARY KEY (subscription=? AND id=?)"),
            (EXPIRED, "SEARCH messages USING INDEX messages_by_due (subscription=? AND due<?)"),
            (IMPLAUSIBLE, "SEARCH messages USING INDEX messages_by_due (subscription=? AND due>?)"),
            (LEASE_REDELIVERY, "SEARCH messages USING PRIMARY KEY (subscription=? AND id=?)"),
            (NEW, "SEARCH messages USING PRIMARY KEY (subscription=? AND id>?)"),
            (LEASE_NEW, "SEARCH messages USING PRIMARY KEY (subscription=? AND id>? AND id<?)"),
        ] {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let unbound = vec![rusqlite::types::Null; statement.parameter_count()];
            let plan: Vec<String> = statement
                .query_map(rusqlite::params_from_iter(unbound), |row| row.get("detail"))
                .unwrap()
                .collect::<Result<_, _>>()
                .unwrap();
            assert_eq!(plan.first().map(String::as_str), Some(expected), "{sql}: {plan:?}");
            assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{sql}: {plan:?}");
        }
    }

    #[test]
    fn an_extension_touches_the_named_deliveries_only() {
        let dir = tempfile::tempdir().unwrap();
        let _process = process(dir.path());
        let connection = raw(dir.path());
        let rows = "INSERT INTO messages (id, subscription, attempt, due, publish_time, attributes, body)
            VALUES (1, 1, 1, 5, 0, '', ''), (2, 1, 2, 5, 0, '', ''), (3, 1, 1, 5, 0, '', ''),
                (1, 2, 1, 5, 0, '', '')";
        connection.execute(rows, []).unwrap();
        let extended = [1, 2].map(|message| DeliveryToken { message, attempt: 1 }).to_vec();
        let row = SubscriptionRow { subscription: 1, topic: 1 };
        let room = Room { messages: 0, bytes: 0, alone: false };
        let transaction = ReceiveTransaction { row, responses: Vec::new(), extended, room, now: 6, until: 9 };
        transaction.run(&connection).unwrap();
        let extended = "SELECT group_concat(id || '/' || subscription) FROM messages WHERE due = 9";
        let extended: String = connection.query_row(extended, [], |row| row.get(0)).unwrap();
        assert_eq!(extended, "1/1");
    }
}
