//! A snapshot of fact table and dead-letter store for the tests of `verify`. It can be read through the
//! ports, filled by the rules of the pipeline, and corrupted field by field.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};

use crate::manifest::Manifest;
use crate::planned::EventContent;
use ecom_domain::attributes::Attributes;
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterId, DeadLetterProgress, DeadLetterRecord, DeadLetterState, DeadLetterUpdate,
    EventKind, HistoryAction, HistoryEntry, StoredBody,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{Fact, OrderCells, PaymentCells, PaymentSlot};
use ecom_domain::order::{Order, OrderId};
use ecom_domain::payment::Payment;
use ecom_domain::reason::Reason;
use ecom_store::{DeadLetterStore, FactStore, Scan, StoreError};

/// A message as a consumer receives it.
#[derive(Clone, Debug)]
pub(super) struct ConsumedMessage {
    pub(super) kind: EventKind,
    pub(super) body: Bytes,
    pub(super) content: EventContent,
    pub(super) t: EventTime,
}

/// Returns the messages of a run, with the event times that its producers would set.
pub(super) fn published(manifest: &Manifest) -> Vec<ConsumedMessage> {
    let stream = |kind| manifest.events(kind).expect("a bounded run");
    let events = stream(EventKind::Order).chain(stream(EventKind::Payment));
    let message = |planned: super::PlannedEvent| {
        let after = i64::try_from(planned.event).expect("a small test") * 3;
        let t = EventTime::stored(manifest.started_at_us + after);
        ConsumedMessage { kind: planned.kind, body: planned.body, content: planned.content, t }
    };
    events.map(message).collect()
}

/// The contents of the store. Its ports are read-only, because `verify` must not write.
#[derive(Clone, Default, Debug)]
pub(super) struct StoreSnapshot {
    pub(super) facts: BTreeMap<OrderId, Fact>,
    pub(super) dead_letters: BTreeMap<DeadLetterId, DeadLetterRecord>,
    /// The dead letters whose history has a correction.
    pub(super) corrected: BTreeSet<DeadLetterId>,
}

impl StoreSnapshot {
    /// Applies one message as the consumers and the handler do.
    pub(super) fn consume(&mut self, message: &ConsumedMessage) {
        match &message.content {
            EventContent::Order(order) => self.order(order, message.t),
            EventContent::Payment(payment) if self.has_order(payment.order_id) => {
                self.payment(payment, message.t)
            }
            EventContent::Payment(payment) => {
                self.dead_letter(message, Reason::OrderNotFound, Some(payment.order_id))
            }
            EventContent::Rejected(reason) => self.dead_letter(message, *reason, None),
            EventContent::Masked(body) => {
                self.dead_letter(
                    &ConsumedMessage { body: body.clone(), ..message.clone() },
                    Reason::PanDetected,
                    None,
                );
            }
            EventContent::Foreign => {}
        }
    }

    /// Applies the waiting dead letters whose order exists.
    pub(super) fn sweep(&mut self, messages: &[ConsumedMessage]) {
        for message in messages {
            let EventContent::Payment(payment) = &message.content else { continue };
            let id = DeadLetterId::of(message.kind, message.t, &message.body);
            if self.has_order(payment.order_id) && self.dead_letters.contains_key(&id) {
                self.payment(payment, message.t);
                self.state(&id, DeadLetterState::Recovered);
            }
        }
    }

    pub(super) fn state(&mut self, id: &DeadLetterId, state: DeadLetterState) {
        self.dead_letters.get_mut(id).expect("a dead letter of this id").progress.state = Some(state);
    }

    pub(super) fn dead_letter(
        &mut self,
        message: &ConsumedMessage,
        reason: Reason,
        order_id: Option<OrderId>,
    ) {
        let id = DeadLetterId::of(message.kind, message.t, &message.body);
        let dead_letter = DeadLetter {
            id: id.clone(),
            kind: message.kind,
            t: message.t,
            body: StoredBody::keep(&message.body),
            attributes: Attributes::new(),
            reason,
            detail: String::new(),
            order_id,
            payment_id: None,
            first_failed_at: 0,
            corrects: None,
        };
        self.dead_letters
            .entry(id)
            .or_insert(DeadLetterRecord { dead_letter, progress: DeadLetterProgress::default() });
    }

    pub(super) fn order(&mut self, order: &Order<'_>, t: EventTime) {
        let row = self.row(order.order_id);
        if row.order_written_at.is_none_or(|at| at < t) {
            (row.order, row.order_written_at) = (OrderCells::from(order), Some(t));
        }
    }

    pub(super) fn payment(&mut self, payment: &Payment<'_>, t: EventTime) {
        let row = self.row(payment.order_id);
        if row.payment_written_at.is_none_or(|at| at < t) {
            (row.payment, row.payment_written_at) = (PaymentCells::from(payment), Some(t));
        }
    }

    fn has_order(&self, order_id: OrderId) -> bool {
        self.facts.get(&order_id).is_some_and(Fact::has_order)
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
}

#[async_trait]
impl FactStore for StoreSnapshot {
    async fn record_order(&self, _: &Order<'_>, _: EventTime) -> Result<(), StoreError> {
        unimplemented!("only read")
    }

    async fn payment_slot(&self, _: OrderId) -> Result<PaymentSlot, StoreError> {
        unimplemented!("only scanned")
    }

    async fn record_payment(&self, _: &Payment<'_>, _: EventTime) -> Result<(), StoreError> {
        unimplemented!("only read")
    }

    async fn fact(&self, _: OrderId) -> Result<Option<Fact>, StoreError> {
        unimplemented!("only scanned")
    }

    fn facts(&self) -> BoxStream<'_, Result<Fact, StoreError>> {
        stream::iter(self.facts.values().cloned().map(Ok)).boxed()
    }

    fn describe(&self) -> String {
        "snapshot".to_owned()
    }
}

#[async_trait]
impl DeadLetterStore for StoreSnapshot {
    async fn record(&self, _: &DeadLetter, _: &HistoryEntry) -> Result<(), StoreError> {
        unimplemented!("only read")
    }

    async fn dead_letter(&self, _: &DeadLetterId) -> Result<Option<DeadLetterRecord>, StoreError> {
        unimplemented!("only scanned")
    }

    async fn history(&self, id: &DeadLetterId) -> Result<Vec<HistoryEntry>, StoreError> {
        let corrected = self
            .corrected
            .contains(id)
            .then(|| HistoryEntry::new(0, "corrected".to_owned(), HistoryAction::Corrected));
        Ok(corrected.into_iter().collect())
    }

    async fn apply(&self, _: &DeadLetterUpdate) -> Result<(), StoreError> {
        unimplemented!("only read")
    }

    fn dead_letters(&self, scan: Scan) -> BoxStream<'_, Result<DeadLetterRecord, StoreError>> {
        assert!(scan.bodies, "dead letters are matched by body");
        stream::iter(self.dead_letters.values().cloned().map(Ok)).boxed()
    }

    fn dead_letters_of_order(
        &self,
        order_id: OrderId,
    ) -> BoxStream<'_, Result<DeadLetterRecord, StoreError>> {
        let wanted = move |record: &DeadLetterRecord| record.dead_letter.order_id == Some(order_id);
        let dead_letters = self.dead_letters(Scan::ALL);
        dead_letters.try_filter(move |record| std::future::ready(wanted(record))).boxed()
    }

    async fn remove(&self, _: &DeadLetterRecord) -> Result<(), StoreError> {
        unimplemented!("only read")
    }
}
