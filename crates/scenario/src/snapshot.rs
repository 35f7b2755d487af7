//! Fact table and dead-letter store for the tests of `verify`, filled by the rules of the pipeline.

use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;

use crate::manifest::Manifest;
use crate::planned::EventContent;
use ecom_domain::attributes::Attributes;
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterId, DeadLetterState, EventKind, HistoryAction, HistoryEntry, StoredBody,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{Fact, OrderCells};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_store::StoreError;
use ecom_store::memory::{Interceptor, Tables, Write};

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

/// Applies one message as the consumers and the handler do.
pub(super) fn consume(tables: &mut Tables, message: &ConsumedMessage) {
    match &message.content {
        EventContent::Order(order) => {
            tables.record_order(order.order_id, OrderCells::from(order), message.t);
        }
        EventContent::Payment(payment) if has_order(tables, payment.order_id) => {
            tables.record_payment(payment.order_id, payment.into(), message.t);
        }
        EventContent::Payment(payment) => {
            dead_letter(tables, message, Reason::OrderNotFound, Some(payment.order_id));
        }
        EventContent::Rejected(reason) => dead_letter(tables, message, *reason, None),
        EventContent::Masked(body) => {
            let masked = ConsumedMessage { body: body.clone(), ..message.clone() };
            dead_letter(tables, &masked, Reason::PanDetected, None);
        }
        EventContent::Foreign => {}
    }
}

/// Applies the waiting dead letters whose order exists.
pub(super) fn sweep(tables: &mut Tables, messages: &[ConsumedMessage]) {
    for message in messages {
        let EventContent::Payment(payment) = &message.content else { continue };
        let id = DeadLetterId::of(message.kind, message.t, &message.body);
        if has_order(tables, payment.order_id) && tables.dead_letters.contains_key(&id) {
            tables.record_payment(payment.order_id, payment.into(), message.t);
            set_state(tables, &id, DeadLetterState::Recovered);
        }
    }
}

fn has_order(tables: &Tables, order_id: OrderId) -> bool {
    tables.facts.get(&order_id).is_some_and(Fact::has_order)
}

/// Sets a state, whatever it was.
pub(super) fn set_state(tables: &mut Tables, id: &DeadLetterId, state: DeadLetterState) {
    tables.progress.entry(id.clone()).or_default().state = Some(state);
}

pub(super) fn dead_letter(
    tables: &mut Tables,
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
    tables.dead_letters.entry(id).or_insert(dead_letter);
}

/// Adds a correction to the history of a dead letter.
pub(super) fn correct(tables: &mut Tables, id: &DeadLetterId) {
    let entry = HistoryEntry::new(0, "corrected".to_owned(), HistoryAction::Corrected);
    tables.histories.entry(id.clone()).or_default().insert(entry.entry_id.clone(), entry);
}

/// Lets `verify` scan, and read histories; nothing else.
pub(super) struct ScansOnly;

#[async_trait]
impl Interceptor for ScansOnly {
    async fn read(&self, what: &'static str, _: &Mutex<Tables>) -> Result<(), StoreError> {
        let scans = [
            "scan the fact table",
            "scan the superseded payments",
            "scan the dead letters",
            "read a history",
        ];
        assert!(scans.contains(&what), "verify must not {what}");
        Ok(())
    }

    async fn write(&self, what: &'static str, _: &Mutex<Tables>, _: Write) -> Result<(), StoreError> {
        unreachable!("verify must not {what}")
    }
}
