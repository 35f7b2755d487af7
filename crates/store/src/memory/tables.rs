//! The tables of a store in memory.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use ecom_domain::bulk_operation::{BulkOperation, OperationId, PlanBatch};
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterChange, DeadLetterId, DeadLetterProgress, DeadLetterRecord, DeadLetterUpdate,
    HistoryEntry,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{Fact, OrderCells, PaymentCells, SupersededPayment};
use ecom_domain::heartbeat::Heartbeat;
use ecom_domain::mutant::{Mutant, is_active};
use ecom_domain::order::OrderId;

/// The contents of a store in memory, which a test may change at will.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Tables {
    /// The rows, each with the write timestamps of its column groups, also of those written as null.
    pub facts: BTreeMap<OrderId, Fact>,
    /// The superseded payments, by order, event time and payment id.
    pub superseded: BTreeMap<(OrderId, EventTime, Option<i64>), PaymentCells>,
    /// The immutable parts of the dead letters.
    pub dead_letters: BTreeMap<DeadLetterId, DeadLetter>,
    /// The states and schedules, perhaps of dead letters that are not recorded yet.
    pub progress: BTreeMap<DeadLetterId, DeadLetterProgress>,
    /// The histories, by entry id.
    pub histories: BTreeMap<DeadLetterId, BTreeMap<String, HistoryEntry>>,
    /// The bulk operations.
    pub operations: BTreeMap<OperationId, BulkOperation>,
    /// The batches of their plans, by number.
    pub batches: BTreeMap<(OperationId, u32), PlanBatch>,
    /// The heartbeats, by role and host.
    pub heartbeats: BTreeMap<(String, String), Heartbeat>,
}

impl Tables {
    /// Writes all order columns of a row at `t`.
    pub fn record_order(&mut self, order_id: OrderId, cells: OrderCells, t: EventTime) {
        let row = self.row(order_id);
        merge(&mut row.order, &mut row.order_written_at, cells, t, |current, new| {
            merge_cell(&mut current.customer_id, new.customer_id);
            merge_cell(&mut current.item, new.item);
            merge_cell(&mut current.quantity, new.quantity);
            merge_cell(&mut current.price, new.price);
            merge_cell(&mut current.shipping_address, new.shipping_address);
            merge_cell(&mut current.order_status, new.order_status);
            merge_cell(&mut current.creation_date, new.creation_date);
        });
    }

    /// Writes all payment columns of a row at `t`. Of the payment of the row and this one, the older one is
    /// superseded, unless both have the same values.
    pub fn record_payment(&mut self, order_id: OrderId, cells: PaymentCells, t: EventTime) {
        let row = self.row(order_id);
        let older = match row.payment_written_at {
            Some(at) if at < t => Some((row.payment.clone(), at)),
            Some(at) if at > t => Some((cells.clone(), t)),
            _ => None,
        };
        let both_are_payments = row.payment.payment_id.is_some() && cells.payment_id.is_some();
        if let Some((payment, t)) = older.filter(|_| both_are_payments && row.payment != cells) {
            self.record_superseded(SupersededPayment { order_id, t, payment });
        }
        self.write_payment(order_id, cells, t);
    }

    /// Writes all payment columns of a row at `t`, and keeps no payment that was there, or is there already.
    pub fn write_payment(&mut self, order_id: OrderId, cells: PaymentCells, t: EventTime) {
        let row = self.row(order_id);
        merge(&mut row.payment, &mut row.payment_written_at, cells, t, |current, new| {
            merge_cell(&mut current.payment_id, new.payment_id);
            merge_cell(&mut current.payment_method, new.payment_method);
            merge_cell(&mut current.card_last_four, new.card_last_four);
            merge_cell(&mut current.payment_status, new.payment_status);
            merge_cell(&mut current.payment_datetime, new.payment_datetime);
        });
    }

    /// Records a superseded payment.
    pub fn record_superseded(&mut self, superseded: SupersededPayment) {
        let SupersededPayment { order_id, t, payment } = superseded;
        self.superseded.insert((order_id, t, payment.payment_id), payment);
    }

    /// Returns the superseded payments, by order, newest first.
    pub fn superseded(&self) -> Vec<SupersededPayment> {
        let payment = |(&(order_id, t, _), payment): (&(OrderId, EventTime, _), &PaymentCells)| {
            SupersededPayment { order_id, t, payment: payment.clone() }
        };
        let mut all: Vec<SupersededPayment> = self.superseded.iter().map(payment).collect();
        all.sort_by_key(|superseded| (superseded.order_id, Reverse(superseded.t)));
        all
    }

    fn row(&mut self, order_id: OrderId) -> &mut Fact {
        self.facts.entry(order_id).or_insert_with(|| Fact {
            order_id,
            order: OrderCells::default(),
            order_written_at: None,
            payment: PaymentCells::default(),
            payment_written_at: None,
        })
    }

    /// Returns a row as the port reads it: without the write timestamp of a key cell that is null.
    pub fn fact(&self, order_id: OrderId) -> Option<Fact> {
        let mut row = self.facts.get(&order_id)?.clone();
        row.order_written_at = row.order_written_at.filter(|_| row.order.customer_id.is_some());
        row.payment_written_at = row.payment_written_at.filter(|_| row.payment.payment_id.is_some());
        Some(row)
    }

    /// Returns every row as the port reads it, by order.
    pub fn facts(&self) -> impl Iterator<Item = Fact> {
        self.facts.keys().filter_map(|order_id| self.fact(*order_id))
    }

    /// Returns a dead letter with its progress.
    pub fn record(&self, id: &DeadLetterId) -> Option<DeadLetterRecord> {
        let dead_letter = self.dead_letters.get(id)?.clone();
        Some(DeadLetterRecord { dead_letter, progress: self.progress.get(id).cloned().unwrap_or_default() })
    }

    /// Returns every dead letter with its progress, by id, which begins with the day.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = DeadLetterRecord> {
        self.dead_letters.keys().filter_map(|id| self.record(id))
    }

    /// Returns the history of a dead letter, oldest entry first.
    pub fn history(&self, id: &DeadLetterId) -> Vec<HistoryEntry> {
        let entries = self.histories.get(id).into_iter().flat_map(BTreeMap::values);
        let mut entries: Vec<HistoryEntry> = entries.cloned().collect();
        entries.sort_by_key(|entry| entry.at);
        entries
    }

    /// Writes an entry of a history, once.
    pub(super) fn add_entry(&mut self, id: DeadLetterId, entry: HistoryEntry) {
        self.histories.entry(id).or_default().entry(entry.entry_id.clone()).or_insert(entry);
    }

    /// Merges a change. Of two states of one dead letter, generation and rank order as their write
    /// timestamps do; of two schedules, the attempts.
    pub(super) fn apply(&mut self, update: DeadLetterUpdate) {
        let progress = self.progress.entry(update.dead_letter.clone()).or_default();
        if let DeadLetterChange::Reopen { dead_letter, .. } = &update.change {
            self.dead_letters.entry(dead_letter.id.clone()).or_insert_with(|| dead_letter.as_ref().clone());
        }
        match update.change {
            DeadLetterChange::State { generation, state, at }
            | DeadLetterChange::Reopen { generation, state, at, .. } => {
                let new = (generation, Some(state), Some(at));
                let current = (progress.generation, progress.state, progress.state_at);
                let wins = if is_active(Mutant::StateByClock) { new.2 > current.2 } else { new > current };
                if wins {
                    (progress.generation, progress.state, progress.state_at) = new;
                }
            }
            DeadLetterChange::Schedule { attempts, next_attempt_at } => {
                let new = (attempts, Some(next_attempt_at));
                if new > (progress.attempts, progress.next_attempt_at) {
                    (progress.attempts, progress.next_attempt_at) = new;
                }
            }
            DeadLetterChange::Nothing => {}
        }
        self.add_entry(update.dead_letter, update.entry);
    }

    /// Removes a dead letter, unless its state was written after this record was read.
    pub(super) fn remove(&mut self, record: &DeadLetterRecord) {
        let id = &record.dead_letter.id;
        let time = record.removal_timestamp();
        let is_reopened = self.record(id).is_some_and(|current| current.removal_timestamp() > time);
        if !is_reopened || is_active(Mutant::RemovesReopened) {
            self.dead_letters.remove(id);
            self.progress.remove(id);
            self.histories.remove(id);
        }
    }
}

/// Merges a column group that one statement writes: the larger write timestamp wins; at equal ones each cell
/// is merged by its value.
fn merge<C>(
    current: &mut C,
    written_at: &mut Option<EventTime>,
    new: C,
    t: EventTime,
    merge_cells: fn(&mut C, C),
) {
    if *written_at == Some(t) {
        merge_cells(current, new);
    } else if *written_at < Some(t) {
        (*current, *written_at) = (new, Some(t));
    }
}

/// Merges a cell at equal write timestamps: null wins, else the larger value. Values of the pipeline order as
/// their bytes do: numbers are not negative.
fn merge_cell<V: PartialOrd>(current: &mut Option<V>, new: Option<V>) {
    if current.is_some() && (new.is_none() || new > *current) {
        *current = new;
    }
}
