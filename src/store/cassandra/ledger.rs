//! The ledger of dead letters.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use scylla::response::PagingState;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlTimestamp, MaybeUnset};
use scylla::{DeserializeRow, SerializeRow};

use super::errors::Cause;
use super::session::CassandraStore;
use crate::domain::event_time::EventTime;
use crate::domain::letter::{
    Act, Action, BUCKETS, Change, HistoryEntry, Kind, Letter, LetterBody, LetterId, LetterRecord, Progress,
    State,
};
use crate::domain::order::OrderId;
use crate::domain::reason::Reason;
use crate::store::{Ledger, Scan, StoreError};

/// Partitions whose first page a scan without bodies asks for at once.
const LOOK_AHEAD: usize = 8;
/// Days remembered as written.
const DAYS_KEPT: usize = 1_000;

#[async_trait]
impl Ledger for CassandraStore {
    async fn record(&self, letter: &Letter, entry: &HistoryEntry) -> Result<(), StoreError> {
        let write = async {
            let day = letter.id.day();
            if !self.days.knows(day) {
                self.session.execute_unpaged(&self.statements.record_day, (day,)).await?;
                self.days.remember(day);
            }
            let t = letter.t.micros();
            let values = (LetterValues::of(letter), EntryValues::of(&letter.id, entry, t));
            self.session.batch(&self.statements.record_letter, values).await?;
            Ok::<_, Cause>(())
        };
        write.await.map_err(|cause| cause.at("record a letter", &self.name))
    }

    async fn letter(&self, id: &LetterId) -> Result<Option<LetterRecord>, StoreError> {
        let read = async {
            let key = (id.day(), id.bucket(), id.as_str());
            let answer = self.session.execute_unpaged(&self.statements.letter, key).await?;
            let row = answer.into_rows_result()?.maybe_first_row::<LetterRow>()?;
            row.and_then(LetterRow::record).transpose()
        };
        read.await.map_err(|cause| cause.at("read a letter", &self.name))
    }

    async fn history(&self, id: &LetterId) -> Result<Vec<HistoryEntry>, StoreError> {
        const WHAT: &str = "read a letter's history";
        let key = (id.day(), id.bucket(), id.as_str());
        let rows = self.rows::<EntryRow, _>(WHAT, &self.statements.history, key);
        let mut lines: Vec<HistoryEntry> = rows
            .map(|row| row.and_then(|row| row.entry(id).map_err(|cause| cause.at(WHAT, &self.name))))
            .try_collect()
            .await?;
        // A message that came again was recorded again, at a later time: one line, the oldest.
        let mut seen = BTreeSet::new();
        lines.retain(|line| seen.insert(line.entry_id.clone()));
        Ok(lines)
    }

    async fn act(&self, act: &Act) -> Result<(), StoreError> {
        let id = &act.letter;
        let (day, bucket, name) = (id.day(), id.bucket(), id.as_str());
        let time = act.time().map_or(act.t.micros(), |time| time.micros());
        let entry = EntryValues::of(id, &act.entry, time);
        let (session, statements) = (&self.session, &self.statements);
        let done = match act.change {
            Change::State { generation, state, at } => {
                let generation = i64::from(generation);
                let change = (time, state.as_str(), generation, timestamp(at), day, bucket, name);
                session.batch(&statements.set_state, (change, entry)).await
            }
            Change::Schedule { attempts, next_attempt_at } => {
                let attempts = i64::from(attempts);
                let change = (time, attempts, timestamp(next_attempt_at), day, bucket, name);
                session.batch(&statements.set_schedule, (change, entry)).await
            }
            Change::Nothing => session.execute_unpaged(&statements.record_entry, entry).await,
        };
        done.map(drop).map_err(|error| Cause::from(error).at("act on a letter", &self.name))
    }

    fn letters(&self, scan: Scan) -> BoxStream<'_, Result<LetterRecord, StoreError>> {
        const WHAT: &str = "read the letters";
        let (statement, ahead): (&PreparedStatement, usize) = if scan.bodies {
            (&self.statements.letters, 1)
        } else {
            (&self.statements.letters_brief, LOOK_AHEAD)
        };
        stream::once(async move { self.partitions(&scan).await })
            .map_ok(move |partitions| {
                stream::iter(partitions)
                    .map(move |key| async move {
                        let first =
                            self.page::<LetterRow, _>(WHAT, statement, key, PagingState::start()).await?;
                        Ok(self.rows_after::<LetterRow, _>(WHAT, statement, key, first))
                    })
                    .buffered(ahead)
                    .try_flatten()
            })
            .try_flatten()
            .try_filter_map(move |row| async move {
                row.record().transpose().map_err(|cause| cause.at(WHAT, &self.name))
            })
            .try_filter(move |record| std::future::ready(scan.wants(record.letter.t)))
            .boxed()
    }

    fn letters_of(&self, order_id: OrderId) -> BoxStream<'_, Result<LetterRecord, StoreError>> {
        let wanted = move |record: &LetterRecord| record.letter.order_id == Some(order_id);
        let letters = self.letters(Scan::ALL);
        letters.try_filter(move |record| std::future::ready(wanted(record))).boxed()
    }

    async fn remove(&self, record: &LetterRecord) -> Result<(), StoreError> {
        let id = &record.letter.id;
        let key = (record.highest_time().micros(), id.day(), id.bucket(), id.as_str());
        let done = self.session.batch(&self.statements.remove, (key, key)).await;
        done.map(drop).map_err(|error| Cause::from(error).at("remove a letter", &self.name))
    }
}

impl CassandraStore {
    /// The partitions that may hold letters of this scan, oldest day first.
    async fn partitions(&self, scan: &Scan) -> Result<Vec<(i32, i16)>, StoreError> {
        let rows = self.rows::<(i32,), _>("read the days that have letters", &self.statements.days, ());
        let mut days: Vec<i32> = rows.map_ok(|(day,)| day).try_collect().await?;
        let (first, last) = (scan.from.map_or(i32::MIN, day_of), scan.until.map_or(i32::MAX, day_of));
        days.retain(|day| (first..=last).contains(day));
        days.sort_unstable();
        let buckets = 0..i16::from(BUCKETS);
        Ok(days.into_iter().flat_map(|day| buckets.clone().map(move |bucket| (day, bucket))).collect())
    }
}

/// The day of the letters of this T, by the rule that makes their ids.
fn day_of(t: EventTime) -> i32 {
    LetterId::of(Kind::Order, t, b"").day()
}

/// A wall time of the domain, in microseconds, as CQL keeps it, in milliseconds.
fn timestamp(micros: i64) -> CqlTimestamp {
    CqlTimestamp(micros.div_euclid(1_000))
}

fn micros(timestamp: CqlTimestamp) -> i64 {
    timestamp.0.saturating_mul(1_000)
}

/// The days this process has written, so that it writes each once.
#[derive(Default, Debug)]
pub(super) struct Days(Mutex<BTreeSet<i32>>);

impl Days {
    fn knows(&self, day: i32) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&day)
    }

    /// Call it once the day is durable.
    fn remember(&self, day: i32) {
        let mut days = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        days.insert(day);
        if days.len() > DAYS_KEPT {
            days.pop_first();
        }
    }
}

/// What `record` binds. An absent number is left unset: null would be a tombstone, and every copy of
/// a letter has the same ones absent.
#[derive(SerializeRow)]
#[scylla(flavor = "enforce_order")]
struct LetterValues<'a> {
    day: i32,
    bucket: i16,
    id: &'a str,
    kind: &'static str,
    t: i64,
    body: &'a [u8],
    body_length: i64,
    body_sha256: MaybeUnset<&'a str>,
    attributes: BTreeMap<&'a str, &'a str>,
    reason: &'static str,
    detail: &'a str,
    order_id: MaybeUnset<i64>,
    payment_id: MaybeUnset<i64>,
    first_failed_at: CqlTimestamp,
    #[scylla(rename = "[timestamp]")]
    time: i64,
}

impl<'a> LetterValues<'a> {
    fn of(letter: &'a Letter) -> Self {
        let text = |(name, value): &'a (String, String)| (name.as_str(), value.as_str());
        Self {
            day: letter.id.day(),
            bucket: letter.id.bucket(),
            id: letter.id.as_str(),
            kind: letter.kind.as_str(),
            t: letter.t.micros(),
            body: &letter.body.bytes,
            body_length: i64::try_from(letter.body.length).unwrap_or(i64::MAX),
            body_sha256: MaybeUnset::from_option(letter.body.sha256.as_deref()),
            attributes: letter.attributes.iter().map(text).collect(),
            reason: letter.reason.as_str(),
            detail: &letter.detail,
            order_id: MaybeUnset::from_option(letter.order_id.map(|id| id.0)),
            payment_id: MaybeUnset::from_option(letter.payment_id),
            first_failed_at: timestamp(letter.first_failed_at),
            time: letter.t.micros(),
        }
    }
}

/// What a history line binds, written at `time`.
#[derive(SerializeRow)]
#[scylla(flavor = "enforce_order")]
struct EntryValues<'a> {
    day: i32,
    bucket: i16,
    id: &'a str,
    at: CqlTimestamp,
    entry_id: &'a str,
    action: &'static str,
    outcome: &'a str,
    actor: &'a str,
    host: &'a str,
    note: MaybeUnset<&'a str>,
    run_id: MaybeUnset<&'a str>,
    #[scylla(rename = "[timestamp]")]
    time: i64,
}

impl<'a> EntryValues<'a> {
    fn of(id: &'a LetterId, entry: &'a HistoryEntry, time: i64) -> Self {
        Self {
            day: id.day(),
            bucket: id.bucket(),
            id: id.as_str(),
            at: timestamp(entry.at),
            entry_id: &entry.entry_id,
            action: entry.action.as_str(),
            outcome: &entry.outcome,
            actor: &entry.actor,
            host: &entry.host,
            note: MaybeUnset::from_option(entry.note.as_deref()),
            run_id: MaybeUnset::from_option(entry.run_id.as_deref()),
            time,
        }
    }
}

/// A row of the letters; every cell but the id may be absent where an act came before its letter.
#[derive(DeserializeRow)]
#[scylla(flavor = "enforce_order")]
struct LetterRow {
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
    state: Option<String>,
    generation: Option<i64>,
    state_at: Option<CqlTimestamp>,
    attempts: Option<i64>,
    next_attempt_at: Option<CqlTimestamp>,
}

impl LetterRow {
    /// The letter; none where the row has no reason, since an UPDATE creates rows, too.
    fn record(self) -> Option<Result<LetterRecord, Cause>> {
        let reason = self.reason.clone()?;
        Some(self.with_reason(&reason))
    }

    fn with_reason(self, reason: &str) -> Result<LetterRecord, Cause> {
        let row = self.id;
        let kind = self.kind.unwrap_or_default();
        let letter = Letter {
            id: word(&row, "id", &row, LetterId::parse)?,
            kind: word(&row, "kind", &kind, Kind::parse)?,
            t: EventTime::stored(self.t.unwrap_or_default()),
            body: LetterBody {
                bytes: Bytes::from(self.body.unwrap_or_default()),
                length: u64::try_from(self.body_length.unwrap_or_default()).unwrap_or_default(),
                sha256: self.body_sha256,
            },
            attributes: self.attributes.unwrap_or_default().into_iter().collect(),
            reason: word(&row, "reason", reason, Reason::parse)?,
            detail: self.detail.unwrap_or_default(),
            order_id: self.order_id.map(OrderId),
            payment_id: self.payment_id,
            first_failed_at: self.first_failed_at.map(micros).unwrap_or_default(),
            corrects: None,
        };
        let state = self.state.map(|state| word(&row, "state", &state, State::parse)).transpose()?;
        let progress = Progress {
            state,
            generation: count(self.generation),
            state_at: self.state_at.map(micros),
            attempts: count(self.attempts),
            next_attempt_at: self.next_attempt_at.map(micros),
        };
        Ok(LetterRecord { letter, progress })
    }
}

/// A row of the history.
#[derive(DeserializeRow)]
#[scylla(flavor = "enforce_order")]
struct EntryRow {
    at: CqlTimestamp,
    entry_id: String,
    action: Option<String>,
    outcome: Option<String>,
    actor: Option<String>,
    host: Option<String>,
    note: Option<String>,
    run_id: Option<String>,
}

impl EntryRow {
    fn entry(self, id: &LetterId) -> Result<HistoryEntry, Cause> {
        Ok(HistoryEntry {
            at: micros(self.at),
            entry_id: self.entry_id,
            action: word(id.as_str(), "action", &self.action.unwrap_or_default(), Action::parse)?,
            outcome: self.outcome.unwrap_or_default(),
            actor: self.actor.unwrap_or_default(),
            host: self.host.unwrap_or_default(),
            note: self.note,
            run_id: self.run_id,
        })
    }
}

/// A stored word as the value it names.
fn word<T>(
    id: &str,
    column: &'static str,
    value: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Cause> {
    parse(value).ok_or_else(|| Cause::Word { id: id.to_owned(), column, value: value.to_owned() })
}

fn count(cell: Option<i64>) -> u32 {
    cell.map_or(0, |count| u32::try_from(count.max(0)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_time_is_kept_to_the_millisecond() {
        assert_eq!(micros(timestamp(1_705_831_290_123_456)), 1_705_831_290_123_000);
        assert_eq!(micros(timestamp(-1)), -1_000);
    }

    #[test]
    fn remembered_days_are_bounded() {
        let days = Days::default();
        (0..2_000).for_each(|day| days.remember(day));
        assert!(days.knows(1_999) && !days.knows(0));
        assert_eq!(days.0.lock().expect("not poisoned").len(), DAYS_KEPT);
    }

    #[test]
    fn a_scans_days_are_those_of_the_ids() {
        let noon = EventTime::stored(1_705_838_400_000_000);
        assert_eq!(day_of(noon), 20_240_121);
        assert_eq!(day_of(noon), LetterId::of(Kind::Payment, noon, b"{}").day());
    }

    use crate::domain::event_time::LedgerTime;
    use crate::store::cassandra::testing::in_keyspace;

    const T: i64 = 1_705_831_290_000_000;
    const DAY: i64 = 86_400_000_000;

    fn letter(t: i64, body: &[u8]) -> Letter {
        let (t, body) = (EventTime::stored(t), Bytes::copy_from_slice(body));
        Letter {
            id: LetterId::of(Kind::Payment, t, &body),
            kind: Kind::Payment,
            t,
            attributes: vec![("dlq_attempt".into(), "1".into()), ("event_id".into(), "x".into())],
            reason: Reason::OrderNotFound,
            detail: "order 7: none yet".into(),
            order_id: Some(OrderId(7)),
            payment_id: None,
            first_failed_at: T + 1_000,
            corrects: None,
            body: LetterBody::keep(&body),
        }
    }

    fn entry(at: i64, action: Action) -> HistoryEntry {
        HistoryEntry {
            at,
            entry_id: format!("{at}-{}", action.as_str()),
            action,
            outcome: "done".into(),
            actor: "dlq_handler".into(),
            host: "here".into(),
            note: (action == Action::Discarded).then(|| "a test order".into()),
            run_id: None,
        }
    }

    fn state(letter: &Letter, generation: u32, state: State, at: i64) -> Act {
        Act {
            letter: letter.id.clone(),
            t: letter.t,
            change: Change::State { generation, state, at },
            entry: entry(at, Action::Discarded),
        }
    }

    #[tokio::test]
    async fn a_letter_is_read_as_it_was_recorded_and_a_late_copy_keeps_its_state() {
        in_keyspace("letter", async |scratch| {
            let store = &scratch.store;
            let letter = letter(T, b"\x00\xff{");
            let received = entry(T, Action::Received);
            store.record(&letter, &received).await.expect("recorded");
            store.act(&state(&letter, 0, State::Discarded, T + 5_000)).await.expect("acted");
            store.record(&letter, &received).await.expect("recorded again");
            let record = store.letter(&letter.id).await.expect("read").expect("there");
            assert_eq!(record.letter, letter);
            assert_eq!(record.state(), State::Discarded);
            assert_eq!(record.progress.state_at, Some(T + 5_000));
            let history = store.history(&letter.id).await.expect("read");
            assert_eq!(history, [received, entry(T + 5_000, Action::Discarded)]);
        })
        .await;
    }

    #[tokio::test]
    async fn of_two_acts_the_one_of_the_larger_ledger_time_stays() {
        in_keyspace("acts", async |scratch| {
            let store = &scratch.store;
            let letter = letter(T, b"{}");
            store.record(&letter, &entry(T, Action::Received)).await.expect("recorded");
            for (generation, to) in
                [(0, State::Recovered), (0, State::Parked), (1, State::Parked), (0, State::Discarded)]
            {
                store.act(&state(&letter, generation, to, T + 9_000)).await.expect("acted");
            }
            for attempts in [3, 2] {
                let change = Change::Schedule { attempts, next_attempt_at: T + i64::from(attempts) * 1_000 };
                let act = Act { change, ..state(&letter, 0, State::Parked, T + 10_000) };
                store.act(&act).await.expect("scheduled");
            }
            let note = Act { change: Change::Nothing, ..state(&letter, 0, State::Parked, T + 11_000) };
            store.act(&note).await.expect("noted");
            let progress = store.letter(&letter.id).await.expect("read").expect("there").progress;
            assert_eq!((progress.state, progress.generation), (Some(State::Parked), 1));
            assert_eq!((progress.attempts, progress.next_attempt_at), (3, Some(T + 3_000)));
        })
        .await;
    }

    #[tokio::test]
    async fn an_act_on_no_letter_makes_none() {
        in_keyspace("noletter", async |scratch| {
            let store = &scratch.store;
            let (there, absent) = (letter(T, b"there"), letter(T, b"absent"));
            store.record(&there, &entry(T, Action::Received)).await.expect("recorded");
            store.act(&state(&absent, 0, State::Discarded, T)).await.expect("acted");
            assert_eq!(store.letter(&absent.id).await.expect("read"), None);
            let all: Vec<LetterRecord> = store.letters(Scan::ALL).try_collect().await.expect("read");
            assert_eq!(all.into_iter().map(|record| record.letter).collect::<Vec<_>>(), [there]);
        })
        .await;
    }

    #[tokio::test]
    async fn a_scan_reads_its_days_oldest_first_and_bodies_only_on_demand() {
        in_keyspace("letters", async |scratch| {
            let store = &scratch.store;
            let kept: Vec<Letter> =
                (0..120).map(|n| letter(T + (n % 3) * DAY, format!("body {n}").as_bytes())).collect();
            for letter in &kept {
                store.record(letter, &entry(letter.t.micros(), Action::Received)).await.expect("recorded");
            }
            let all: Vec<LetterRecord> = store.letters(Scan::ALL).try_collect().await.expect("read");
            assert!(all.is_sorted_by_key(|record| record.letter.id.day()));
            let mut read: Vec<Letter> = all.into_iter().map(|record| record.letter).collect();
            let mut wanted = kept.clone();
            read.sort_by(|a, b| a.id.cmp(&b.id));
            wanted.sort_by(|a, b| a.id.cmp(&b.id));
            assert_eq!(read, wanted);
            let middle = Scan {
                from: Some(EventTime::stored(T + 1)),
                until: Some(EventTime::stored(T + 2 * DAY)),
                bodies: false,
            };
            let brief: Vec<LetterRecord> = store.letters(middle).try_collect().await.expect("read");
            assert_eq!(brief.len(), 40);
            for record in brief {
                assert!(record.letter.body.bytes.is_empty() && record.letter.attributes.is_empty());
                assert!(record.letter.body.length > 0);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_removed_letter_takes_its_history_along_and_no_other_letter() {
        in_keyspace("remove", async |scratch| {
            let store = &scratch.store;
            let (gone, neighbour) = (letter(T, b"gone"), letter(T, b"stays"));
            for letter in [&gone, &neighbour] {
                store.record(letter, &entry(T, Action::Received)).await.expect("recorded");
                store.act(&state(letter, 1, State::Recovered, T)).await.expect("acted");
            }
            let record = store.letter(&gone.id).await.expect("read").expect("there");
            assert_eq!(record.highest_time(), LedgerTime::of(gone.t, 1, 3));
            store.remove(&record).await.expect("removed");
            assert_eq!(store.letter(&gone.id).await.expect("read"), None);
            assert!(store.history(&gone.id).await.expect("read").is_empty());
            assert!(store.letter(&neighbour.id).await.expect("read").is_some());
            assert_eq!(store.history(&neighbour.id).await.expect("read").len(), 2);
        })
        .await;
    }

    #[tokio::test]
    async fn bodies_of_a_mebibyte_are_kept_and_scanned() {
        in_keyspace("large", async |scratch| {
            let store = &scratch.store;
            let kept: Vec<Letter> = (0..20_u8).map(|n| letter(T, &vec![n; 1024 * 1024])).collect();
            for letter in &kept {
                store.record(letter, &entry(T, Action::Received)).await.expect("recorded");
            }
            let lengths: Vec<usize> = store
                .letters(Scan::ALL)
                .map_ok(|record| record.letter.body.bytes.len())
                .try_collect()
                .await
                .expect("read");
            assert_eq!(lengths, [1024 * 1024; 20]);
        })
        .await;
    }
}
