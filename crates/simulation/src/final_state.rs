//! The rules of the dead-letter store, checked against the state at the end of a schedule. Unlike `verify`,
//! these checks know the T of every message, including corrections.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use ecom_bus::ReceivedMessage;
use ecom_codec::json;
use ecom_codec::screen::{card_numbers, screen};
use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::bulk_operation::{BulkOperation, OperationStatus};
use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord, DeadLetterState, EventKind};
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::Fact;
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;

use crate::foreign;
use crate::oracle::{self, CARD_NUMBER};

/// The rows and dead letters at the end of a schedule.
pub struct FinalState {
    /// The seed of the schedule.
    pub seed: u64,
    /// The rows of the fact table.
    pub rows: BTreeMap<OrderId, Fact>,
    /// The dead letters.
    pub dead_letters: Vec<DeadLetterRecord>,
    /// Rows that were deleted by hand, each with its write timestamp: older values are gone on purpose.
    pub deletes: BTreeMap<OrderId, i64>,
    /// Dead letters that may be gone: somebody discarded them, and resolved ones are removed.
    pub removed: Vec<DeadLetterId>,
}

/// The effect of a message on the row of its order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Effect {
    Current,
    Superseded,
    /// None: the row shows another event with the same T.
    Tied,
    /// None yet: the event applies now.
    Applicable,
    /// None: there is no order, or the body is not an event.
    Nowhere,
}

/// Returns the write timestamp of a column group of the row, and whether it shows this event.
fn shown(kind: EventKind, row: &Fact, body: &[u8]) -> (Option<EventTime>, bool) {
    match kind {
        EventKind::Order => (row.order_written_at, row.order.matches(&json::order(body).expect("an order"))),
        EventKind::Payment => {
            (row.payment_written_at, row.payment.matches(&json::payment(body).expect("a payment")))
        }
    }
}

impl FinalState {
    /// Returns the order of an event; `None` if the body is rejected.
    fn order_of(&self, kind: EventKind, body: &[u8]) -> Option<OrderId> {
        if card_numbers(body).is_some() {
            return None;
        }
        match kind {
            EventKind::Order => json::order(body).ok().map(|order| order.order_id),
            EventKind::Payment => json::payment(body).ok().map(|payment| payment.order_id),
        }
    }

    fn effect(&self, kind: EventKind, t: EventTime, body: &[u8]) -> Effect {
        let Some(row) = self.order_of(kind, body).and_then(|order| self.rows.get(&order)) else {
            return Effect::Nowhere;
        };
        let (written_at, same) = shown(kind, row, body);
        match written_at.map(|at| at.cmp(&t)) {
            _ if !row.has_order() && kind == EventKind::Payment => Effect::Nowhere,
            None | Some(std::cmp::Ordering::Less) => Effect::Applicable,
            Some(std::cmp::Ordering::Greater) => Effect::Superseded,
            Some(std::cmp::Ordering::Equal) if same => Effect::Current,
            Some(std::cmp::Ordering::Equal) => Effect::Tied,
        }
    }

    /// Returns whether the row of this message was deleted at its T or later.
    fn is_deleted(&self, kind: EventKind, t: EventTime, body: &[u8]) -> bool {
        let at = self.order_of(kind, body).and_then(|order| self.deletes.get(&order));
        at.is_some_and(|at| t.micros() <= *at)
    }

    /// Asserts that every message has its effect or is in the dead-letter store, that states agree with
    /// rows, and that no row or dead letter has another origin.
    pub fn check_messages(&self, kind: EventKind, log: &[ReceivedMessage]) {
        let seed = self.seed;
        for received in log {
            let (t, expected) = (received.event_time().micros(), oracle::event_time(received));
            assert_eq!(t, expected, "seed {seed}: T of {kind:?} {received:?}");
        }
        let units: BTreeMap<(EventTime, &Bytes), &ReceivedMessage> =
            log.iter().map(|received| ((received.event_time(), &received.message.body), received)).collect();
        for (t, body) in units.keys() {
            let effect = self.effect(kind, *t, body);
            let is_deleted = self.is_deleted(kind, *t, body);
            // The dead-letter store has the screened body.
            let id = DeadLetterId::of(kind, *t, &screen(body).into_bytes());
            let dead_letter = self.dead_letters.iter().find(|record| record.dead_letter.id == id);
            let state = dead_letter.map(DeadLetterRecord::state);
            let is_event = self.order_of(kind, body).is_some();
            let context = || format!("seed {seed}: {kind:?} {id}, {effect:?}, {dead_letter:?}");
            let is_effective = matches!(effect, Effect::Current | Effect::Superseded);
            let is_kept = state.is_some_and(|state| state != DeadLetterState::Recovered);
            let is_gone = state.is_none() && self.removed.contains(&id);
            assert!(is_effective || is_kept || is_deleted || is_gone, "lost: {}", context());
            if state == Some(DeadLetterState::Recovered) {
                assert!(is_effective || is_deleted, "recovered without effect: {}", context());
            }
            let Some(record) = dead_letter.filter(|_| is_event) else { continue };
            if record.state().is_open() {
                assert!(!is_effective, "open though it has its effect: {}", context());
                assert!(effect != Effect::Applicable || is_deleted, "open though it applies: {}", context());
            }
            assert!(
                state != Some(DeadLetterState::Discarded) || effect != Effect::Current,
                "discarded, but the row shows it: {}",
                context()
            );
        }
        let of_kind = |record: &&DeadLetterRecord| record.dead_letter.kind == kind;
        let published: BTreeSet<(EventTime, Bytes)> =
            units.keys().map(|(t, body)| (*t, screen(body).into_bytes())).collect();
        for record in self.dead_letters.iter().filter(of_kind) {
            let dead_letter = &record.dead_letter;
            assert!(
                published.contains(&(dead_letter.t, dead_letter.body.bytes.clone())),
                "seed {seed}: a dead letter without a published message: {record:?}"
            );
            assert!(dead_letter.reason != Reason::HandlerFailed, "seed {seed}: {record:?}");
        }
        for row in self.rows.values() {
            let (written_at, empty) = match kind {
                EventKind::Order => (row.order_written_at, !row.has_order()),
                EventKind::Payment => (row.payment_written_at, row.payment.is_empty()),
            };
            if empty {
                continue;
            }
            let mut events = units.keys().filter(|(t, _)| Some(*t) == written_at);
            let shows =
                |body: &[u8]| self.order_of(kind, body) == Some(row.order_id) && shown(kind, row, body).1;
            let event = events.find(|(_, body)| shows(body));
            let (_, body) = event.unwrap_or_else(|| panic!("seed {seed}: {row:?} is mixed"));
            if kind == EventKind::Order && row.order_id.0 >= foreign::FIRST_ORDER {
                foreign::check_price(seed, row, body);
            }
            assert!(
                row.has_order() || self.deletes.contains_key(&row.order_id),
                "seed {seed}: a payment without its order: {row:?}"
            );
        }
    }

    /// Asserts that no card number is stored or was published as a dead letter.
    pub fn check_card_numbers(&self, dead_letters: &[ReceivedMessage]) {
        let seed = self.seed;
        let has =
            |bytes: &[u8]| bytes.windows(CARD_NUMBER.len()).any(|window| window == CARD_NUMBER.as_bytes());
        for dead_letter in &self.dead_letters {
            assert!(
                !has(&dead_letter.dead_letter.body.bytes),
                "seed {seed}: a card number in {dead_letter:?}"
            );
        }
        for message in dead_letters {
            let in_attributes = message.message.attributes.iter().any(|(_, value)| has(value.as_bytes()));
            assert!(
                !in_attributes && !has(&message.message.body),
                "seed {seed}: a card number in {message:?}"
            );
        }
        for row in self.rows.values() {
            assert!(!has(format!("{:?}", row.payment.card_last_four).as_bytes()), "seed {seed}: {row:?}");
        }
    }

    /// Asserts that the last reported outcome of each dead letter still holds.
    pub fn check_reported_outcomes(&self, reported: &BTreeMap<DeadLetterId, ActualOutcome>) {
        for (id, outcome) in reported {
            let state = self
                .dead_letters
                .iter()
                .find(|record| record.dead_letter.id == *id)
                .map(DeadLetterRecord::state);
            let undone = match outcome {
                ActualOutcome::Discarded => state.is_none_or(DeadLetterState::is_open),
                ActualOutcome::Waiting | ActualOutcome::Parked => state == Some(DeadLetterState::Discarded),
                ActualOutcome::Recovered | ActualOutcome::Gone => state != Some(DeadLetterState::Recovered),
            };
            assert!(!undone, "seed {}: {id} was reported as {outcome:?}, but is {state:?}", self.seed);
        }
    }

    /// Asserts that a finished operation counts each of its dead letters once.
    pub fn check_operations<'a>(&self, operations: impl Iterator<Item = &'a BulkOperation>) {
        let finished = |operation: &&BulkOperation| operation.state == OperationStatus::Finished;
        for operation in operations.filter(finished) {
            let counted = operation.outcomes.iter().filter(|(word, _)| word != "differed");
            let sum: u64 = counted.map(|(_, count)| count).sum();
            assert_eq!(sum, operation.dead_letters, "seed {}: {operation:?}", self.seed);
        }
    }

    /// Asserts that a correction is one event however often it was published, and that no two share a T.
    pub fn check_corrections(&self, log: &[ReceivedMessage]) {
        let mut by_body: BTreeMap<(&str, &Bytes), BTreeSet<EventTime>> = BTreeMap::new();
        let mut by_time: BTreeMap<(&str, EventTime), BTreeSet<&Bytes>> = BTreeMap::new();
        for received in log {
            let Some(of) = received.message.attributes.get("dlq_corrects") else { continue };
            let (t, body) = (received.event_time(), &received.message.body);
            by_body.entry((of, body)).or_default().insert(t);
            by_time.entry((of, t)).or_default().insert(body);
        }
        for (correction, times) in by_body {
            assert_eq!(times.len(), 1, "seed {}: {correction:?} was published as {times:?}", self.seed);
        }
        for (time, bodies) in by_time {
            assert_eq!(bodies.len(), 1, "seed {}: {time:?} carries {bodies:?}", self.seed);
        }
    }
}
