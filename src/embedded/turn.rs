//! What a feed asks of the file, all in one job: settle, renew, lease.

use rusqlite::{Connection, OptionalExtension};

const ACK: &str = "DELETE FROM deliveries WHERE message = ?1 AND subscription = ?2 AND attempt = ?3";
/// Kept for as long as a subscription has it out, or has not come to it.
const FORGET: &str = "DELETE FROM messages WHERE id = ?1
    AND NOT EXISTS (SELECT 1 FROM deliveries WHERE message = ?1)
    AND NOT EXISTS (SELECT 1 FROM subscriptions WHERE topic = ?2 AND cursor < ?1)";
const NACK: &str = "UPDATE deliveries SET due = 0 WHERE message = ?1 AND subscription = ?2 AND attempt = ?3";
/// One statement for all leases, given as a JSON array of pairs.
const RENEW: &str = "UPDATE deliveries SET due = ?1 FROM json_each(?3) AS held
    WHERE message = json_extract(held.value, '$[0]') AND subscription = ?2
    AND attempt = json_extract(held.value, '$[1]')";
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
