//! The dead-letter store port on the file. Of two writes of a cell the larger write timestamp wins.

mod history;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Rows};

use super::columns::{optional_word, word};
use super::embedded::Embedded;
use ecom_domain::attributes::Attributes;
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterChange, DeadLetterId, DeadLetterIdPrefix, DeadLetterProgress, DeadLetterRecord,
    DeadLetterState, DeadLetterUpdate, EventKind, HistoryEntry, StoredBody,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_store::{DeadLetterStore, Scan, StoreError};

/// The most dead letters per page.
const PAGE: usize = 500;
/// The size of bodies and attributes at which a page ends early: 4 MiB.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// The event times whose day has eight digits, in microseconds since the epoch.
const DAYS_OF_EIGHT_DIGITS: std::ops::Range<i64> = 0..253_402_300_800_000_000;

/// The first copy is kept; all copies are equal. Completes a row that an earlier update created.
const RECORD: &str = "INSERT INTO dead_letters (id, t, kind, reason, detail, order_id, payment_id,
        first_failed_at, body_length, body_sha256, corrects)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
    ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, reason = excluded.reason,
        detail = excluded.detail, order_id = excluded.order_id, payment_id = excluded.payment_id,
        first_failed_at = excluded.first_failed_at, body_length = excluded.body_length,
        body_sha256 = excluded.body_sha256, corrects = excluded.corrects
    WHERE dead_letters.kind IS NULL";
const RECORD_BODY: &str =
    "INSERT OR IGNORE INTO dead_letter_bodies (dead_letter_id, attributes, body) VALUES (?1, ?2, ?3)";
const WRITE_STATE: &str = "INSERT INTO dead_letters (id, t, state, generation, state_at, state_time)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)
    ON CONFLICT (id) DO UPDATE SET state = excluded.state, generation = excluded.generation,
        state_at = excluded.state_at, state_time = excluded.state_time
    WHERE dead_letters.state_time IS NULL OR excluded.state_time > dead_letters.state_time
        OR (excluded.state_time = dead_letters.state_time AND excluded.state_at > dead_letters.state_at)";
const WRITE_SCHEDULE: &str = "INSERT INTO dead_letters (id, t, attempts, next_attempt_at, schedule_time)
    VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (id) DO UPDATE SET attempts = excluded.attempts,
        next_attempt_at = excluded.next_attempt_at, schedule_time = excluded.schedule_time
    WHERE dead_letters.schedule_time IS NULL OR excluded.schedule_time > dead_letters.schedule_time
        OR (excluded.schedule_time = dead_letters.schedule_time
            AND excluded.next_attempt_at > dead_letters.next_attempt_at)";
const SELECT_BRIEF: &str =
    "SELECT id, t, kind, reason, detail, order_id, payment_id, first_failed_at, body_length,
    body_sha256, state, generation, state_at, attempts, next_attempt_at, corrects FROM dead_letters";
const SELECT_WHOLE: &str =
    "SELECT id, t, kind, reason, detail, order_id, payment_id, first_failed_at, body_length,
    body_sha256, state, generation, state_at, attempts, next_attempt_at, corrects, body, attributes
    FROM dead_letters LEFT JOIN dead_letter_bodies ON dead_letter_id = id";
const IDS_BETWEEN: &str =
    "SELECT id FROM dead_letters WHERE kind IS NOT NULL AND id >= ?1 AND id < ?2 ORDER BY id LIMIT ?3";
/// Ids begin with the day of the event time, so a range of ids selects the days of a scan.
const IN_SCAN_BEFORE: &str = "WHERE kind IS NOT NULL AND id > ?1 AND id < ?2 AND t >= ?3 AND t < ?4
    ORDER BY id DESC LIMIT ?5";
const IN_ORDER_BEFORE: &str = "WHERE kind IS NOT NULL AND order_id = ?1 AND (t, id) < (?2, ?3)
    ORDER BY t DESC, id DESC LIMIT ?4";
/// Sorts after every id.
const AFTER_ALL: &str = "~";
/// Keeps a dead letter whose state was written after `?2`.
const REMOVE: &str = "DELETE FROM dead_letters WHERE id = ?1 AND coalesce(state_time, t) <= ?2";

#[async_trait]
impl DeadLetterStore for Embedded {
    async fn record_all(&self, dead_letters: &[(&DeadLetter, &HistoryEntry)]) -> Result<(), StoreError> {
        let owned =
            |(dead_letter, entry): &(&DeadLetter, &HistoryEntry)| ((*dead_letter).clone(), (*entry).clone());
        let all: Vec<(DeadLetter, HistoryEntry)> = dead_letters.iter().map(owned).collect();
        self.engine
            .write(move |connection| {
                all.iter().try_for_each(|(dead_letter, entry)| record(connection, dead_letter, entry))
            })
            .await
            .map_err(|error| self.store_error("record a dead letter", error))
    }

    async fn dead_letter(&self, id: &DeadLetterId) -> Result<Option<DeadLetterRecord>, StoreError> {
        let id = id.clone();
        self.engine
            .read(move |connection| one_dead_letter(connection, &id, true))
            .await
            .map_err(|error| self.store_error("read a dead letter", error))
    }

    async fn read_brief(&self, ids: &[DeadLetterId]) -> Result<Vec<Option<DeadLetterRecord>>, StoreError> {
        let ids = ids.to_vec();
        self.engine
            .read(move |connection| ids.iter().map(|id| one_dead_letter(connection, id, false)).collect())
            .await
            .map_err(|error| self.store_error("read dead letters", error))
    }

    async fn ids_with_prefix(
        &self,
        prefix: &DeadLetterIdPrefix,
        limit: usize,
    ) -> Result<Vec<DeadLetterId>, StoreError> {
        let (first, end) = (prefix.as_str().to_owned(), prefix.end());
        self.engine
            .read(move |connection| ids_between(connection, &first, &end, limit))
            .await
            .map_err(|error| self.store_error("read the ids of dead letters", error))
    }

    async fn history(&self, id: &DeadLetterId) -> Result<Vec<HistoryEntry>, StoreError> {
        let id = id.clone();
        self.engine
            .read(move |connection| history::read(connection, &id))
            .await
            .map_err(|error| self.store_error("read a dead letter's history", error))
    }

    async fn apply_all(&self, updates: &[DeadLetterUpdate]) -> Result<(), StoreError> {
        let updates = updates.to_vec();
        self.engine
            .write(move |connection| updates.iter().try_for_each(|update| apply(connection, update)))
            .await
            .map_err(|error| self.store_error("update a dead letter", error))
    }

    fn dead_letters(&self, scan: Scan) -> BoxStream<'_, Result<DeadLetterRecord, StoreError>> {
        let (first, end) = id_range(scan);
        self.pages(
            "read dead letters",
            end,
            move |connection, before| dead_letters_before(connection, scan, &first, before),
            |record| record.dead_letter.id.as_str().to_owned(),
        )
    }

    fn dead_letters_of_order(
        &self,
        order_id: OrderId,
    ) -> BoxStream<'_, Result<DeadLetterRecord, StoreError>> {
        let end = (i64::MAX, AFTER_ALL.to_owned());
        self.pages(
            "read dead letters",
            end,
            move |connection, before| dead_letters_of_before(connection, order_id, before),
            |record| (record.dead_letter.t.micros(), record.dead_letter.id.as_str().to_owned()),
        )
    }

    async fn remove(&self, record: &DeadLetterRecord) -> Result<(), StoreError> {
        let (id, time) = (record.dead_letter.id.clone(), record.removal_timestamp().micros());
        self.engine
            .write(move |connection| remove(connection, &id, time))
            .await
            .map_err(|error| self.store_error("remove a dead letter", error))
    }
}

fn record(connection: &Connection, dead_letter: &DeadLetter, entry: &HistoryEntry) -> rusqlite::Result<()> {
    write_dead_letter(connection, dead_letter)?;
    history::write(connection, &dead_letter.id, entry)
}

/// Writes the immutable columns, unless they are there.
fn write_dead_letter(connection: &Connection, dead_letter: &DeadLetter) -> rusqlite::Result<()> {
    let id = dead_letter.id.as_str();
    connection.prepare_cached(RECORD)?.execute((
        id,
        dead_letter.t.micros(),
        dead_letter.kind.as_str(),
        dead_letter.reason.as_str(),
        &dead_letter.detail,
        dead_letter.order_id.map(|order| order.0),
        dead_letter.payment_id,
        dead_letter.first_failed_at,
        i64::try_from(dead_letter.body.length).unwrap_or(i64::MAX),
        &dead_letter.body.sha256,
        dead_letter.corrects.as_ref().map(DeadLetterId::as_str),
    ))?;
    let attributes: BTreeMap<_, _> = dead_letter.attributes.iter().collect();
    let attributes = serde_json::to_string(&attributes).expect("texts by name always make an object");
    connection.prepare_cached(RECORD_BODY)?.execute((id, attributes, &*dead_letter.body.bytes))?;
    Ok(())
}

fn apply(connection: &Connection, update: &DeadLetterUpdate) -> rusqlite::Result<()> {
    let (id, t) = (update.dead_letter.as_str(), update.t.micros());
    let time = update.write_timestamp().map(|time| time.micros());
    if let DeadLetterChange::Reopen { dead_letter, .. } = &update.change {
        write_dead_letter(connection, dead_letter)?;
    }
    match update.change {
        DeadLetterChange::State { generation, state, at }
        | DeadLetterChange::Reopen { generation, state, at, .. } => {
            let cells = (id, t, state.as_str(), generation, at, time);
            connection.prepare_cached(WRITE_STATE)?.execute(cells)?;
        }
        DeadLetterChange::Schedule { attempts, next_attempt_at } => {
            let cells = (id, t, attempts, next_attempt_at, time);
            connection.prepare_cached(WRITE_SCHEDULE)?.execute(cells)?;
        }
        DeadLetterChange::Nothing => {}
    }
    history::write(connection, &update.dead_letter, &update.entry)
}

/// Deletes a dead letter with its body and history, unless its state was written after `time`.
fn remove(connection: &Connection, id: &DeadLetterId, time: i64) -> rusqlite::Result<()> {
    let id = id.as_str();
    if connection.prepare_cached(REMOVE)?.execute((id, time))? > 0 {
        connection
            .prepare_cached("DELETE FROM dead_letter_bodies WHERE dead_letter_id = ?1")?
            .execute([id])?;
        connection
            .prepare_cached("DELETE FROM dead_letter_history WHERE dead_letter_id = ?1")?
            .execute([id])?;
    }
    Ok(())
}

fn one_dead_letter(
    connection: &Connection,
    id: &DeadLetterId,
    bodies: bool,
) -> rusqlite::Result<Option<DeadLetterRecord>> {
    let columns = if bodies { SELECT_WHOLE } else { SELECT_BRIEF };
    connection
        .prepare_cached(&format!("{columns} WHERE id = ?1 AND kind IS NOT NULL"))?
        .query_row([id.as_str()], |row| dead_letter_record(row, bodies))
        .optional()
}

fn ids_between(
    connection: &Connection,
    first: &str,
    end: &str,
    limit: usize,
) -> rusqlite::Result<Vec<DeadLetterId>> {
    let mut statement = connection.prepare_cached(IDS_BETWEEN)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    statement.query_map((first, end, limit), |row| word(row, 0, DeadLetterId::parse))?.collect()
}

/// Returns the range of ids of a scan's days, exclusive at both ends.
fn id_range(scan: Scan) -> (Arc<str>, String) {
    let day = |t: EventTime| {
        DAYS_OF_EIGHT_DIGITS
            .contains(&t.micros())
            .then(|| format!("{:08}", DeadLetterId::of(EventKind::Order, t, b"").day()))
    };
    // In every id the day is followed by '-', which sorts before '.'.
    let first = scan.from.and_then(day).unwrap_or_default();
    let end = scan.until.and_then(day).map_or_else(|| AFTER_ALL.to_owned(), |day| day + ".");
    (first.into(), end)
}

fn dead_letters_before(
    connection: &Connection,
    scan: Scan,
    first: &str,
    before: &str,
) -> rusqlite::Result<VecDeque<DeadLetterRecord>> {
    let columns = if scan.bodies { SELECT_WHOLE } else { SELECT_BRIEF };
    let mut statement = connection.prepare_cached(&format!("{columns} {IN_SCAN_BEFORE}"))?;
    let from = scan.from.map_or(i64::MIN, EventTime::micros);
    let until = scan.until.map_or(i64::MAX, EventTime::micros);
    page(statement.query((first, before, from, until, PAGE as i64))?, scan.bodies)
}

/// Returns the statement that reads a page of the dead letters of an order.
pub(super) fn page_of_order() -> String {
    format!("{SELECT_WHOLE} {IN_ORDER_BEFORE}")
}

fn dead_letters_of_before(
    connection: &Connection,
    order_id: OrderId,
    (t, id): &(i64, String),
) -> rusqlite::Result<VecDeque<DeadLetterRecord>> {
    let mut statement = connection.prepare_cached(&page_of_order())?;
    page(statement.query((order_id.0, t, id, PAGE as i64))?, true)
}

fn page(mut rows: Rows<'_>, bodies: bool) -> rusqlite::Result<VecDeque<DeadLetterRecord>> {
    let (mut page, mut bytes) = (VecDeque::new(), 0);
    while let Some(row) = rows.next()? {
        let record = dead_letter_record(row, bodies)?;
        let attributes = &record.dead_letter.attributes;
        bytes += record.dead_letter.body.bytes.len();
        bytes += attributes.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
        page.push_back(record);
        if bytes >= PAGE_BYTES {
            break;
        }
    }
    Ok(page)
}

fn dead_letter_record(row: &Row<'_>, bodies: bool) -> rusqlite::Result<DeadLetterRecord> {
    let (bytes, attributes) = match bodies {
        true => (row.get::<_, Option<Vec<u8>>>(16)?.unwrap_or_default().into(), attributes(row)?),
        false => (Bytes::new(), Attributes::new()),
    };
    let length: i64 = row.get(8)?;
    let dead_letter = DeadLetter {
        id: word(row, 0, DeadLetterId::parse)?,
        t: EventTime::stored(row.get(1)?),
        kind: word(row, 2, EventKind::parse)?,
        reason: word(row, 3, Reason::parse)?,
        detail: row.get(4)?,
        order_id: row.get::<_, Option<i64>>(5)?.map(OrderId),
        payment_id: row.get(6)?,
        first_failed_at: row.get(7)?,
        corrects: optional_word(row, 15, DeadLetterId::parse)?,
        body: StoredBody { bytes, length: u64::try_from(length).unwrap_or_default(), sha256: row.get(9)? },
        attributes,
    };
    let state = optional_word(row, 10, DeadLetterState::parse)?;
    let progress = DeadLetterProgress {
        state,
        generation: row.get(11)?,
        state_at: row.get(12)?,
        attempts: row.get(13)?,
        next_attempt_at: row.get(14)?,
    };
    Ok(DeadLetterRecord { dead_letter, progress })
}

fn attributes(row: &Row<'_>) -> rusqlite::Result<Attributes> {
    let Some(json) = row.get_ref(17)?.as_str_or_null()? else { return Ok(Attributes::new()) };
    let attributes: BTreeMap<String, String> = serde_json::from_str(json)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(17, Type::Text, Box::new(error)))?;
    Ok(attributes.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::super::testing::{number, process, raw};
    use super::*;
    use ecom_domain::dead_letter::{HistoryAction, initial_state};

    const T: i64 = 1_705_831_290_000_000;
    const DAY: i64 = 86_400_000_000;

    fn dead_letter(t: i64, body: &'static str) -> DeadLetter {
        let (t, body) = (EventTime::stored(t), Bytes::from_static(body.as_bytes()));
        DeadLetter {
            id: DeadLetterId::of(EventKind::Payment, t, &body),
            kind: EventKind::Payment,
            t,
            body: StoredBody::keep(&body),
            attributes: [("a", "1"), ("b", "\"\u{0}é")].into_iter().collect(),
            reason: Reason::OrderNotFound,
            detail: "no order 1".into(),
            order_id: Some(OrderId(1)),
            payment_id: None,
            first_failed_at: T + 1,
            corrects: None,
        }
    }

    fn entry(id: &str, at: i64, action: HistoryAction) -> HistoryEntry {
        HistoryEntry {
            actor: "ada".into(),
            host: "here".into(),
            note: Some("why".into()),
            ..HistoryEntry::new(at, id.into(), action)
        }
    }

    fn state(
        dead_letter: &DeadLetter,
        generation: u32,
        state: DeadLetterState,
        entry: HistoryEntry,
    ) -> DeadLetterUpdate {
        let change = DeadLetterChange::State { generation, state, at: entry.at };
        DeadLetterUpdate::new(dead_letter, 0, change, entry)
    }

    fn schedule(
        dead_letter: &DeadLetter,
        attempts: u32,
        next_attempt_at: i64,
        entry: HistoryEntry,
    ) -> DeadLetterUpdate {
        let change = DeadLetterChange::Schedule { attempts, next_attempt_at };
        DeadLetterUpdate::new(dead_letter, 0, change, entry)
    }

    async fn read(store: &Embedded, dead_letter: &DeadLetter) -> DeadLetterRecord {
        store.dead_letter(&dead_letter.id).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_dead_letter_is_read_back_as_it_was_recorded_and_a_copy_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = process(dir.path());
        let first = dead_letter(T, "{}");
        assert_eq!(store.dead_letter(&first.id).await.unwrap(), None);
        store.record(&first, &entry("1", 5, HistoryAction::Received)).await.unwrap();
        let copy = DeadLetter { detail: "another".into(), attributes: Attributes::new(), ..first.clone() };
        store.record(&copy, &entry("2", 4, HistoryAction::Received)).await.unwrap();
        store.record(&copy, &entry("2", 4, HistoryAction::Received)).await.unwrap();
        let expected =
            DeadLetterRecord { dead_letter: first.clone(), progress: DeadLetterProgress::default() };
        assert_eq!(read(&store, &first).await, expected);
        let history = store.history(&first.id).await.unwrap();
        assert_eq!(history, [entry("2", 4, HistoryAction::Received), entry("1", 5, HistoryAction::Received)]);
    }

    #[tokio::test]
    async fn a_late_copy_leaves_a_resolved_dead_letter_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let store = process(dir.path());
        let one = dead_letter(T, "{}");
        store.record(&one, &entry("1", 1, HistoryAction::Received)).await.unwrap();
        store
            .apply(&state(&one, 0, DeadLetterState::Recovered, entry("2", 2, HistoryAction::Recovered)))
            .await
            .unwrap();
        store.record(&one, &entry("3", 3, HistoryAction::Received)).await.unwrap();
        assert_eq!(read(&store, &one).await.state(), DeadLetterState::Recovered);
        assert_eq!(store.history(&one.id).await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn an_update_that_arrives_before_its_dead_letter_counts() {
        let dir = tempfile::tempdir().unwrap();
        let store = process(dir.path());
        let one = dead_letter(T, "{}");
        store
            .apply(&state(&one, 0, DeadLetterState::Discarded, entry("1", 1, HistoryAction::Discarded)))
            .await
            .unwrap();
        assert_eq!(store.dead_letter(&one.id).await.unwrap(), None);
        assert!(store.dead_letters(Scan::ALL).try_collect::<Vec<_>>().await.unwrap().is_empty());
        store.record(&one, &entry("2", 2, HistoryAction::Received)).await.unwrap();
        let record = read(&store, &one).await;
        assert_eq!((record.state(), record.dead_letter), (DeadLetterState::Discarded, one));
    }

    #[tokio::test]
    async fn a_lower_rank_changes_nothing_but_the_history_until_a_reopen() {
        let dir = tempfile::tempdir().unwrap();
        let store = process(dir.path());
        let one = dead_letter(T, "{}");
        store.record(&one, &entry("1", 1, HistoryAction::Received)).await.unwrap();
        store
            .apply(&state(&one, 0, DeadLetterState::Discarded, entry("2", 2, HistoryAction::Discarded)))
            .await
            .unwrap();
        store
            .apply(&state(&one, 0, DeadLetterState::Parked, entry("3", 9_999, HistoryAction::Parked)))
            .await
            .unwrap();
        assert_eq!(read(&store, &one).await.state(), DeadLetterState::Discarded);
        assert_eq!(store.history(&one.id).await.unwrap().len(), 3);
        store
            .apply(&state(&one, 1, DeadLetterState::Waiting, entry("4", 4, HistoryAction::Reopened)))
            .await
            .unwrap();
        let progress = read(&store, &one).await.progress;
        assert_eq!((progress.state, progress.generation), (Some(DeadLetterState::Waiting), 1));
        assert_eq!(progress.state_at, Some(4));
    }

    #[tokio::test]
    async fn a_schedule_rises_and_leaves_the_state_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = process(dir.path());
        let one = dead_letter(T, "{}");
        store.record(&one, &entry("1", 1, HistoryAction::Received)).await.unwrap();
        store.apply(&schedule(&one, 2, 200, entry("2", 2, HistoryAction::Attempted))).await.unwrap();
        store.apply(&schedule(&one, 1, 900, entry("3", 3, HistoryAction::Attempted))).await.unwrap();
        let progress = read(&store, &one).await.progress;
        assert_eq!((progress.attempts, progress.next_attempt_at), (2, Some(200)));
        assert_eq!(progress.state, None);
    }

    #[tokio::test]
    async fn removing_deletes_the_dead_letter_and_its_history_unless_something_newer_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let store = process(dir.path());
        let one = dead_letter(T, "{}");
        store.record(&one, &entry("1", 1, HistoryAction::Received)).await.unwrap();
        store
            .apply(&state(&one, 0, DeadLetterState::Discarded, entry("2", 2, HistoryAction::Discarded)))
            .await
            .unwrap();
        let stale = read(&store, &one).await;
        store
            .apply(&state(&one, 1, DeadLetterState::Waiting, entry("3", 3, HistoryAction::Reopened)))
            .await
            .unwrap();
        store.remove(&stale).await.unwrap();
        let record = read(&store, &one).await;
        assert_eq!(store.history(&one.id).await.unwrap().len(), 3);
        store.remove(&record).await.unwrap();
        assert_eq!(store.dead_letter(&one.id).await.unwrap(), None);
        assert_eq!(store.history(&one.id).await.unwrap(), []);
        assert_eq!(number(dir.path(), "SELECT count(*) FROM dead_letter_bodies"), 0);
        store.record(&one, &entry("4", 4, HistoryAction::Received)).await.unwrap();
        assert_eq!(
            read(&store, &one).await.state(),
            DeadLetterState::Waiting,
            "a removed dead letter may be recorded again"
        );
    }

    #[tokio::test]
    async fn a_scan_reads_its_range_with_or_without_bodies() {
        let dir = tempfile::tempdir().unwrap();
        let store = process(dir.path());
        for n in 0..1_200 {
            let one = dead_letter(T + n * DAY / 400, "{\"a\":1}");
            store.record(&one, &entry("1", 1, HistoryAction::Received)).await.unwrap();
        }
        let read = async |scan: Scan| store.dead_letters(scan).try_collect::<Vec<_>>().await.unwrap();
        let all = read(Scan::ALL).await;
        assert_eq!(all.len(), 1_200);
        assert!(all.is_sorted_by_key(|record| std::cmp::Reverse(record.dead_letter.id.day())));
        assert!(all.iter().all(|record| record.dead_letter.attributes.len() == 2));
        let (from, until) = (EventTime::stored(T + DAY / 2), EventTime::stored(T + 2 * DAY));
        let some = read(Scan { from: Some(from), until: Some(until), bodies: false }).await;
        assert_eq!(some.len(), 600);
        assert!(some.iter().all(|record| (from..until).contains(&record.dead_letter.t)));
        let brief = &some[0].dead_letter;
        assert!(brief.attributes.is_empty() && brief.body.bytes.is_empty() && brief.body.length == 7);
        let ever = [EventTime::stored(i64::MIN), EventTime::stored(i64::MAX)];
        let ever = Scan { from: Some(ever[0]), until: Some(ever[1]), bodies: false };
        assert_eq!(read(ever).await.len(), 1_200);
    }

    #[tokio::test]
    async fn the_view_of_open_dead_letters_agrees_with_the_domain() {
        let dir = tempfile::tempdir().unwrap();
        let store = process(dir.path());
        for (n, reason) in Reason::ALL.into_iter().enumerate() {
            let one = DeadLetter { reason, ..dead_letter(T + 1_500_000 * i64::try_from(n).unwrap(), "{}") };
            store.record(&one, &entry("1", 1, HistoryAction::Received)).await.unwrap();
        }
        let hand = raw(dir.path());
        let mut rows = hand.prepare("SELECT reason, state, event_time, body FROM dead_letters_open").unwrap();
        let rows: Vec<[String; 4]> = rows
            .query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        assert_eq!(rows.len(), Reason::ALL.len());
        for [reason, state, ..] in &rows {
            assert_eq!(state, initial_state(Reason::parse(reason).unwrap()).as_str(), "{reason}");
        }
        assert!(rows.iter().any(|row| row[2..] == ["2024-01-21T10:01:31.500Z", "{}"]), "{rows:?}");
    }
}
