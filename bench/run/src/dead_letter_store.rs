//! The dead-letter store as `dlq_handler` must have left it: every dead letter, its history, its line in the
//! index by order.

use crate::dead_letter::{self, Key};
use crate::facts::session;
use anyhow::{Context, Result, ensure};
use futures_util::stream::TryStreamExt;
use scylla::DeserializeRow;
use scylla::value::CqlTimestamp;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Allowance for a server's clock that is behind the generator's, in microseconds.
const SKEW: i64 = 5_000_000;

/// A row of `dead_letters`, with the write times of its cells.
#[derive(DeserializeRow, Clone, PartialEq, Debug)]
struct Letter {
    day: i32,
    bucket: i16,
    id: String,
    kind: Option<String>,
    t: Option<i64>,
    body: Option<Vec<u8>>,
    body_length: Option<i64>,
    body_sha256: Option<String>,
    attributes: Option<BTreeMap<String, String>>,
    reason: Option<String>,
    detail: Option<String>,
    order_id: Option<i64>,
    payment_id: Option<i64>,
    first_failed_at: Option<CqlTimestamp>,
    corrects: Option<String>,
    state: Option<String>,
    generation: Option<i64>,
    state_at: Option<CqlTimestamp>,
    attempts: Option<i64>,
    next_attempt_at: Option<CqlTimestamp>,
    body_written: Option<i64>,
    attributes_written: Option<i64>,
    reason_written: Option<i64>,
    order_written: Option<i64>,
    payment_written: Option<i64>,
    attempts_written: Option<i64>,
}

const LETTERS: &str = "day, bucket, id, kind, t, body, body_length, body_sha256, attributes, reason, detail, \
    order_id, payment_id, first_failed_at, corrects, state, generation, state_at, attempts, next_attempt_at, \
    WRITETIME(body) AS body_written, WRITETIME(attributes) AS attributes_written, \
    WRITETIME(reason) AS reason_written, WRITETIME(order_id) AS order_written, \
    WRITETIME(payment_id) AS payment_written, WRITETIME(attempts) AS attempts_written";

/// A row of `dead_letter_history`.
#[derive(DeserializeRow, Clone, PartialEq, Debug)]
struct Entry {
    day: i32,
    bucket: i16,
    id: String,
    at: CqlTimestamp,
    entry_id: String,
    action: Option<String>,
    outcome: Option<String>,
    actor: Option<String>,
    host: Option<String>,
    note: Option<String>,
    run_id: Option<String>,
    operation_outcome: Option<String>,
    correction_number: Option<i64>,
    corrected_by: Option<String>,
    written: Option<i64>,
}

const ENTRIES: &str = "day, bucket, id, at, entry_id, action, outcome, actor, host, note, run_id, \
    operation_outcome, correction_number, corrected_by, WRITETIME(action) AS written";

/// Compares the store with dead letters 1 to `n`, published from the time it `began`.
pub async fn check(keyspace: &str, n: i64, began: i64) -> Result<()> {
    let session = session().await?;
    let mut audit = Audit::new(n, began);
    let select = |columns: &str, table: &str| format!("SELECT {columns} FROM {keyspace}.{table}");
    let query = select(LETTERS, "dead_letters");
    let mut rows = session.query_iter(query, ()).await?.rows_stream::<Letter>()?;
    while let Some(row) = rows.try_next().await? {
        audit.letter(&row)?;
    }
    let query = select(ENTRIES, "dead_letter_history");
    let mut rows = session.query_iter(query, ()).await?.rows_stream::<Entry>()?;
    while let Some(row) = rows.try_next().await? {
        audit.entry(&row)?;
    }
    let query = select("order_id, t, id", "dead_letters_by_order");
    let mut rows = session.query_iter(query, ()).await?.rows_stream::<(i64, i64, String)>()?;
    while let Some((order, t, id)) = rows.try_next().await? {
        audit.line(order, t, &id)?;
    }
    let query = select("day", "dead_letter_days");
    let days = session.query_iter(query, ()).await?.rows_stream::<(i32,)>()?;
    let days = days.map_ok(|(day,)| day).try_collect().await?;
    audit.finish(&days).map(drop)
}

/// Expected dead letters, and what was found of them.
struct Audit {
    began: i64,
    letters: HashMap<String, Seen>,
    /// The run that received them: one process.
    run: Option<String>,
}

/// The rows found for one dead letter.
#[derive(Debug)]
struct Seen {
    /// The order it is about, which is the generator's id.
    of: i64,
    /// Its rows.
    letters: u32,
    /// Lines of its history that say it was received.
    received: u32,
    /// Its lines in the index by order.
    lines: u32,
    /// Attempts its row counts.
    attempts: i64,
    /// The last attempt its history tells of.
    attempted: i64,
}

impl Audit {
    fn new(n: i64, began: i64) -> Self {
        let seen = |of| Seen { of, letters: 0, received: 0, lines: 0, attempts: 0, attempted: 0 };
        let letters = (1..=n).map(|of| (dead_letter::key(of, began).id, seen(of))).collect();
        Self { began, letters, run: None }
    }

    fn seen(&mut self, id: &str) -> Result<&mut Seen> {
        self.letters.get_mut(id).with_context(|| format!("there should be no dead letter {id}"))
    }

    fn letter(&mut self, row: &Letter) -> Result<()> {
        let began = self.began;
        let seen = self.seen(&row.id)?;
        seen.letters += 1;
        seen.attempts = row.attempts.unwrap_or_default();
        let wanted = wanted(seen.of, began, row.attempts, row.next_attempt_at);
        ensure!(*row == wanted, "dead letter {} is {row:?}, should be {wanted:?}", row.id);
        Ok(())
    }

    fn entry(&mut self, row: &Entry) -> Result<()> {
        let began = self.began;
        let seen = self.seen(&row.id)?;
        let (of, t) = (seen.of, dead_letter::t(seen.of, began));
        let place = dead_letter::key(of, began);
        let outcome = row.outcome.as_deref().unwrap_or_default();
        let is_signed = [&row.actor, &row.host, &row.run_id]
            .into_iter()
            .all(|word| word.as_ref().is_some_and(|word| !word.is_empty()));
        let at_its_place = (row.day, row.bucket) == (place.day, place.bucket);
        let in_time = row.at.0 >= (began - SKEW) / 1_000;
        // Nobody has retried, discarded or corrected it.
        let is_untouched = row.note.is_none()
            && row.operation_outcome.is_none()
            && row.correction_number.is_none()
            && row.corrected_by.is_none();
        let sound = is_signed && at_its_place && in_time && is_untouched;
        let expected = match row.action.as_deref() {
            Some("received") => {
                seen.received += 1;
                let message = row.entry_id.strip_prefix("received-").unwrap_or_default();
                !message.is_empty() && outcome == dead_letter::REASON && row.written == Some(t)
            }
            Some("attempted") => {
                let number = outcome.strip_prefix("attempt ").and_then(|number| number.parse().ok());
                seen.attempted = seen.attempted.max(number.unwrap_or_default());
                number.is_some_and(|number: i64| number > 0 && row.written == Some(t + number))
            }
            _ => false,
        };
        let same_run = *self.run.get_or_insert_with(|| row.run_id.clone().unwrap_or_default())
            == row.run_id.as_deref().unwrap_or_default();
        ensure!(
            sound && expected && same_run,
            "the history of {} (order {of}, time {t}) has {row:?}",
            row.id
        );
        Ok(())
    }

    fn line(&mut self, order: i64, t: i64, id: &str) -> Result<()> {
        let began = self.began;
        let seen = self.seen(id)?;
        seen.lines += 1;
        let wanted = (seen.of, dead_letter::t(seen.of, began));
        ensure!((order, t) == wanted, "the index has {id} at {:?}, should be {wanted:?}", (order, t));
        Ok(())
    }

    /// Checks that everything was found once; returns the number of dead letters.
    fn finish(&self, days: &BTreeSet<i32>) -> Result<usize> {
        let wanted: BTreeSet<i32> =
            self.letters.values().map(|seen| dead_letter::key(seen.of, self.began).day).collect();
        ensure!(*days == wanted, "days with dead letters are {days:?}, should be {wanted:?}");
        for (id, seen) in &self.letters {
            let Seen { of, letters, received, lines, attempts, attempted } = seen;
            ensure!(
                (*letters, *received, *lines) == (1, 1, 1),
                "dead letter {id} (order {of}) has {letters} rows, {received} lines of history that say it was \
                 received and {lines} in the index by order, should have one of each"
            );
            ensure!(
                attempts == attempted,
                "dead letter {id} counts {attempts} attempts, its history {attempted}"
            );
        }
        Ok(self.letters.len())
    }
}

/// Returns the row as it should be. Attempts and the next time are taken from the row.
fn wanted(of: i64, began: i64, attempts: Option<i64>, next: Option<CqlTimestamp>) -> Letter {
    let Key { day, bucket, id } = dead_letter::key(of, began);
    let (t, body) = (dead_letter::t(of, began), dead_letter::body(of).to_vec());
    let attempts = attempts.filter(|attempts| *attempts > 0);
    let start = CqlTimestamp(began / 1_000);
    Letter {
        day,
        bucket,
        id,
        kind: Some("payment".to_owned()),
        t: Some(t),
        body_length: i64::try_from(body.len()).ok(),
        body: Some(body),
        body_sha256: None,
        attributes: Some(dead_letter::attributes(of, began)),
        reason: Some(dead_letter::REASON.to_owned()),
        detail: Some(dead_letter::DETAIL.to_owned()),
        order_id: Some(of),
        payment_id: Some(of + 1_000),
        first_failed_at: Some(CqlTimestamp(t / 1_000)),
        corrects: None,
        // No state: the reason says that it waits.
        state: None,
        generation: None,
        state_at: None,
        attempts,
        next_attempt_at: attempts.map(|_| next.unwrap_or(start).max(start)),
        body_written: Some(t),
        attributes_written: Some(t),
        reason_written: Some(t),
        order_written: Some(t),
        payment_written: Some(t),
        attempts_written: attempts.map(|attempts| t + attempts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGAN: i64 = 1_705_831_290_000_000;
    const DAY: i32 = 20_240_121;

    fn letter(of: i64) -> Letter {
        wanted(of, BEGAN, None, None)
    }

    fn received(of: i64) -> Entry {
        let Key { day, bucket, id } = dead_letter::key(of, BEGAN);
        let word = |word: &str| Some(word.to_owned());
        Entry {
            day,
            bucket,
            id,
            at: CqlTimestamp(BEGAN / 1_000 + 5),
            entry_id: format!("received-{of}"),
            action: word("received"),
            outcome: word(dead_letter::REASON),
            actor: word("dlq_handler"),
            host: word("here"),
            note: None,
            run_id: word("run"),
            operation_outcome: None,
            correction_number: None,
            corrected_by: None,
            written: Some(BEGAN + of),
        }
    }

    fn attempted(of: i64, attempt: i64) -> Entry {
        Entry {
            entry_id: format!("{attempt:032x}"),
            action: Some("attempted".to_owned()),
            outcome: Some(format!("attempt {attempt}")),
            written: Some(BEGAN + of + attempt),
            ..received(of)
        }
    }

    /// Three letters, the second one tried twice, as their tables hold them.
    struct Tables {
        letters: Vec<Letter>,
        entries: Vec<Entry>,
        lines: Vec<(i64, i64, String)>,
        days: BTreeSet<i32>,
    }

    fn right() -> Tables {
        let mut letters: Vec<Letter> = (1..=3).map(letter).collect();
        letters[1].attempts = Some(2);
        letters[1].next_attempt_at = Some(CqlTimestamp(BEGAN / 1_000 + 9_000));
        letters[1].attempts_written = Some(BEGAN + 2 + 2);
        let mut entries: Vec<Entry> = (1..=3).map(received).collect();
        entries.extend([attempted(2, 1), attempted(2, 2)]);
        let lines = (1..=3).map(|of| (of, BEGAN + of, dead_letter::key(of, BEGAN).id)).collect();
        Tables { letters, entries, lines, days: BTreeSet::from([DAY]) }
    }

    fn verdict(tables: &Tables) -> Result<usize> {
        let mut audit = Audit::new(3, BEGAN);
        tables.letters.iter().try_for_each(|row| audit.letter(row))?;
        tables.entries.iter().try_for_each(|row| audit.entry(row))?;
        tables.lines.iter().try_for_each(|(order, t, id)| audit.line(*order, *t, id))?;
        audit.finish(&tables.days)
    }

    /// Checks the store with one thing wrong.
    fn refuses(what: &str, spoil: impl Fn(&mut Tables)) {
        let mut tables = right();
        spoil(&mut tables);
        assert!(verdict(&tables).is_err(), "{what} went unnoticed");
    }

    #[test]
    fn a_store_as_it_should_be_is_accepted() {
        assert_eq!(verdict(&right()).unwrap(), 3);
    }

    #[test]
    fn a_wrong_cell_of_a_dead_letter_is_found() {
        let text = || Some("x".to_owned());
        refuses("kind", |all| all.letters[0].kind = Some("order".to_owned()));
        refuses("t", |all| all.letters[0].t = Some(BEGAN));
        refuses("one byte of a body", |all| all.letters[0].body.as_mut().unwrap()[7] ^= 1);
        refuses("body_length", |all| all.letters[0].body_length = Some(1));
        refuses("body_sha256", |all| all.letters[0].body_sha256 = text());
        refuses("an attribute", |all| {
            all.letters[0].attributes.as_mut().unwrap().insert("dlq_attempt".to_owned(), "2".to_owned());
        });
        refuses("reason", |all| all.letters[0].reason = Some("invalid".to_owned()));
        refuses("detail", |all| all.letters[0].detail = text());
        refuses("order_id", |all| all.letters[0].order_id = None);
        refuses("payment_id", |all| all.letters[0].payment_id = Some(1));
        refuses("first_failed_at", |all| all.letters[0].first_failed_at = None);
        refuses("corrects", |all| all.letters[0].corrects = text());
        refuses("state", |all| all.letters[0].state = Some("parked".to_owned()));
        refuses("a write time", |all| all.letters[0].body_written = Some(BEGAN));
        refuses("a bucket", |all| all.letters[0].bucket += 1);
        refuses("an attempt without a time", |all| all.letters[1].next_attempt_at = None);
    }

    #[test]
    fn a_dead_letter_too_few_or_too_many_is_found() {
        refuses("a letter that is not there", |all| drop(all.letters.pop()));
        refuses("a letter of nobody", |all| all.letters.push(letter(4)));
        refuses("a letter twice", |all| all.letters.push(letter(1)));
        refuses("a letter under another's id", |all| all.letters[0].id = all.letters[1].id.clone());
        refuses("a day that is not there", |all| all.days.clear());
        refuses("a day too many", |all| all.days = BTreeSet::from([DAY, DAY + 1]));
    }

    #[test]
    fn a_wrong_history_is_found() {
        refuses("a letter nobody received", |all| drop(all.entries.remove(0)));
        refuses("a letter received twice", |all| {
            all.entries.push(Entry { entry_id: "received-9".to_owned(), ..received(1) });
        });
        refuses("an act nobody should have done", |all| {
            all.entries.push(Entry { action: Some("parked".to_owned()), ..attempted(1, 1) });
        });
        refuses("an attempt the letter does not count", |all| all.entries.push(attempted(1, 1)));
        refuses("an attempt without a line", |all| drop(all.entries.pop()));
        refuses("an actor", |all| all.entries[0].actor = None);
        refuses("a correction", |all| all.entries[0].correction_number = Some(0));
        refuses("an outcome of a bulk operation", |all| {
            all.entries[0].operation_outcome = Some("recovered".to_owned());
        });
        refuses("another run", |all| all.entries[0].run_id = Some("other".to_owned()));
        refuses("an outcome", |all| all.entries[0].outcome = Some("invalid".to_owned()));
        refuses("a write time", |all| all.entries[0].written = Some(BEGAN));
        refuses("a line of nobody's letter", |all| all.entries.push(received(4)));
    }

    #[test]
    fn a_wrong_index_is_found() {
        refuses("a line that is not there", |all| drop(all.lines.remove(0)));
        refuses("a line too many", |all| all.lines.push((4, BEGAN, dead_letter::key(4, BEGAN).id)));
        refuses("a line under another order", |all| all.lines[0].0 = 2);
        refuses("a line at another time", |all| all.lines[0].1 = BEGAN);
        refuses("a letter twice", |all| all.lines.push(all.lines[0].clone()));
    }
}
