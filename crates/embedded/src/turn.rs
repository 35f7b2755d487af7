//! What a feed asks of the file, all in one job: settle, renew, lease.

use rusqlite::{Connection, OptionalExtension};

const ACK: &str = "DELETE FROM messages WHERE subscription = ?1 AND id = ?2 AND attempt = ?3";
/// A renewal, or with 0 a nack.
const SET_DUE: &str = "UPDATE messages SET due = ?4 WHERE subscription = ?1 AND id = ?2 AND attempt = ?3";
const AGAIN: &str = "SELECT id, attempt + 1, publish_time, attributes, body FROM messages
    WHERE subscription = ?1 AND due <= ?2 ORDER BY due, id LIMIT ?3";
const LEASE_AGAIN: &str = "UPDATE messages SET attempt = ?3, due = ?4 WHERE subscription = ?1 AND id = ?2";
const CURSOR: &str = "SELECT cursor FROM subscriptions WHERE id = ?1";
const FRESH: &str = "SELECT id, 1, publish_time, attributes, body FROM messages
    WHERE subscription = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
const LEASE_FRESH: &str = "UPDATE messages SET attempt = 1, due = ?4
    WHERE subscription = ?1 AND id > ?2 AND id <= ?3";
const ADVANCE: &str = "UPDATE subscriptions SET cursor = ?2 WHERE id = ?1";
const WAITING: &str = "SELECT EXISTS (
        SELECT 1 FROM messages
        WHERE subscription = ?1 AND id > (SELECT cursor FROM subscriptions WHERE id = ?1))
    OR EXISTS (SELECT 1 FROM messages WHERE subscription = ?1 AND due <= ?2)";
const LEFT: &str = "SELECT EXISTS (SELECT 1 FROM messages WHERE subscription = ?1)";

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
    /// What the workers have settled since the last round.
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
        let subscription = self.mailbox.subscription;
        let mut ack = connection.prepare_cached(ACK)?;
        let mut set_due = connection.prepare_cached(SET_DUE)?;
        for settled in &self.settled {
            match settled {
                Settled::Acked(Token { message, attempt }) => {
                    ack.execute((subscription, message, attempt))?;
                }
                Settled::Nacked(Token { message, attempt }) => {
                    set_due.execute((subscription, message, attempt, 0))?;
                }
            }
        }
        Ok(())
    }

    fn renew(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut set_due = connection.prepare_cached(SET_DUE)?;
        for Token { message, attempt } in &self.renewed {
            set_due.execute((self.mailbox.subscription, message, attempt, self.until))?;
        }
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
            update.execute((subscription, token.message, token.attempt, self.until))?;
        }
        Ok(())
    }

    fn lease_fresh(&self, connection: &Connection, leased: &mut Vec<Leased>) -> rusqlite::Result<()> {
        let Mailbox { subscription, .. } = self.mailbox;
        let cursor: Option<i64> =
            connection.prepare_cached(CURSOR)?.query_row([subscription], |row| row.get(0)).optional()?;
        let Some(cursor) = cursor else { return Ok(()) };
        let first = leased.len();
        connection
            .prepare_cached(FRESH)?
            .query_map((subscription, cursor, limit(self.want - first)), lease)?
            .try_for_each(|row| row.map(|row| leased.push(row)))?;
        if let Some(Leased { token, .. }) = leased[first..].last() {
            let lease = (subscription, cursor, token.message, self.until);
            connection.prepare_cached(LEASE_FRESH)?.execute(lease)?;
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
    connection.prepare_cached(WAITING)?.query_row((mailbox.subscription, now), |row| row.get(0))
}

/// Whether anything is published and not acked, leased or not.
pub(super) fn anything_left(connection: &Connection, mailbox: Mailbox) -> rusqlite::Result<bool> {
    connection.prepare_cached(LEFT)?.query_row([mailbox.subscription], |row| row.get(0))
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
            (ACK, "SEARCH messages USING PRIMARY KEY (subscription=? AND id=?)"),
            (SET_DUE, "SEARCH messages USING PRIMARY KEY (subscription=? AND id=?)"),
            (AGAIN, "SEARCH messages USING INDEX messages_by_due (subscription=? AND due<?)"),
            (LEASE_AGAIN, "SEARCH messages USING PRIMARY KEY (subscription=? AND id=?)"),
            (FRESH, "SEARCH messages USING PRIMARY KEY (subscription=? AND id>?)"),
            (LEASE_FRESH, "SEARCH messages USING PRIMARY KEY (subscription=? AND id>? AND id<?)"),
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
        let rows = "INSERT INTO messages (id, subscription, attempt, due, publish_time, attributes, body)
            VALUES (1, 1, 1, 5, 0, '', ''), (2, 1, 2, 5, 0, '', ''), (3, 1, 1, 5, 0, '', ''),
                (1, 2, 1, 5, 0, '', '')";
        connection.execute(rows, []).unwrap();
        let renewed = [1, 2].map(|message| Token { message, attempt: 1 }).to_vec();
        let mailbox = Mailbox { subscription: 1, topic: 1 };
        let turn = Turn { mailbox, settled: Vec::new(), renewed, want: 0, now: 6, until: 9 };
        turn.run(&connection).unwrap();
        let renewed = "SELECT group_concat(id || '/' || subscription) FROM messages WHERE due = 9";
        let renewed: String = connection.query_row(renewed, [], |row| row.get(0)).unwrap();
        assert_eq!(renewed, "1/1");
    }
}
