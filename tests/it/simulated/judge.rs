//! The rules of the dead-letter store, held against what a schedule left behind. Unlike `verify` it knows the T
//! of every message, corrections too.

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

pub struct Judge {
    pub seed: u64,
    pub rows: BTreeMap<OrderId, Fact>,
    pub dead_letters: Vec<DeadLetterRecord>,
    /// Rows that were deleted by hand, and when: what is older is gone, as it was meant to be.
    pub deletes: BTreeMap<OrderId, i64>,
}

/// How a message stands to its row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Current,
    Superseded,
    /// Its row is there and shows another event of the same T.
    Tied,
    /// Its row is there, and it could be applied.
    Applicable,
    /// Its order is not there, or it is no event at all.
    Nowhere,
}

/// Of when the row's half is, and whether it shows this event.
fn shown(kind: EventKind, row: &Fact, body: &[u8]) -> (Option<EventTime>, bool) {
    match kind {
        EventKind::Order => (row.order_written_at, row.order.matches(&json::order(body).unwrap())),
        EventKind::Payment => (row.payment_written_at, row.payment.matches(&json::payment(body).unwrap())),
    }
}

impl Judge {
    fn about(&self, kind: EventKind, body: &[u8]) -> Option<OrderId> {
        if card_numbers(body).is_some() {
            return None;
        }
        match kind {
            EventKind::Order => json::order(body).ok().map(|order| order.order_id),
            EventKind::Payment => json::payment(body).ok().map(|payment| payment.order_id),
        }
    }

    fn place(&self, kind: EventKind, t: EventTime, body: &[u8]) -> Place {
        let Some(row) = self.about(kind, body).and_then(|order| self.rows.get(&order)) else {
            return Place::Nowhere;
        };
        let (written_at, same) = shown(kind, row, body);
        match written_at.map(|at| at.cmp(&t)) {
            _ if !row.has_order() && kind == EventKind::Payment => Place::Nowhere,
            None | Some(std::cmp::Ordering::Less) => Place::Applicable,
            Some(std::cmp::Ordering::Greater) => Place::Superseded,
            Some(std::cmp::Ordering::Equal) if same => Place::Current,
            Some(std::cmp::Ordering::Equal) => Place::Tied,
        }
    }

    /// Whether somebody deleted what this message was about after it was made.
    fn is_deleted(&self, kind: EventKind, t: EventTime, body: &[u8]) -> bool {
        let at = self.about(kind, body).and_then(|order| self.deletes.get(&order));
        at.is_some_and(|at| t.micros() <= *at)
    }

    /// Every message is current, superseded or in the dead-letter store; dead letters say what is true.
    pub fn units(&self, kind: EventKind, log: &[ReceivedMessage]) {
        let seed = self.seed;
        let units: BTreeMap<(EventTime, &Bytes), &ReceivedMessage> =
            log.iter().map(|received| ((received.event_time(), &received.message.body), received)).collect();
        for (t, body) in units.keys() {
            let place = self.place(kind, *t, body);
            let by_hand = self.is_deleted(kind, *t, body);
            // What the dead-letter store has of a body is what may leave the consumer of it.
            let id = DeadLetterId::of(kind, *t, &screen(body).into_bytes());
            let dead_letter = self.dead_letters.iter().find(|record| record.dead_letter.id == id);
            let state = dead_letter.map(DeadLetterRecord::state);
            let is_event = self.about(kind, body).is_some();
            let told = || format!("seed {seed}: {kind:?} {id}, {place:?}, {dead_letter:?}");
            let effect = matches!(place, Place::Current | Place::Superseded);
            let kept = state.is_some_and(|state| state != DeadLetterState::Recovered);
            assert!(effect || kept || by_hand, "lost: {}", told());
            if state == Some(DeadLetterState::Recovered) {
                assert!(effect || by_hand, "recovered without effect: {}", told());
            }
            let Some(record) = dead_letter.filter(|_| is_event) else { continue };
            if record.state().is_open() {
                assert!(!effect, "open though it has its effect: {}", told());
                assert!(place != Place::Applicable || by_hand, "open though it applies: {}", told());
            }
            assert!(
                state != Some(DeadLetterState::Discarded) || place != Place::Current,
                "discarded, yet it is shown: {}",
                told()
            );
        }
        let known = |record: &&DeadLetterRecord| record.dead_letter.kind == kind;
        let left: BTreeSet<(EventTime, Bytes)> =
            units.keys().map(|(t, body)| (*t, screen(body).into_bytes())).collect();
        for record in self.dead_letters.iter().filter(known) {
            let dead_letter = &record.dead_letter;
            assert!(
                left.contains(&(dead_letter.t, dead_letter.body.bytes.clone())),
                "seed {seed}: a dead letter of nothing that was published: {record:?}"
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
            let is_whole = events
                .any(|(_, body)| self.about(kind, body) == Some(row.order_id) && shown(kind, row, body).1);
            assert!(is_whole, "seed {seed}: {row:?} is mixed");
            assert!(
                row.has_order() || self.deletes.contains_key(&row.order_id),
                "seed {seed}: ghost {row:?}"
            );
        }
    }

    /// What a person was told, and nobody touched since, is so.
    pub fn told(&self, told: &BTreeMap<DeadLetterId, ActualOutcome>) {
        for (id, outcome) in told {
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
            assert!(!undone, "seed {}: {id} was told {outcome:?}, is {state:?}", self.seed);
        }
    }

    /// The counts of a finished run are those of its dead letters, each once.
    pub fn runs(&self, runs: &[BulkOperation]) {
        for run in runs.iter().filter(|run| run.state == OperationStatus::Finished) {
            let counted = run.outcomes.iter().filter(|(word, _)| word != "differed");
            let sum: u64 = counted.map(|(_, count)| count).sum();
            assert_eq!(sum, run.dead_letters, "seed {}: {run:?}", self.seed);
        }
    }

    /// A correction is one event however often it was published, and no two share a T.
    pub fn corrections(&self, log: &[ReceivedMessage]) {
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
