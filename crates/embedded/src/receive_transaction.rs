//! The transaction of a receive loop: applies acks and nacks, extends leases, and leases messages.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Rows};

use crate::outstanding::Room;
use ecom_clock::micros;

/// Deletes a run of messages that were all acked at this attempt.
const ACK: &str = "DELETE FROM messages
    WHERE subscription = ?1 AND id BETWEEN ?2 AND ?3 AND max(attempt, 1) = ?4";
/// Sets the deadline of a run of messages at this attempt; 0 = deliver now, a nack.
const SET_DUE: &str = "UPDATE messages SET attempt = ?4, due = ?5
    WHERE subscription = ?1 AND id BETWEEN ?2 AND ?3 AND max(attempt, 1) = ?4";
const EXPIRED: &str = "SELECT id, attempt + 1, publish_time, attributes, body FROM messages
    WHERE subscription = ?1 AND due <= ?2 ORDER BY due, id LIMIT ?3";
const IMPLAUSIBLE: &str = "SELECT id, attempt + 1, publish_time, attributes, body FROM messages
    WHERE subscription = ?1 AND due > ?2 ORDER BY due, id LIMIT ?3";
const LEASE_REDELIVERY: &str =
    "UPDATE messages SET attempt = ?3, due = ?4 WHERE subscription = ?1 AND id = ?2";
const CURSOR: &str = "SELECT cursor FROM subscriptions WHERE id = ?1";
const NEW: &str = "SELECT id, 1, publish_time, attributes, body FROM messages
    WHERE subscription = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
const LEASE_NEW: &str =
    "INSERT INTO first_deliveries (subscription, first, last, due) VALUES (?1, ?2, ?3, ?4)";
const ADVANCE: &str = "UPDATE subscriptions SET cursor = ?2 WHERE id = ?1";
const EXTEND_RANGE: &str = "UPDATE first_deliveries SET due = ?3 WHERE subscription = ?1 AND first = ?2";
const ENDED_RANGES: &str = "SELECT first, last FROM first_deliveries
    WHERE subscription = ?1 AND (due <= ?2 OR due > ?3)";
const DELETE_RANGE: &str = "DELETE FROM first_deliveries WHERE subscription = ?1 AND first = ?2";
/// Makes what is left of a range deliverable again.
const REDELIVER_RANGE: &str = "UPDATE messages SET attempt = 1, due = 0
    WHERE subscription = ?1 AND id BETWEEN ?2 AND ?3 AND attempt = 0";
const HAS_DELIVERABLE: &str = "SELECT EXISTS (
        SELECT 1 FROM messages
        WHERE subscription = ?1 AND id > (SELECT cursor FROM subscriptions WHERE id = ?1))
    OR EXISTS (SELECT 1 FROM messages WHERE subscription = ?1 AND due <= ?2)
    OR EXISTS (SELECT 1 FROM messages WHERE subscription = ?1 AND due > ?3)
    OR EXISTS (SELECT 1 FROM first_deliveries WHERE subscription = ?1 AND (due <= ?2 OR due > ?3))";
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

/// A range of messages that were delivered together for the first time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DeliveryRange {
    /// The first message id.
    pub(super) first: i64,
    /// The last message id.
    pub(super) last: i64,
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
    /// The redeliveries whose lease is extended.
    pub(super) extended: Vec<DeliveryToken>,
    /// The ranges of first deliveries whose lease is extended.
    pub(super) extended_ranges: Vec<DeliveryRange>,
    /// The ranges of first deliveries that all have a response.
    pub(super) finished_ranges: Vec<DeliveryRange>,
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
    /// The range of the new ones.
    pub(super) new: Option<DeliveryRange>,
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
        let (mut acked, mut nacked) = (Vec::new(), Vec::new());
        for response in &self.responses {
            match response {
                DeliveryResponse::Acked(token) => acked.push(*token),
                DeliveryResponse::Nacked(token) => nacked.push(*token),
            }
        }
        let mut ack = connection.prepare_cached(ACK)?;
        for (DeliveryRange { first, last }, attempt) in runs(acked) {
            ack.execute((subscription, first, last, attempt))?;
        }
        let mut set_due = connection.prepare_cached(SET_DUE)?;
        for (DeliveryRange { first, last }, attempt) in runs(nacked) {
            set_due.execute((subscription, first, last, attempt, 0))?;
        }
        // All of its messages have a response, which is written above unless its lease was lost.
        self.finished_ranges.iter().try_for_each(|range| self.end_range(connection, *range))
    }

    /// Ends the lease of a range. Messages without a response are delivered again.
    fn end_range(&self, connection: &Connection, range: DeliveryRange) -> rusqlite::Result<()> {
        let (subscription, DeliveryRange { first, last }) = (self.row.subscription, range);
        if connection.prepare_cached(DELETE_RANGE)?.execute((subscription, first))? > 0 {
            connection.prepare_cached(REDELIVER_RANGE)?.execute((subscription, first, last))?;
        }
        Ok(())
    }

    fn extend(&self, connection: &Connection) -> rusqlite::Result<()> {
        let (subscription, until) = (self.row.subscription, self.until);
        let mut set_due = connection.prepare_cached(SET_DUE)?;
        for DeliveryToken { message, attempt } in &self.extended {
            set_due.execute((subscription, message, message, attempt, until))?;
        }
        let mut extend_range = connection.prepare_cached(EXTEND_RANGE)?;
        for DeliveryRange { first, .. } in &self.extended_ranges {
            extend_range.execute((subscription, first, until))?;
        }
        Ok(())
    }

    fn lease_redeliveries(&self, connection: &Connection, leased: &mut Leased) -> rusqlite::Result<()> {
        let subscription = self.row.subscription;
        let ended: Vec<_> = connection
            .prepare_cached(ENDED_RANGES)?
            .query_map((subscription, self.now, latest_deadline(self.now)), |row| {
                Ok(DeliveryRange { first: row.get(0)?, last: row.get(1)? })
            })?
            .collect::<rusqlite::Result<_>>()?;
        ended.into_iter().try_for_each(|range| self.end_range(connection, range))?;
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
            let range = DeliveryRange { first: cursor + 1, last: token.message };
            let lease = (subscription, range.first, range.last, self.until);
            connection.prepare_cached(LEASE_NEW)?.execute(lease)?;
            connection.prepare_cached(ADVANCE)?.execute((subscription, range.last))?;
            leased.new = Some(range);
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

/// Returns the tokens as runs of consecutive messages at one attempt.
fn runs(mut tokens: Vec<DeliveryToken>) -> impl Iterator<Item = (DeliveryRange, u32)> {
    tokens.sort_unstable_by_key(|token| (token.attempt, token.message));
    let mut tokens = tokens.into_iter().peekable();
    std::iter::from_fn(move || {
        let DeliveryToken { message: first, attempt } = tokens.next()?;
        let mut last = first;
        while tokens.next_if_eq(&DeliveryToken { message: last + 1, attempt }).is_some() {
            last += 1;
        }
        Some((DeliveryRange { first, last }, attempt))
    })
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
            (ACK, "SEARCH messages USING PRIMARY KEY (subscription=? AND id>? AND id<?)"),
            (SET_DUE, "SEARCH messages USING PRIMARY KEY (subscription=? AND id>? AND id<?)"),
            (EXPIRED, "SEARCH messages USING INDEX messages_by_due (subscription=? AND due<?)"),
            (IMPLAUSIBLE, "SEARCH messages USING INDEX messages_by_due (subscription=? AND due>?)"),
            (LEASE_REDELIVERY, "SEARCH messages USING PRIMARY KEY (subscription=? AND id=?)"),
            (NEW, "SEARCH messages USING PRIMARY KEY (subscription=? AND id>?)"),
            (REDELIVER_RANGE, "SEARCH messages USING PRIMARY KEY (subscription=? AND id>? AND id<?)"),
            (EXTEND_RANGE, "SEARCH first_deliveries USING PRIMARY KEY (subscription=? AND first=?)"),
            (DELETE_RANGE, "SEARCH first_deliveries USING PRIMARY KEY (subscription=? AND first=?)"),
            (ENDED_RANGES, "SEARCH first_deliveries USING PRIMARY KEY (subscription=?)"),
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

    fn transaction() -> ReceiveTransaction {
        ReceiveTransaction {
            row: SubscriptionRow { subscription: 1, topic: 1 },
            responses: Vec::new(),
            extended: Vec::new(),
            extended_ranges: Vec::new(),
            finished_ranges: Vec::new(),
            room: Room { messages: 0, bytes: 0, alone: false },
            now: 6,
            until: 9,
        }
    }

    fn text(connection: &Connection, sql: &str) -> String {
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    const MESSAGES: &str = "INSERT INTO messages (id, subscription, attempt, due, publish_time, attributes, body)
        VALUES (1, 1, 1, 5, 0, '', ''), (2, 1, 2, 5, 0, '', ''), (3, 1, 1, 5, 0, '', ''), (1, 2, 1, 5, 0, '', ''),
            (4, 1, 0, NULL, 0, '', ''), (5, 1, 0, NULL, 0, '', ''), (6, 1, 0, NULL, 0, '', ''),
            (7, 1, 0, NULL, 0, '', '')";

    #[test]
    fn an_extension_touches_the_named_deliveries_only() {
        let dir = tempfile::tempdir().unwrap();
        let _process = process(dir.path());
        let connection = raw(dir.path());
        connection.execute(MESSAGES, []).unwrap();
        let ranges = "INSERT INTO first_deliveries VALUES (1, 4, 5, 5), (1, 6, 6, 5), (2, 4, 5, 5)";
        connection.execute(ranges, []).unwrap();
        let extended = [1, 2].map(|message| DeliveryToken { message, attempt: 1 }).to_vec();
        let extended_ranges = vec![DeliveryRange { first: 4, last: 5 }];
        ReceiveTransaction { extended, extended_ranges, ..transaction() }.run(&connection).unwrap();
        let extended = "SELECT group_concat(id || '/' || subscription) FROM messages WHERE due = 9";
        assert_eq!(text(&connection, extended), "1/1");
        let extended =
            "SELECT group_concat(first || '/' || subscription) FROM first_deliveries WHERE due = 9";
        assert_eq!(text(&connection, extended), "4/1");
    }

    #[test]
    fn a_response_counts_for_the_attempt_that_it_names_and_the_rest_of_a_range_is_delivered_again() {
        let dir = tempfile::tempdir().unwrap();
        let _process = process(dir.path());
        let connection = raw(dir.path());
        connection.execute(MESSAGES, []).unwrap();
        connection.execute("INSERT INTO first_deliveries VALUES (1, 4, 7, 5)", []).unwrap();
        let token = |message, attempt| DeliveryToken { message, attempt };
        let acked = [token(5, 1), token(1, 1), token(4, 1), token(2, 1)].map(DeliveryResponse::Acked);
        let nacked = [token(3, 2), token(6, 1)].map(DeliveryResponse::Nacked);
        let responses = acked.into_iter().chain(nacked).collect();
        let finished_ranges = vec![DeliveryRange { first: 4, last: 7 }];
        ReceiveTransaction { responses, finished_ranges, ..transaction() }.run(&connection).unwrap();
        let left = "SELECT group_concat(id || ' ' || attempt || ' ' || due, ', ') FROM messages
            WHERE subscription = 1";
        assert_eq!(text(&connection, left), "2 2 5, 3 1 5, 6 1 0, 7 1 0");
        assert_eq!(text(&connection, "SELECT count(*) || '' FROM first_deliveries"), "0");
    }

    #[test]
    fn tokens_of_consecutive_messages_at_one_attempt_are_one_run() {
        let tokens = [(4, 1), (2, 1), (3, 1), (5, 2), (7, 1)];
        let tokens = tokens.map(|(message, attempt)| DeliveryToken { message, attempt }).to_vec();
        let runs: Vec<_> = runs(tokens).map(|(range, attempt)| (range.first, range.last, attempt)).collect();
        assert_eq!(runs, [(2, 4, 1), (7, 7, 1), (5, 5, 2)]);
    }
}
