//! The ports of a store in memory.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use ecom_domain::attributes::Attributes;
use ecom_domain::bulk_operation::{BulkOperation, OperationId, PlanBatch};
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterId, DeadLetterIdPrefix, DeadLetterRecord, DeadLetterUpdate, HistoryEntry,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{Fact, OrderCells, PaymentCells, PaymentSlot, SupersededPayment};
use ecom_domain::heartbeat::Heartbeat;
use ecom_domain::mutant::{Mutant, is_active};
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;
use futures_util::future::try_join_all;
use futures_util::stream::{self, BoxStream, StreamExt};

use super::{Interceptor, MemoryStore, Tables};
use crate::{DeadLetterStore, FactRange, FactStore, OperationsStore, Scan, StoreError};

/// The time to live of a heartbeat: 30 days, in microseconds.
const HEARTBEAT_TTL: i64 = 30 * 24 * 3_600 * 1_000_000;
/// A time of a server that is later than that of every event, in microseconds.
const SERVER_TIME: i64 = 4_000_000_000_000_000;

#[async_trait]
impl<I: Interceptor> FactStore for MemoryStore<I> {
    async fn record_orders(&self, orders: &[(&Order<'_>, EventTime)]) -> Result<(), StoreError> {
        for (order, t) in orders {
            let (order_id, cells, t) = (order.order_id, OrderCells::from(*order), mutated(*t));
            let write = move |tables: &mut Tables| {
                tables.record_order(order_id, cells, t);
                if is_active(Mutant::NullPaymentColumns) {
                    tables.record_payment(order_id, PaymentCells::default(), t);
                }
            };
            self.write("record an order", write).await?;
        }
        Ok(())
    }

    async fn payment_slots(&self, order_ids: &[OrderId]) -> Result<Vec<PaymentSlot>, StoreError> {
        let slot = |tables: &Tables, order_id| {
            let fact = tables.fact(order_id);
            match fact.filter(|fact| fact.has_order() || is_active(Mutant::RowIsOrder)) {
                None => PaymentSlot::NoOrder,
                Some(Fact { payment, payment_written_at: Some(written_at), .. }) => {
                    PaymentSlot::Taken { payment, written_at }
                }
                Some(_) => PaymentSlot::Empty,
            }
        };
        let read = |tables: &Tables| order_ids.iter().map(|order_id| slot(tables, *order_id)).collect();
        self.read("read a payment", read).await
    }

    async fn record_payments(&self, payments: &[(&Payment<'_>, EventTime)]) -> Result<(), StoreError> {
        let record = match self.interceptor.keeps_unseen_payments() {
            true => Tables::record_payment,
            false => Tables::write_payment,
        };
        for (payment, t) in payments {
            let (order_id, mut cells, t) = (payment.order_id, PaymentCells::from(*payment), mutated(*t));
            let write = move |tables: &mut Tables| {
                if is_active(Mutant::UnsetColumns) && cells.card_last_four.is_none() {
                    let row = tables.facts.get(&order_id);
                    cells.card_last_four = row.and_then(|row| row.payment.card_last_four.clone());
                }
                record(tables, order_id, cells, t);
            };
            self.write("record a payment", write).await?;
        }
        Ok(())
    }

    fn group_size(&self) -> usize {
        10
    }

    async fn fact(&self, order_id: OrderId) -> Result<Option<Fact>, StoreError> {
        self.read("read a row", |tables| tables.fact(order_id)).await
    }

    fn facts(&self) -> BoxStream<'_, Result<Fact, StoreError>> {
        self.scan("scan the fact table", |tables| tables.facts().collect())
    }

    async fn fact_ranges(&self, at_most: u32) -> Result<Vec<FactRange>, StoreError> {
        let ids = |tables: &Tables| tables.facts.keys().map(|order_id| order_id.0).collect::<Vec<i64>>();
        let ids = self.read("read the ends of the fact table", ids).await?;
        let rows = ids.len().div_ceil(usize::try_from(at_most.max(1)).unwrap_or(usize::MAX)).max(1);
        Ok(FactRange::ending_at(ids.chunks(rows).rev().skip(1).rev().filter_map(|part| part.last().copied())))
    }

    fn facts_in(&self, range: FactRange) -> BoxStream<'_, Result<Fact, StoreError>> {
        let is_in = move |fact: &Fact| range.after < fact.order_id.0 && fact.order_id.0 <= range.through;
        self.scan("scan the fact table", move |tables| tables.facts().filter(is_in).collect())
    }

    async fn record_superseded(&self, superseded: &SupersededPayment) -> Result<(), StoreError> {
        let superseded = superseded.clone();
        self.write("record a superseded payment", move |tables| tables.record_superseded(superseded)).await
    }

    async fn superseded_of(&self, order_id: OrderId) -> Result<Vec<SupersededPayment>, StoreError> {
        let read = |tables: &Tables| {
            let mut all = tables.superseded();
            all.retain(|superseded| superseded.order_id == order_id);
            all
        };
        self.read("read the superseded payments of an order", read).await
    }

    fn superseded(&self) -> BoxStream<'_, Result<SupersededPayment, StoreError>> {
        self.scan("scan the superseded payments", Tables::superseded)
    }

    fn describe(&self) -> String {
        "memory:".to_owned()
    }
}

/// Returns T, unless a seeded bug gives each write another time.
fn mutated(t: EventTime) -> EventTime {
    static WRITES: AtomicI64 = AtomicI64::new(0);
    if is_active(Mutant::ServerTime) {
        return EventTime::stored(SERVER_TIME + WRITES.fetch_add(1, Ordering::Relaxed));
    }
    if is_active(Mutant::NewTimePerAttempt) {
        return EventTime::stored(t.micros() + WRITES.fetch_add(1, Ordering::Relaxed) % 3);
    }
    t
}

#[async_trait]
impl<I: Interceptor> DeadLetterStore for MemoryStore<I> {
    async fn record_all(&self, dead_letters: &[(&DeadLetter, &HistoryEntry)]) -> Result<(), StoreError> {
        let record = |(dead_letter, entry): &(&DeadLetter, &HistoryEntry)| {
            let (dead_letter, entry) = ((*dead_letter).clone(), (*entry).clone());
            let write = move |tables: &mut Tables| {
                tables.add_entry(dead_letter.id.clone(), entry);
                tables.dead_letters.entry(dead_letter.id.clone()).or_insert(dead_letter);
            };
            self.write("record a dead letter", write)
        };
        try_join_all(dead_letters.iter().map(record)).await.map(drop)
    }

    async fn dead_letter(&self, id: &DeadLetterId) -> Result<Option<DeadLetterRecord>, StoreError> {
        self.read("read a dead letter", |tables| tables.record(id)).await
    }

    async fn read_brief(&self, ids: &[DeadLetterId]) -> Result<Vec<Option<DeadLetterRecord>>, StoreError> {
        let brief = |tables: &Tables| ids.iter().map(|id| tables.record(id).map(without_body)).collect();
        self.read("read dead letters", brief).await
    }

    async fn ids_with_prefix(
        &self,
        prefix: &DeadLetterIdPrefix,
        limit: usize,
    ) -> Result<Vec<DeadLetterId>, StoreError> {
        let begins = |record: &DeadLetterRecord| record.dead_letter.id.as_str().starts_with(prefix.as_str());
        let found = |tables: &Tables| {
            tables.records().filter(begins).map(|record| record.dead_letter.id).take(limit).collect()
        };
        self.read("read the ids of dead letters", found).await
    }

    async fn history(&self, id: &DeadLetterId) -> Result<Vec<HistoryEntry>, StoreError> {
        self.read("read a history", |tables| tables.history(id)).await
    }

    async fn apply_all(&self, updates: &[DeadLetterUpdate]) -> Result<(), StoreError> {
        let apply = |update| self.write("update a dead letter", move |tables| tables.apply(update));
        try_join_all(updates.iter().cloned().map(apply)).await.map(drop)
    }

    fn dead_letters(&self, scan: Scan) -> BoxStream<'_, Result<DeadLetterRecord, StoreError>> {
        let unreadable = self.interceptor.unreadable_part();
        let error = unreadable.clone().map(|part| {
            Err(StoreError::Unreadable { part, on: "memory:".to_owned(), source: "unreadable".into() })
        });
        let read = move |tables: &Tables| {
            let is_unreadable =
                |id: &DeadLetterId| unreadable.as_ref().is_some_and(|part| id.as_str().starts_with(part));
            let wanted = |record: &DeadLetterRecord| {
                scan.wants(record.dead_letter.t) && !is_unreadable(&record.dead_letter.id)
            };
            let found = tables.records().rev().filter(wanted);
            match scan.bodies {
                true => found.collect(),
                false => found.map(without_body).collect(),
            }
        };
        stream::iter(error).chain(self.scan("scan the dead letters", read)).boxed()
    }

    fn dead_letters_of_order(
        &self,
        order_id: OrderId,
    ) -> BoxStream<'_, Result<DeadLetterRecord, StoreError>> {
        self.scan("scan the dead letters of an order", move |tables| {
            let of_order = |record: &DeadLetterRecord| record.dead_letter.order_id == Some(order_id);
            let mut found: Vec<_> = tables.records().filter(of_order).collect();
            found.sort_by_key(|record| Reverse(record.dead_letter.t));
            found
        })
    }

    async fn remove(&self, record: &DeadLetterRecord) -> Result<(), StoreError> {
        let record = record.clone();
        self.write("remove a dead letter", move |tables| tables.remove(&record)).await
    }
}

#[async_trait]
impl<I: Interceptor> OperationsStore for MemoryStore<I> {
    async fn record_heartbeat(&self, heartbeat: &Heartbeat) -> Result<(), StoreError> {
        let mut new = heartbeat.clone();
        let write = move |tables: &mut Tables| {
            let key = (new.role.clone(), new.host.clone());
            let current = tables.heartbeats.get(&key).and_then(|current| current.newest_event_at);
            new.newest_event_at = new.newest_event_at.max(current);
            let expired = new.seen_at.saturating_sub(HEARTBEAT_TTL);
            tables.heartbeats.insert(key, new);
            tables.heartbeats.retain(|_, heartbeat| heartbeat.seen_at > expired);
        };
        self.write("write a heartbeat", write).await
    }

    async fn heartbeats(&self) -> Result<Vec<Heartbeat>, StoreError> {
        self.read("read the heartbeats", |tables| tables.heartbeats.values().cloned().collect()).await
    }

    async fn put_operation(&self, operation: &BulkOperation) -> Result<(), StoreError> {
        let new = operation.clone();
        let write = move |tables: &mut Tables| {
            let current = tables.operations.get(&new.id);
            if current.is_none_or(|current| current.revision <= new.revision) {
                tables.operations.insert(new.id.clone(), new);
            }
        };
        self.write("write a bulk operation", write).await
    }

    async fn operation(&self, id: &OperationId) -> Result<Option<BulkOperation>, StoreError> {
        self.read("read a bulk operation", |tables| tables.operations.get(id).cloned()).await
    }

    fn operations(&self) -> BoxStream<'_, Result<BulkOperation, StoreError>> {
        self.scan("scan the bulk operations", |tables| tables.operations.values().rev().cloned().collect())
    }

    async fn put_batch(&self, operation: &OperationId, batch: &PlanBatch) -> Result<(), StoreError> {
        let (key, new) = ((operation.clone(), batch.number), batch.clone());
        let write = move |tables: &mut Tables| {
            let is_done = tables.batches.get(&key).is_some_and(|current| current.outcomes.is_some());
            if !is_done || new.outcomes.is_some() {
                tables.batches.insert(key, new);
            }
        };
        self.write("write a batch of a plan", write).await
    }

    async fn batch(&self, operation: &OperationId, number: u32) -> Result<Option<PlanBatch>, StoreError> {
        let key = (operation.clone(), number);
        self.read("read a batch of a plan", |tables| tables.batches.get(&key).cloned()).await
    }
}

/// Returns a dead letter without its body and attributes.
fn without_body(mut record: DeadLetterRecord) -> DeadLetterRecord {
    record.dead_letter.body.bytes.clear();
    record.dead_letter.attributes = Attributes::new();
    record
}
