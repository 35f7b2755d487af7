//! What a feed asks of the file, all in one job: settle, renew, lease.

use rusqlite::{Connection, OptionalExtension};

const ACK: &str = "DELETE FROM deliveries WHERE message = ?1 AND subscription = ?2 AND attempt = ?3";
/// Kept for as long as a subscription has it out, or has not come to it.
const FORGET: &str = "DELETE FROM messages WHERE id = ?1
    AND NOT EXISTS (SELECT 1 FROM deliveries WHERE message = ?1)
    AND NOT EXISTS (SELECT 1 FROM subscriptions WHERE topic = ?2 AND cursor < ?1)";
const NACK: &str = "UPDATE deliveries SET due = 0 WHERE message = ?1 AND subscription = ?2 AND attempt = ?3";
/// One statement for all leases, given as a JSON array of pairs. As a join with the array it would
/// read all of it for each lease.
const RENEW: &str = "UPDATE deliveries SET due = ?1 WHERE subscription = ?2 AND (message, attempt) IN (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?3))";
const AGAIN: &str = "SELECT message, attempt + 1, publish_time, attributes, body
    FROM deliveries JOIN messages ON id = message
    WHERE subscription = ?1 AND due <= ?2 ORDER BY due, message LIMIT ?3";
const LEASE_AGAIN: &str =
    "UPDATE deliveries SET attempt = ?3, due = ?4 WHERE message = ?1 AND subscription = ?2";
const CURSOR: &str = "SELECT cursor FROM subscriptions WHERE id = ?1";
const FRESH: &str = "SELECT id, 1, publish_time, attributes, body FROM messages
    WHERE topic = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
const LEASE_FRESH: &str =
    "INSERT INTO deliveries (message, subscription, attempt, due) VALUES (?1, ?2, ?3, ?4)";
const ADVANCE: &str = "UPDATE subscriptions SET cursor = ?2 WHERE id = ?1";
const WAITING: &str = "SELECT EXISTS (
        SELECT 1 FROM messages
        WHERE topic = ?2 AND id > (SELECT cursor FROM subscriptions WHERE id = ?1))
    OR EXISTS (
        SELECT 1 FROM deliveries JOIN messages ON id = message WHERE subscription = ?1 AND due <= ?3)";

const LEFT: &str = "SELECT EXISTS (
        SELECT 1 FROM messages
        WHERE topic = ?2 AND id > (SELECT cursor FROM subscriptions WHERE id = ?1))
    OR EXISTS (SELECT 1 FROM deliveries WHERE subscription = ?1)";

/// A subscription's row ids.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mailbox {
    /// Its own.
    pub(super) subscription: i64,
    /// Its topic's.
    pub(super) topic: i64,
}

/// Names one delivery: the attempt is what tells it from a later one of the same message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token {
    /// The message.
    pub(super) message: i64,
    /// Which delivery of it; 1 is the first.
    pub(super) attempt: u32,
}

/// How a delivery was settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Settled {
    /// Never deliver it again.
    Acked(Token),
    /// Deliver it again, now.
    Nacked(Token),
}

/// One round of a feed.
#[derive(Debug)]
pub(super) struct Turn {
    /// Whose.
    pub(super) mailbox: Mailbox,
    /// What the lanes have settled since the last round.
    pub(super) settled: Vec<Settled>,
    /// What is to be kept longer.
    pub(super) renewed: Vec<Token>,
    /// How many messages to lease.
    pub(super) want: usize,
    /// Now, microseconds since the epoch.
    pub(super) now: i64,
    /// When leases taken or renewed in this turn end, microseconds since the epoch.
    pub(super) until: i64,
}

/// A message as it lies in the file, leased.
#[derive(Debug)]
pub(super) struct Leased {
    /// Names the delivery.
    pub(super) token: Token,
    /// Microseconds since the epoch.
    pub(super) publish_time: i64,
    /// A JSON object.
    pub(super) attributes: String,
    /// The body's bytes.
    pub(super) body: Vec<u8>,
}

impl Turn {
    /// Does all of it; returns what was leased: first what comes again, then what is new.
    pub(super) fn run(&self, connection: &Connection) -> rusqlite::Result<Vec<Leased>> {
        self.settle(connection)?;
        self.renew(connection)?;
        let mut leased = Vec::new();
        if self.want > 0 {
            self.lease_again(connection, &mut leased)?;
            self.lease_fresh(connection, &mut leased)?;
        }
        Ok(leased)
    }

    fn settle(&self, connection: &Connection) -> rusqlite::Result<()> {
        let Mailbox { subscription, topic } = self.mailbox;
        let mut ack = connection.prepare_cached(ACK)?;
        let mut forget = connection.prepare_cached(FORGET)?;
        let mut nack = connection.prepare_cached(NACK)?;
        for settled in &self.settled {
            match settled {
                Settled::Acked(token) => {
                    if ack.execute((token.message, subscription, token.attempt))? > 0 {
                        forget.execute((token.message, topic))?;
                    }
                }
                Settled::Nacked(token) => {
                    nack.execute((token.message, subscription, token.attempt))?;
                }
            }
        }
        Ok(())
    }

    fn renew(&self, connection: &Connection) -> rusqlite::Result<()> {
        if self.renewed.is_empty() {
            return Ok(());
        }
        let held: Vec<_> = self.renewed.iter().map(|token| (token.message, token.attempt)).collect();
        let held = serde_json::to_string(&held).expect("pairs of numbers always make an array");
        connection.prepare_cached(RENEW)?.execute((self.until, self.mailbox.subscription, held))?;
        Ok(())
    }

    fn lease_again(&self, connection: &Connection, leased: &mut Vec<Leased>) -> rusqlite::Result<()> {
        let Mailbox { subscription, .. } = self.mailbox;
        connection
            .prepare_cached(AGAIN)?
            .query_map((subscription, self.now, limit(self.want)), lease)?
            .try_for_each(|row| row.map(|row| leased.push(row)))?;
        let mut update = connection.prepare_cached(LEASE_AGAIN)?;
        for Leased { token, .. } in leased {
            update.execute((token.message, subscription, token.attempt, self.until))?;
        }
        Ok(())
    }

    fn lease_fresh(&self, connection: &Connection, leased: &mut Vec<Leased>) -> rusqlite::Result<()> {
        let Mailbox { subscription, topic } = self.mailbox;
        let cursor: Option<i64> =
            connection.prepare_cached(CURSOR)?.query_row([subscription], |row| row.get(0)).optional()?;
        let Some(cursor) = cursor else { return Ok(()) };
        let first = leased.len();
        connection
            .prepare_cached(FRESH)?
            .query_map((topic, cursor, limit(self.want - first)), lease)?
            .try_for_each(|row| row.map(|row| leased.push(row)))?;
        let mut insert = connection.prepare_cached(LEASE_FRESH)?;
        for Leased { token, .. } in &leased[first..] {
            insert.execute((token.message, subscription, token.attempt, self.until))?;
        }
        if let Some(Leased { token, .. }) = leased[first..].last() {
            connection.prepare_cached(ADVANCE)?.execute((subscription, token.message))?;
        }
        Ok(())
    }
}

/// Whether there is anything to lease.
pub(super) fn anything_waiting(
    connection: &Connection,
    mailbox: Mailbox,
    now: i64,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(WAITING)?
        .query_row((mailbox.subscription, mailbox.topic, now), |row| row.get(0))
}

/// Whether anything is published and not acked, leased or not.
pub(super) fn anything_left(connection: &Connection, mailbox: Mailbox) -> rusqlite::Result<bool> {
    connection.prepare_cached(LEFT)?.query_row((mailbox.subscription, mailbox.topic), |row| row.get(0))
}

fn limit(want: usize) -> i64 {
    i64::try_from(want).unwrap_or(i64::MAX)
}

fn lease(row: &rusqlite::Row<'_>) -> rusqlite::Result<Leased> {
    Ok(Leased {
        token: Token { message: row.get(0)?, attempt: row.get(1)? },
        publish_time: row.get(2)?,
        attributes: row.get(3)?,
        body: row.get(4)?,
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
            (ACK, "SEARCH deliveries USING PRIMARY KEY (message=? AND subscription=?)"),
            (NACK, "SEARCH deliveries USING PRIMARY KEY (message=? AND subscription=?)"),
            (RENEW, "SEARCH deliveries USING PRIMARY KEY (message=? AND subscription=?)"),
            (AGAIN, "SEARCH deliveries USING INDEX deliveries_by_due (subscription=? AND due<?)"),
            (FRESH, "SEARCH messages USING INDEX messages_by_topic (topic=? AND rowid>?)"),
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
    fn a_renewal_touches_the_named_deliveries_alone() {
        let dir = tempfile::tempdir().unwrap();
        let _process = process(dir.path());
        let connection = raw(dir.path());
        let rows = "INSERT INTO deliveries (message, subscription, attempt, due)
            VALUES (1, 1, 1, 5), (2, 1, 2, 5), (3, 1, 1, 5), (1, 2, 1, 5)";
        connection.execute(rows, []).unwrap();
        let renewed = [1, 2].map(|message| Token { message, attempt: 1 }).to_vec();
        let mailbox = Mailbox { subscription: 1, topic: 1 };
        let turn = Turn { mailbox, settled: Vec::new(), renewed, want: 0, now: 6, until: 9 };
        turn.run(&connection).unwrap();
        let renewed = "SELECT group_concat(message || '/' || subscription) FROM deliveries WHERE due = 9";
        let renewed: String = connection.query_row(renewed, [], |row| row.get(0)).unwrap();
        assert_eq!(renewed, "1/1");
    }
}
