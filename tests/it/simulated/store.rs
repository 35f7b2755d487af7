//! A store in memory that merges cells as Cassandra does, and whose writes time out: applied, lost, or
//! applied later.

mod operations;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use ecom_domain::bulk_operation::{BulkOperation, OperationId, PlanBatch};
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterChange, DeadLetterId, DeadLetterProgress, DeadLetterRecord, DeadLetterState,
    DeadLetterUpdate, HistoryAction, HistoryEntry,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{Fact, OrderCells, PaymentCells, PaymentSlot};
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;
use ecom_store::{DeadLetterStore, FactStore, Scan, StoreError};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[derive(Clone, PartialEq, PartialOrd, Debug)]
enum Value {
    Number(i64),
    Double(f64),
    Text(String),
    State(u32, DeadLetterState, i64),
    Schedule(u32, i64),
}

type Cell = (i64, Option<Value>);
type Row = BTreeMap<&'static str, Cell>;
type Write = Box<dyn FnOnce(&mut Cells) + Send>;

#[derive(Default)]
struct Cells {
    facts: BTreeMap<OrderId, Row>,
    dead_letters: BTreeMap<DeadLetterId, DeadLetter>,
    progress: BTreeMap<DeadLetterId, Row>,
    histories: BTreeMap<DeadLetterId, BTreeMap<String, HistoryEntry>>,
    operations: BTreeMap<OperationId, BulkOperation>,
    batches: BTreeMap<(OperationId, u32), PlanBatch>,
}

struct StoreState {
    rng: ChaCha8Rng,
    faults: bool,
    cells: Cells,
    late: Vec<Write>,
    late_writes: u64,
}

pub struct SimulatedStore(Mutex<StoreState>);

/// Merges a cell: the larger write timestamp wins; at equal ones a tombstone, then the larger value.
fn merge(row: &mut Row, column: &'static str, cell: Cell) {
    let wins = match row.get(column) {
        None => true,
        Some((time, _)) if *time != cell.0 => cell.0 > *time,
        Some((_, None)) => false,
        Some((_, Some(current))) => cell.1.as_ref().is_none_or(|new| new > current),
    };
    if wins {
        row.insert(column, cell);
    }
}

impl SimulatedStore {
    pub fn new(seed: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self(Mutex::new(StoreState {
            rng,
            faults: true,
            cells: Cells::default(),
            late: Vec::new(),
            late_writes: 0,
        }))
    }

    /// Ends all faults, and applies the writes that were to be applied later.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults = false;
        for write in std::mem::take(&mut state.late) {
            write(&mut state.cells);
        }
    }

    pub fn late_writes(&self) -> u64 {
        self.state().late_writes
    }

    pub fn recovered(&self) -> u64 {
        let state = self.state();
        state
            .cells
            .dead_letters
            .keys()
            .filter(|id| state.cells.record(id).unwrap().state() == DeadLetterState::Recovered)
            .count() as u64
    }

    /// Asserts that every dead letter was received, and that exactly the recovered ones have an entry that
    /// says so. A reopened one may have such an entry from an earlier generation.
    pub fn check_histories(&self, seed: u64) {
        let state = self.state();
        for id in state.cells.dead_letters.keys() {
            let record = state.cells.record(id).unwrap();
            let did = |action| state.cells.histories[id].values().any(|entry| entry.action == action);
            assert!(did(HistoryAction::Received), "seed {seed}: {id} was never received");
            let recovered = record.state() == DeadLetterState::Recovered;
            let reopened = record.progress.generation > 0;
            let says_so = did(HistoryAction::Recovered);
            assert!(recovered == says_so || says_so && reopened, "seed {seed}: {id} {record:?}");
        }
    }

    /// Deletes a row as by hand, at this write timestamp.
    pub fn delete_row(&self, order_id: OrderId, at: i64) {
        let mut state = self.state();
        let Some(row) = state.cells.facts.get_mut(&order_id) else { return };
        let columns: Vec<&'static str> = row.keys().copied().collect();
        for column in columns {
            merge(row, column, (at, None));
        }
    }

    /// Returns every row, without faults.
    pub fn rows(&self) -> BTreeMap<OrderId, Fact> {
        let state = self.state();
        state.cells.facts.iter().map(|(order_id, row)| (*order_id, fact(*order_id, row))).collect()
    }

    /// Returns every dead letter, without faults.
    pub fn records(&self) -> Vec<DeadLetterRecord> {
        let state = self.state();
        state.cells.dead_letters.keys().filter_map(|id| state.cells.record(id)).collect()
    }

    /// Returns the history of a dead letter, without faults.
    pub fn entries(&self, id: &DeadLetterId) -> Vec<HistoryEntry> {
        self.state()
            .cells
            .histories
            .get(id)
            .into_iter()
            .flat_map(|entries| entries.values().cloned())
            .collect()
    }

    /// Returns every bulk operation, without faults.
    pub fn all_operations(&self) -> Vec<BulkOperation> {
        self.state().cells.operations.values().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, StoreState> {
        self.0.lock().unwrap()
    }

    async fn pause(&self) {
        let wait = self.state().rng.random_range(0..4);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let mut state = self.state();
        if !state.late.is_empty() && state.rng.random_bool(0.05) {
            let late = state.late.len();
            let index = state.rng.random_range(0..late);
            let write = state.late.swap_remove(index);
            write(&mut state.cells);
        }
    }

    async fn write(&self, what: &'static str, write: Write) -> Result<(), StoreError> {
        self.pause().await;
        {
            let mut state = self.state();
            if !state.faults || state.rng.random_bool(0.85) {
                write(&mut state.cells);
                return Ok(());
            }
            match state.rng.random_range(0..3) {
                0 => write(&mut state.cells),
                1 => {
                    state.late_writes += 1;
                    state.late.push(write);
                }
                _ => {}
            }
        }
        Err(StoreError::Unavailable { what, on: "simulated".into(), source: "timeout".into() })
    }

    async fn read<T>(&self, what: &'static str, read: impl FnOnce(&Cells) -> T) -> Result<T, StoreError> {
        self.pause().await;
        let mut state = self.state();
        if state.faults && state.rng.random_bool(0.05) {
            return Err(StoreError::Unavailable { what, on: "simulated".into(), source: "timeout".into() });
        }
        Ok(read(&state.cells))
    }
}

fn number(row: &Row, column: &str) -> Option<i64> {
    match row.get(column) {
        Some((_, Some(Value::Number(number)))) => Some(*number),
        _ => None,
    }
}

fn text(row: &Row, column: &str) -> Option<String> {
    match row.get(column) {
        Some((_, Some(Value::Text(text)))) => Some(text.clone()),
        _ => None,
    }
}

fn time(row: &Row, column: &str) -> Option<EventTime> {
    row.get(column).filter(|(_, value)| value.is_some()).map(|(time, _)| EventTime::stored(*time))
}

fn fact(order_id: OrderId, row: &Row) -> Fact {
    let price = match row.get("price") {
        Some((_, Some(Value::Double(price)))) => Some(*price),
        _ => None,
    };
    Fact {
        order_id,
        order: OrderCells {
            customer_id: number(row, "customer_id"),
            item: text(row, "item"),
            quantity: number(row, "quantity"),
            price,
            shipping_address: text(row, "shipping_address"),
            order_status: text(row, "order_status"),
            creation_date: text(row, "creation_date"),
        },
        order_written_at: time(row, "customer_id"),
        payment: PaymentCells {
            payment_id: number(row, "payment_id"),
            payment_method: text(row, "payment_method"),
            card_last_four: text(row, "card_last_four"),
            payment_status: text(row, "payment_status"),
            payment_datetime: text(row, "payment_datetime"),
        },
        payment_written_at: time(row, "payment_id"),
    }
}

impl Cells {
    fn record(&self, id: &DeadLetterId) -> Option<DeadLetterRecord> {
        let dead_letter = self.dead_letters.get(id)?.clone();
        let mut progress = DeadLetterProgress::default();
        if let Some(row) = self.progress.get(id) {
            if let Some((_, Some(Value::State(generation, state, at)))) = row.get("state") {
                (progress.generation, progress.state, progress.state_at) =
                    (*generation, Some(*state), Some(*at));
            }
            if let Some((_, Some(Value::Schedule(attempts, next)))) = row.get("schedule") {
                (progress.attempts, progress.next_attempt_at) = (*attempts, Some(*next));
            }
        }
        Some(DeadLetterRecord { dead_letter, progress })
    }
}

#[async_trait]
impl FactStore for SimulatedStore {
    async fn record_order(&self, order: &Order<'_>, t: EventTime) -> Result<(), StoreError> {
        let id = order.order_id;
        let cells = OrderCells::from(order);
        let columns = [
            ("customer_id", cells.customer_id.map(Value::Number)),
            ("item", cells.item.map(Value::Text)),
            ("quantity", cells.quantity.map(Value::Number)),
            ("price", cells.price.map(Value::Double)),
            ("shipping_address", cells.shipping_address.map(Value::Text)),
            ("order_status", cells.order_status.map(Value::Text)),
            ("creation_date", cells.creation_date.map(Value::Text)),
        ];
        let write: Write = Box::new(move |cells| {
            let row = cells.facts.entry(id).or_default();
            for (column, value) in columns {
                merge(row, column, (t.micros(), value));
            }
        });
        self.write("record an order", write).await
    }

    async fn payment_slot(&self, order_id: OrderId) -> Result<PaymentSlot, StoreError> {
        let read =
            self.read("read a payment", |cells| cells.facts.get(&order_id).map(|row| fact(order_id, row)));
        Ok(match read.await? {
            Some(fact) if fact.has_order() => match fact.payment_written_at {
                Some(written_at) => PaymentSlot::Taken { payment: fact.payment, written_at },
                None => PaymentSlot::Empty,
            },
            Some(_) | None => PaymentSlot::NoOrder,
        })
    }

    async fn record_payment(&self, payment: &Payment<'_>, t: EventTime) -> Result<(), StoreError> {
        let id = payment.order_id;
        let cells = PaymentCells::from(payment);
        let columns = [
            ("payment_id", cells.payment_id.map(Value::Number)),
            ("payment_method", cells.payment_method.map(Value::Text)),
            ("card_last_four", cells.card_last_four.map(Value::Text)),
            ("payment_status", cells.payment_status.map(Value::Text)),
            ("payment_datetime", cells.payment_datetime.map(Value::Text)),
        ];
        let write: Write = Box::new(move |cells| {
            let row = cells.facts.entry(id).or_default();
            for (column, value) in columns {
                merge(row, column, (t.micros(), value));
            }
        });
        self.write("record a payment", write).await
    }

    async fn fact(&self, order_id: OrderId) -> Result<Option<Fact>, StoreError> {
        self.read("read a row", |cells| cells.facts.get(&order_id).map(|row| fact(order_id, row))).await
    }

    fn facts(&self) -> BoxStream<'_, Result<Fact, StoreError>> {
        let facts: Vec<_> =
            self.state().cells.facts.iter().map(|(order_id, row)| Ok(fact(*order_id, row))).collect();
        stream::iter(facts).boxed()
    }

    fn describe(&self) -> String {
        "simulated".to_owned()
    }
}

#[async_trait]
impl DeadLetterStore for SimulatedStore {
    async fn record(&self, dead_letter: &DeadLetter, entry: &HistoryEntry) -> Result<(), StoreError> {
        let (dead_letter, entry) = (dead_letter.clone(), entry.clone());
        let write: Write = Box::new(move |cells| {
            let id = dead_letter.id.clone();
            cells.histories.entry(id.clone()).or_default().insert(entry.entry_id.clone(), entry);
            cells.dead_letters.entry(id).or_insert(dead_letter);
        });
        self.write("record a dead letter", write).await
    }

    async fn dead_letter(&self, id: &DeadLetterId) -> Result<Option<DeadLetterRecord>, StoreError> {
        self.read("read a dead letter", |cells| cells.record(id)).await
    }

    async fn history(&self, id: &DeadLetterId) -> Result<Vec<HistoryEntry>, StoreError> {
        let entries_of = |cells: &Cells| {
            cells.histories.get(id).into_iter().flat_map(|entries| entries.values().cloned()).collect()
        };
        self.read("read a history", entries_of).await
    }

    async fn apply(&self, update: &DeadLetterUpdate) -> Result<(), StoreError> {
        let update = update.clone();
        let write: Write = Box::new(move |cells| {
            let row = cells.progress.entry(update.dead_letter.clone()).or_default();
            let at = update.write_timestamp().map_or(0, |time| time.micros());
            match update.change {
                DeadLetterChange::State { generation, state, at: wall } => {
                    merge(row, "state", (at, Some(Value::State(generation, state, wall))));
                }
                DeadLetterChange::Schedule { attempts, next_attempt_at } => {
                    merge(row, "schedule", (at, Some(Value::Schedule(attempts, next_attempt_at))));
                }
                DeadLetterChange::Nothing => {}
            }
            let history = cells.histories.entry(update.dead_letter).or_default();
            history.insert(update.entry.entry_id.clone(), update.entry);
        });
        self.write("update a dead letter", write).await
    }

    fn dead_letters(&self, scan: Scan) -> BoxStream<'_, Result<DeadLetterRecord, StoreError>> {
        let state = self.state();
        let records = state.cells.dead_letters.keys().rev().filter_map(|id| state.cells.record(id));
        let wanted: Vec<_> = records.filter(|record| scan.wants(record.dead_letter.t)).map(Ok).collect();
        stream::iter(wanted).boxed()
    }

    fn dead_letters_of_order(
        &self,
        order_id: OrderId,
    ) -> BoxStream<'_, Result<DeadLetterRecord, StoreError>> {
        let state = self.state();
        let mut records: Vec<_> =
            state.cells.dead_letters.keys().filter_map(|id| state.cells.record(id)).collect();
        records.retain(|record| record.dead_letter.order_id == Some(order_id));
        records.sort_by_key(|record| std::cmp::Reverse(record.dead_letter.t));
        stream::iter(records.into_iter().map(Ok)).boxed()
    }

    async fn remove(&self, record: &DeadLetterRecord) -> Result<(), StoreError> {
        let id = record.dead_letter.id.clone();
        let write: Write = Box::new(move |cells| {
            cells.dead_letters.remove(&id);
            cells.progress.remove(&id);
            cells.histories.remove(&id);
        });
        self.write("remove a dead letter", write).await
    }
}
