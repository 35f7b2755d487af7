//! The dead-letter store port on Cassandra.

mod history;
mod rows;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use futures_util::future::{try_join, try_join_all};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use scylla::response::PagingState;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;

use super::columns::{micros, timestamp, word};
use super::errors::StatementError;
use super::groups::{BoxedValues, Write};
use super::store::CassandraStore;
use ecom_clock::Clock;
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterChange, DeadLetterId, DeadLetterIdPrefix, DeadLetterRecord, DeadLetterState,
    DeadLetterUpdate, EventKind, HistoryEntry,
};
use ecom_domain::event_time::{EventTime, WriteTimestamp};
use ecom_domain::order::OrderId;
use ecom_store::{DeadLetterStore, Scan, StoreError};
use history::{EntryRow, EntryValues};
use rows::{DeadLetterRow, DeadLetterValues};

/// The time after the registration of a partition at which it may be forgotten, in microseconds: a day. A process
/// registers a partition again after an hour, so that clocks may differ by almost a day.
const FORGET_AFTER: i64 = 24 * 3_600 * 1_000_000;
/// The number of partitions that a scan without bodies reads ahead, and of dead letters of an order that are
/// read concurrently.
const LOOK_AHEAD: usize = 8;

/// About as many bytes as an entry in the index by order has.
const INDEX_ENTRY_BYTES: usize = 128;
/// About as many bytes as a change of a dead letter and its history entry have, without texts of any length.
const UPDATE_BYTES: usize = 384;

#[async_trait]
impl DeadLetterStore for CassandraStore {
    async fn record_all(&self, dead_letters: &[(&DeadLetter, &HistoryEntry)]) -> Result<(), StoreError> {
        let statements = &self.statements;
        let index_entries = dead_letters.iter().filter_map(|(dead_letter, _)| {
            let values = index_entry(dead_letter, dead_letter.t.micros())?;
            Some(Write::new(&statements.record_by_order, values, INDEX_ENTRY_BYTES))
        });
        let index_entries: Vec<_> = index_entries.collect();
        let writes = dead_letters.iter().map(|(dead_letter, entry)| {
            let t = dead_letter.t.micros();
            let values = DeadLetterValues::of(dead_letter, t);
            let write = Write::new(&statements.record_dead_letter, values, rows::bytes(dead_letter)).boxed();
            // Two tables with the same partition key, hence one mutation.
            write.with(&statements.record_entry, Box::new(EntryValues::of(&dead_letter.id, entry, t)))
        });
        let writes: Vec<_> = writes.collect();
        let registrations =
            dead_letters.iter().map(|(dead_letter, _)| self.register_partition(&dead_letter.id));
        let write = async {
            try_join(try_join_all(registrations), self.write_all(&index_entries)).await?;
            self.write_all(&writes).await
        };
        write.await.map_err(|error| error.at("record a dead letter", &self.name))
    }

    async fn dead_letter(&self, id: &DeadLetterId) -> Result<Option<DeadLetterRecord>, StoreError> {
        let read = async {
            let key = (id.day(), id.bucket(), id.as_str());
            let response = self.session.execute_unpaged(&self.statements.dead_letter, key).await?;
            let row = response.into_rows_result()?.maybe_first_row::<DeadLetterRow>()?;
            row.and_then(DeadLetterRow::record).transpose()
        };
        read.await.map_err(|error| error.at("read a dead letter", &self.name))
    }

    async fn read_brief(&self, ids: &[DeadLetterId]) -> Result<Vec<Option<DeadLetterRecord>>, StoreError> {
        let mut partitions = BTreeMap::<_, Vec<_>>::new();
        for id in ids {
            partitions.entry((id.day(), id.bucket())).or_default().push(id.as_str());
        }
        let statement = &self.statements.dead_letters_by_id;
        let read = async |(day, bucket): (i32, i16), ids: Vec<&str>| {
            let response = self.session.execute_unpaged(statement, (day, bucket, ids)).await?;
            let rows = response.into_rows_result()?;
            let mut records = Vec::new();
            for row in rows.rows::<DeadLetterRow>()? {
                records.extend(row?.record().transpose()?);
            }
            Ok::<_, StatementError>(records)
        };
        let reads = partitions.into_iter().map(|(partition, ids)| read(partition, ids));
        let found = try_join_all(reads).await.map_err(|error| error.at("read dead letters", &self.name))?;
        let found = found.into_iter().flatten().map(|record| (record.dead_letter.id.clone(), record));
        let by_id: HashMap<_, _> = found.collect();
        Ok(ids.iter().map(|id| by_id.get(id).cloned()).collect())
    }

    async fn ids_with_prefix(
        &self,
        prefix: &DeadLetterIdPrefix,
        limit: usize,
    ) -> Result<Vec<DeadLetterId>, StoreError> {
        const WHAT: &str = "read the ids of dead letters";
        let end = prefix.end();
        let range = (prefix.day(), prefix.bucket(), prefix.as_str(), end.as_str());
        self.rows::<(String, Option<String>), _>(WHAT, &self.statements.ids_of_partition, range)
            // A row without a kind has a state, but was not recorded yet.
            .try_filter_map(|(id, kind)| std::future::ready(Ok(kind.map(|_| id))))
            .take(limit)
            .map(|id| {
                let id = id?;
                word(&id, "id", &id, DeadLetterId::parse).map_err(|error| error.at(WHAT, &self.name))
            })
            .try_collect()
            .await
    }

    async fn history(&self, id: &DeadLetterId) -> Result<Vec<HistoryEntry>, StoreError> {
        const WHAT: &str = "read a dead letter's history";
        let key = (id.day(), id.bucket(), id.as_str());
        let rows = self.rows::<EntryRow, _>(WHAT, &self.statements.history, key);
        let mut entries: Vec<HistoryEntry> = rows
            .map(|row| row.and_then(|row| row.entry(id).map_err(|error| error.at(WHAT, &self.name))))
            .try_collect()
            .await?;
        // `at` is part of the key: an entry that was written again at a later time is a second row. Keep the
        // oldest.
        let mut seen = BTreeSet::new();
        entries.retain(|entry| seen.insert(entry.entry_id.clone()));
        Ok(entries)
    }

    async fn apply_all(&self, updates: &[DeadLetterUpdate]) -> Result<(), StoreError> {
        let indexed = updates.iter().filter_map(|update| match &update.change {
            DeadLetterChange::Reopen { dead_letter, .. } => {
                let indexed = self.record_by_order(dead_letter, time_of(update));
                Some(try_join(self.register_partition(&update.dead_letter), indexed))
            }
            _ => None,
        });
        let writes: Vec<_> = updates.iter().map(|update| self.write_of(update)).collect();
        let write = async {
            try_join_all(indexed).await?;
            self.write_all(&writes).await
        };
        write.await.map_err(|error| error.at("update a dead letter", &self.name))
    }

    fn dead_letters(&self, scan: Scan) -> BoxStream<'_, Result<DeadLetterRecord, StoreError>> {
        const WHAT: &str = "read the dead letters";
        let (statement, ahead): (&PreparedStatement, usize) = if scan.bodies {
            (&self.statements.dead_letters, 1)
        } else {
            (&self.statements.dead_letters_brief, LOOK_AHEAD)
        };
        stream::once(async move { self.partitions(&scan).await })
            .map_ok(move |partitions| {
                stream::iter(partitions)
                    .map(move |key| async move {
                        let first = self.page::<DeadLetterRow, _>(WHAT, statement, key, PagingState::start());
                        let first = first.await.map_err(|error| unreadable(error, key))?;
                        let rows = self.rows_after::<DeadLetterRow, _>(WHAT, statement, key, first);
                        Ok(rows.map_err(move |error| unreadable(error, key)))
                    })
                    .buffered(ahead)
                    .try_flatten()
            })
            .try_flatten()
            .try_filter_map(move |row| async move {
                row.record().transpose().map_err(|error| error.at(WHAT, &self.name))
            })
            .try_filter(move |record| std::future::ready(scan.wants(record.dead_letter.t)))
            .boxed()
    }

    fn dead_letters_of_order(
        &self,
        order_id: OrderId,
    ) -> BoxStream<'_, Result<DeadLetterRecord, StoreError>> {
        const WHAT: &str = "read the dead letters of an order";
        self.rows::<(String,), _>(WHAT, &self.statements.dead_letters_by_order, (order_id.0,))
            .map_ok(move |(id,)| async move {
                let id =
                    word(&id, "id", &id, DeadLetterId::parse).map_err(|error| error.at(WHAT, &self.name))?;
                self.dead_letter(&id).await
            })
            .try_buffered(LOOK_AHEAD)
            // An index entry without its dead letter: the process that wrote or removed it ended in between.
            .try_filter_map(|record| std::future::ready(Ok(record)))
            .boxed()
    }

    async fn remove(&self, record: &DeadLetterRecord) -> Result<(), StoreError> {
        let dead_letter = &record.dead_letter;
        let (id, time) = (&dead_letter.id, record.removal_timestamp().micros());
        let schedule = WriteTimestamp::schedule(dead_letter.t, record.progress.attempts).micros();
        let removal = async {
            let key = |time: i64| (time, id.day(), id.bucket(), id.as_str());
            self.session.batch(&self.statements.remove, (key(time), key(schedule), key(time))).await?;
            if let Some(order) = dead_letter.order_id {
                let index_entry = (time, order.0, dead_letter.t.micros(), id.as_str());
                self.session.execute_unpaged(&self.statements.remove_by_order, index_entry).await?;
            }
            Ok::<_, StatementError>(())
        };
        removal.await.map_err(|error| error.at("remove a dead letter", &self.name))
    }

    async fn forget_removed(&self) -> Result<u64, StoreError> {
        self.forget_empty(Clock::System.now_us().saturating_sub(FORGET_AFTER)).await
    }
}

/// Returns the values of a dead letter's entry in the index by order, at the write timestamp `time`.
fn index_entry(dead_letter: &DeadLetter, time: i64) -> Option<(i64, i64, &str, i64)> {
    Some((dead_letter.order_id?.0, dead_letter.t.micros(), dead_letter.id.as_str(), time))
}

/// Returns the write timestamp of the cells of a change.
fn time_of(update: &DeadLetterUpdate) -> i64 {
    update.write_timestamp().map_or(update.t.micros(), |time| time.micros())
}

/// Returns about as many bytes as the values of an update have.
fn update_bytes(update: &DeadLetterUpdate) -> usize {
    let entry = &update.entry;
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let body = entry.correction.as_ref().map_or(0, |claim| claim.body.len());
    UPDATE_BYTES + length(&entry.note) + length(&entry.replaced) + body
}

impl CassandraStore {
    /// Returns the write of a change and its history entry: tables with the same partition key, hence one mutation.
    fn write_of<'s>(&'s self, update: &'s DeadLetterUpdate) -> Write<'s, BoxedValues<'s>> {
        let (id, statements) = (&update.dead_letter, &self.statements);
        let (time, bytes) = (time_of(update), update_bytes(update));
        let (day, bucket, name) = (id.day(), id.bucket(), id.as_str());
        let state_cells = |generation: u32, state: DeadLetterState, at: i64| -> BoxedValues<'s> {
            Box::new((time, state.as_str(), i64::from(generation), timestamp(at), day, bucket, name))
        };
        let entry = EntryValues::of(id, &update.entry, update.entry_timestamp().micros());
        let entry: BoxedValues<'s> = Box::new(entry);
        let change = match &update.change {
            DeadLetterChange::State { generation, state, at } => {
                Write::new(&statements.set_state, state_cells(*generation, *state, *at), bytes)
            }
            DeadLetterChange::Reopen { generation, state, at, dead_letter } => {
                let bytes = bytes + rows::bytes(dead_letter);
                let values = DeadLetterValues::of(dead_letter, time);
                Write::new(&statements.record_dead_letter, values, bytes)
                    .boxed()
                    .with(&statements.set_state, state_cells(*generation, *state, *at))
            }
            DeadLetterChange::Schedule { attempts, next_attempt_at } => {
                let cells = (time, i64::from(*attempts), timestamp(*next_attempt_at), day, bucket, name);
                Write::new(&statements.set_schedule, cells, bytes).boxed()
            }
            DeadLetterChange::Nothing => return Write::new(&statements.record_entry, entry, bytes),
        };
        change.with(&statements.record_entry, entry)
    }

    /// Registers the partition of a dead letter that is about to be written.
    async fn register_partition(&self, id: &DeadLetterId) -> Result<(), StatementError> {
        let (partition, now) = ((id.day(), id.bucket()), Clock::System.now_us() / 1_000 * 1_000);
        if !self.registered.contains(partition, now) {
            let values = (partition.0, partition.1, timestamp(now), now);
            self.session.execute_unpaged(&self.statements.register_partition, values).await?;
            self.registered.insert(partition, now);
        }
        Ok(())
    }

    /// Writes the index entry of a dead letter that is about to be written, at the write timestamp `time`.
    async fn record_by_order(&self, dead_letter: &DeadLetter, time: i64) -> Result<(), StatementError> {
        if let Some(values) = index_entry(dead_letter, time) {
            self.session.execute_unpaged(&self.statements.record_by_order, values).await?;
        }
        Ok(())
    }

    /// Returns the registered partitions with the time of their registration, newest day first.
    async fn registrations(&self) -> Result<Vec<(i32, i16, i64)>, StoreError> {
        const WHAT: &str = "read the partitions that have dead letters";
        let rows = self.rows::<(i32, i16, CqlTimestamp), _>(WHAT, &self.statements.partitions, ());
        let mut found: Vec<_> =
            rows.map_ok(|(day, bucket, at)| (day, bucket, micros(at))).try_collect().await?;
        found.sort_unstable_by_key(|&(day, bucket, _)| (Reverse(day), bucket));
        Ok(found)
    }

    /// Forgets the partitions without a dead letter that were registered before this time, in microseconds
    /// since the epoch. The registration is deleted at its own timestamp, so that a later one stays.
    async fn forget_empty(&self, registered_before: i64) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        for (day, bucket, at) in self.registrations().await? {
            if at >= registered_before {
                continue;
            }
            let forget = async {
                let (session, statements) = (&self.session, &self.statements);
                let found = session.execute_unpaged(&statements.first_of_partition, (day, bucket)).await?;
                if found.into_rows_result()?.rows_num() == 0 {
                    session.execute_unpaged(&statements.forget_partition, (at, day, bucket)).await?;
                    forgotten += 1;
                }
                Ok::<_, StatementError>(())
            };
            match forget.await {
                // It has tombstones, and may have dead letters, too: scans name it.
                Err(error) if error.is_read_failure() => {}
                other => {
                    other.map_err(|error| error.at("forget a partition without dead letters", &self.name))?
                }
            }
        }
        Ok(forgotten)
    }

    /// Returns the partitions that may have dead letters of this scan, newest day first.
    async fn partitions(&self, scan: &Scan) -> Result<Vec<(i32, i16)>, StoreError> {
        let (first, last) = (scan.from.map_or(i32::MIN, day_of), scan.until.map_or(i32::MAX, day_of));
        let all = self.registrations().await?.into_iter();
        Ok(all
            .filter(|(day, ..)| (first..=last).contains(day))
            .map(|(day, bucket, _)| (day, bucket))
            .collect())
    }
}

/// Returns the error of a partition that the replicas could not read, such as one with too many tombstones; other
/// errors as they are.
fn unreadable(error: StoreError, (day, bucket): (i32, i16)) -> StoreError {
    match error {
        StoreError::Unavailable { on, source, .. }
            if source.downcast_ref().is_some_and(StatementError::is_read_failure) =>
        {
            StoreError::Unreadable {
                part: format!("the dead letters of day {day}, bucket {bucket}"),
                on,
                source,
            }
        }
        other => other,
    }
}

/// Returns the day that the ids of dead letters with this event time begin with.
fn day_of(t: EventTime) -> i32 {
    DeadLetterId::of(EventKind::Order, t, b"").day()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::testing::in_keyspace;
    use ecom_domain::dead_letter::{DeadLetterState, HistoryAction, StoredBody};
    use ecom_domain::event_time::WriteTimestamp;
    use ecom_domain::reason::Reason;

    #[test]
    fn a_scans_days_are_those_of_the_ids() {
        let noon = EventTime::stored(1_705_838_400_000_000);
        assert_eq!(day_of(noon), 20_240_121);
        assert_eq!(day_of(noon), DeadLetterId::of(EventKind::Payment, noon, b"{}").day());
    }

    const T: i64 = 1_705_831_290_000_000;
    const DAY: i64 = 86_400_000_000;

    fn dead_letter(t: i64, body: &[u8]) -> DeadLetter {
        let (t, body) = (EventTime::stored(t), Bytes::copy_from_slice(body));
        DeadLetter {
            id: DeadLetterId::of(EventKind::Payment, t, &body),
            kind: EventKind::Payment,
            t,
            attributes: [("dlq_attempt", "1"), ("event_id", "x")].into_iter().collect(),
            reason: Reason::OrderNotFound,
            detail: "order 7: none yet".into(),
            order_id: Some(OrderId(7)),
            payment_id: None,
            first_failed_at: T + 1_000,
            corrects: None,
            body: StoredBody::keep(&body),
        }
    }

    fn entry(at: i64, action: HistoryAction) -> HistoryEntry {
        HistoryEntry {
            actor: "dlq_handler".into(),
            host: "here".into(),
            note: (action == HistoryAction::Discarded).then(|| "a test order".into()),
            ..HistoryEntry::new(at, format!("{at}-{}", action.as_str()), action)
        }
    }

    fn state(dead_letter: &DeadLetter, generation: u32, state: DeadLetterState, at: i64) -> DeadLetterUpdate {
        DeadLetterUpdate::new(
            dead_letter,
            0,
            DeadLetterChange::State { generation, state, at },
            entry(at, HistoryAction::Discarded),
        )
    }

    #[tokio::test]
    async fn a_dead_letter_is_read_as_it_was_recorded_and_a_late_copy_keeps_its_state() {
        in_keyspace("dead_letter", async |scratch| {
            let store = &scratch.store;
            let dead_letter = dead_letter(T, b"\x00\xff{");
            let received = entry(T, HistoryAction::Received);
            store.record(&dead_letter, &received).await.expect("recorded");
            store
                .apply(&state(&dead_letter, 0, DeadLetterState::Discarded, T + 5_000))
                .await
                .expect("updated");
            store.record(&dead_letter, &received).await.expect("recorded again");
            let record = store.dead_letter(&dead_letter.id).await.expect("read").expect("there");
            assert_eq!(record.dead_letter, dead_letter);
            assert_eq!(record.state(), DeadLetterState::Discarded);
            assert_eq!(record.progress.state_at, Some(T + 5_000));
            let history = store.history(&dead_letter.id).await.expect("read");
            assert_eq!(history, [received, entry(T + 5_000, HistoryAction::Discarded)]);
        })
        .await;
    }

    #[tokio::test]
    async fn of_two_updates_the_one_with_the_larger_write_timestamp_wins() {
        in_keyspace("updates", async |scratch| {
            let store = &scratch.store;
            let dead_letter = dead_letter(T, b"{}");
            store.record(&dead_letter, &entry(T, HistoryAction::Received)).await.expect("recorded");
            for (generation, to) in [
                (0, DeadLetterState::Recovered),
                (0, DeadLetterState::Parked),
                (1, DeadLetterState::Parked),
                (0, DeadLetterState::Discarded),
            ] {
                store.apply(&state(&dead_letter, generation, to, T + 9_000)).await.expect("updated");
            }
            for attempts in [3, 2] {
                let change =
                    DeadLetterChange::Schedule { attempts, next_attempt_at: T + i64::from(attempts) * 1_000 };
                let update = DeadLetterUpdate {
                    change,
                    ..state(&dead_letter, 0, DeadLetterState::Parked, T + 10_000)
                };
                store.apply(&update).await.expect("scheduled");
            }
            let note = DeadLetterUpdate {
                change: DeadLetterChange::Nothing,
                ..state(&dead_letter, 0, DeadLetterState::Parked, T + 11_000)
            };
            store.apply(&note).await.expect("noted");
            let progress = store.dead_letter(&dead_letter.id).await.expect("read").expect("there").progress;
            assert_eq!((progress.state, progress.generation), (Some(DeadLetterState::Parked), 1));
            assert_eq!((progress.attempts, progress.next_attempt_at), (3, Some(T + 3_000)));
        })
        .await;
    }

    #[tokio::test]
    async fn an_update_without_its_dead_letter_does_not_create_one() {
        in_keyspace("noletter", async |scratch| {
            let store = &scratch.store;
            let (there, absent) = (dead_letter(T, b"there"), dead_letter(T, b"absent"));
            store.record(&there, &entry(T, HistoryAction::Received)).await.expect("recorded");
            store.apply(&state(&absent, 0, DeadLetterState::Discarded, T)).await.expect("updated");
            assert_eq!(store.dead_letter(&absent.id).await.expect("read"), None);
            let all: Vec<DeadLetterRecord> = store.dead_letters(Scan::ALL).try_collect().await.expect("read");
            assert_eq!(all.into_iter().map(|record| record.dead_letter).collect::<Vec<_>>(), [there]);
        })
        .await;
    }

    #[tokio::test]
    async fn a_scan_reads_its_days_newest_first_and_bodies_only_on_demand() {
        in_keyspace("dead_letters", async |scratch| {
            let store = &scratch.store;
            let kept: Vec<DeadLetter> =
                (0..120).map(|n| dead_letter(T + (n % 3) * DAY, format!("body {n}").as_bytes())).collect();
            for dead_letter in &kept {
                store
                    .record(dead_letter, &entry(dead_letter.t.micros(), HistoryAction::Received))
                    .await
                    .expect("recorded");
            }
            let all: Vec<DeadLetterRecord> = store.dead_letters(Scan::ALL).try_collect().await.expect("read");
            assert!(all.is_sorted_by_key(|record| std::cmp::Reverse(record.dead_letter.id.day())));
            let mut read: Vec<DeadLetter> = all.into_iter().map(|record| record.dead_letter).collect();
            let mut wanted = kept.clone();
            read.sort_by(|a, b| a.id.cmp(&b.id));
            wanted.sort_by(|a, b| a.id.cmp(&b.id));
            assert_eq!(read, wanted);
            let middle = Scan {
                from: Some(EventTime::stored(T + 1)),
                until: Some(EventTime::stored(T + 2 * DAY)),
                bodies: false,
            };
            let brief: Vec<DeadLetterRecord> = store.dead_letters(middle).try_collect().await.expect("read");
            assert_eq!(brief.len(), 40);
            for record in brief {
                assert!(record.dead_letter.body.bytes.is_empty() && record.dead_letter.attributes.is_empty());
                assert!(record.dead_letter.body.length > 0);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn removing_a_dead_letter_deletes_its_history_and_no_other_dead_letter() {
        in_keyspace("remove", async |scratch| {
            let store = &scratch.store;
            let (gone, neighbour) = (dead_letter(T, b"gone"), dead_letter(T, b"stays"));
            for dead_letter in [&gone, &neighbour] {
                store.record(dead_letter, &entry(T, HistoryAction::Received)).await.expect("recorded");
                store.apply(&state(dead_letter, 1, DeadLetterState::Recovered, T)).await.expect("updated");
            }
            let record = store.dead_letter(&gone.id).await.expect("read").expect("there");
            assert_eq!(record.removal_timestamp(), WriteTimestamp::state(gone.t, 1, 3));
            store.remove(&record).await.expect("removed");
            assert_eq!(store.dead_letter(&gone.id).await.expect("read"), None);
            assert!(store.history(&gone.id).await.expect("read").is_empty());
            assert!(store.dead_letter(&neighbour.id).await.expect("read").is_some());
            assert_eq!(store.history(&neighbour.id).await.expect("read").len(), 2);
        })
        .await;
    }

    #[tokio::test]
    async fn a_partition_with_too_many_tombstones_is_named_and_the_scan_goes_on() {
        /// Above the server's `tombstone_failure_threshold`.
        const TOMBSTONES: usize = 101_000;
        in_keyspace("unreadable", async |scratch| {
            let store = &scratch.store;
            let (lost, found) = (dead_letter(T + DAY, b"lost"), dead_letter(T, b"found"));
            for dead_letter in [&lost, &found] {
                store.record(dead_letter, &entry(T, HistoryAction::Received)).await.expect("recorded");
            }
            let (day, bucket) = (lost.id.day(), lost.id.bucket());
            for from in (0..TOMBSTONES).step_by(1_000) {
                let delete = |n: usize| {
                    format!(
                        "DELETE FROM ecom_store.dead_letters WHERE day = {day} AND bucket = {bucket} \
                         AND id = '{n:08}';\n"
                    )
                };
                let deletes: String = (from..from + 1_000).map(delete).collect();
                scratch.cql(&format!("BEGIN UNLOGGED BATCH {deletes} APPLY BATCH")).await;
            }
            for scan in [Scan::ALL, Scan::BRIEF] {
                let read: Vec<_> = store.dead_letters(scan).collect().await;
                let [Err(error), Ok(record)] = &read[..] else { panic!("{read:?}") };
                assert!(matches!(error, StoreError::Unreadable { .. }), "{error:?}");
                assert!(error.to_string().contains(&format!("day {day}, bucket {bucket}")), "{error}");
                assert_eq!(record.dead_letter.id, found.id);
            }
            let later = Clock::System.now_us() + 1_000;
            assert_eq!(store.forget_empty(later).await.expect("passed over"), 0);
            assert_eq!(store.partitions(&Scan::ALL).await.expect("read").len(), 2);
        })
        .await;
    }

    #[tokio::test]
    async fn a_partition_is_forgotten_once_it_is_empty_and_its_registration_old_and_found_again_later() {
        in_keyspace("forget", async |scratch| {
            let store = &scratch.store;
            let (gone, stays) = (dead_letter(T, b"gone"), dead_letter(T + DAY, b"stays"));
            for dead_letter in [&gone, &stays] {
                store.record(dead_letter, &entry(T, HistoryAction::Received)).await.expect("recorded");
            }
            store.apply(&state(&gone, 1, DeadLetterState::Recovered, T)).await.expect("updated");
            let record = store.dead_letter(&gone.id).await.expect("read").expect("there");
            store.remove(&record).await.expect("removed");

            assert_eq!(store.forget_removed().await.expect("too young"), 0);
            assert_eq!(store.partitions(&Scan::ALL).await.expect("read").len(), 2);
            let later = Clock::System.now_us() + 1_000;
            assert_eq!(store.forget_empty(later).await.expect("forgotten"), 1);
            let partition = |dead_letter: &DeadLetter| (dead_letter.id.day(), dead_letter.id.bucket());
            assert_eq!(store.partitions(&Scan::ALL).await.expect("read"), [partition(&stays)]);

            let other = crate::CassandraStore::connect(&scratch.settings).await.expect("a later process");
            other.record(&gone, &entry(T, HistoryAction::Received)).await.expect("recorded");
            let found = store.partitions(&Scan::ALL).await.expect("read");
            assert_eq!(found, [partition(&stays), partition(&gone)]);
        })
        .await;
    }

    #[tokio::test]
    async fn an_index_entry_without_its_dead_letter_is_skipped_until_the_dead_letter_is_recorded() {
        in_keyspace("index", async |scratch| {
            let store = &scratch.store;
            let (recorded, lost) = (dead_letter(T, b"recorded"), dead_letter(T + 1, b"lost"));
            store.record(&recorded, &entry(T, HistoryAction::Received)).await.expect("recorded");
            let id = &lost.id;
            let line = format!(
                "INSERT INTO ecom_store.dead_letters_by_order (order_id, t, id) VALUES (7, {}, '{id}') \
                 USING TIMESTAMP {}",
                T + 1,
                T + 1
            );
            scratch.cql(&line).await;
            let read = async || -> Vec<DeadLetterId> {
                let dead_letters =
                    store.dead_letters_of_order(OrderId(7)).map_ok(|record| record.dead_letter.id);
                dead_letters.try_collect().await.expect("read")
            };
            assert_eq!(read().await, std::slice::from_ref(&recorded.id));
            store
                .record(&lost, &entry(T, HistoryAction::Received))
                .await
                .expect("recorded when it came again");
            assert_eq!(read().await, [lost.id.clone(), recorded.id.clone()]);
        })
        .await;
    }

    #[tokio::test]
    async fn a_removed_dead_letter_leaves_no_index_entry() {
        in_keyspace("indexgone", async |scratch| {
            let store = &scratch.store;
            let dead_letter = dead_letter(T, b"{}");
            store.record(&dead_letter, &entry(T, HistoryAction::Received)).await.expect("recorded");
            store.apply(&state(&dead_letter, 3, DeadLetterState::Recovered, T)).await.expect("updated");
            assert_eq!(scratch.count("dead_letters_by_order").await, 1);
            let record = store.dead_letter(&dead_letter.id).await.expect("read").expect("there");
            store.remove(&record).await.expect("removed");
            assert_eq!(scratch.count("dead_letters_by_order").await, 0);
        })
        .await;
    }

    #[tokio::test]
    async fn bodies_of_a_mebibyte_are_kept_and_scanned() {
        in_keyspace("large", async |scratch| {
            let store = &scratch.store;
            let kept: Vec<DeadLetter> = (0..20_u8).map(|n| dead_letter(T, &vec![n; 1024 * 1024])).collect();
            for dead_letter in &kept {
                store.record(dead_letter, &entry(T, HistoryAction::Received)).await.expect("recorded");
            }
            let lengths: Vec<usize> = store
                .dead_letters(Scan::ALL)
                .map_ok(|record| record.dead_letter.body.bytes.len())
                .try_collect()
                .await
                .expect("read");
            assert_eq!(lengths, [1024 * 1024; 20]);
        })
        .await;
    }
}
