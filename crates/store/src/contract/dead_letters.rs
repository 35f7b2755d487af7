//! The contract of the dead-letter store: fixtures of its suites.

pub mod history;
pub mod model;
pub mod of_order;
pub mod recording;
pub mod removal;
pub mod scans;
pub mod updates;

use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use ecom_domain::attributes::Attributes;
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterChange, DeadLetterId, DeadLetterRecord, DeadLetterState, DeadLetterUpdate,
    EventKind, HistoryAction, HistoryEntry, StoredBody,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use futures_util::TryStreamExt;

use super::Subject;
use crate::{DeadLetterStore, Scan};

type Store = Subject<dyn DeadLetterStore>;

/// The precision of stored wall times, in microseconds.
pub(super) const MS: i64 = 1_000;
pub(super) const SECOND: i64 = 1_000 * MS;
pub(super) const DAY: i64 = 24 * 3_600 * SECOND;
/// The time of the cases.
pub(super) const NOW: i64 = 1_750_000_000 * SECOND;

/// Returns the first midnight of ten days that no other case uses.
pub(super) fn own_days() -> i64 {
    static NEXT: AtomicI64 = AtomicI64::new(0);
    (11_000 + 10 * NEXT.fetch_add(1, Ordering::Relaxed)) * DAY
}

/// Returns a dead letter on days that no other case uses, waiting for its order.
pub(super) fn own_dead_letter() -> DeadLetter {
    dead_letter(own_days() + 12 * 3_600 * SECOND, b"{\"payment_id\":1}")
}

/// Returns the dead letter of a payment with this event time and body, waiting for its order.
pub(super) fn dead_letter(t: i64, body: &[u8]) -> DeadLetter {
    let (t, body) = (EventTime::stored(t), Bytes::copy_from_slice(body));
    DeadLetter {
        id: DeadLetterId::of(EventKind::Payment, t, &body),
        kind: EventKind::Payment,
        t,
        body: StoredBody::keep(&body),
        attributes: Attributes::from_iter([
            ("dlq_attempt", "1".into()),
            ("event_time_us", t.micros().to_string()),
        ]),
        reason: Reason::OrderNotFound,
        detail: "order_id: no order with this id".into(),
        order_id: Some(OrderId(17)),
        payment_id: Some(4),
        first_failed_at: NOW,
        corrects: None,
    }
}

/// Returns the history entry of a receipt.
pub(super) fn received(entry_id: &str, at: i64) -> HistoryEntry {
    HistoryEntry {
        reason: Some(Reason::OrderNotFound),
        actor: "dlq_handler".into(),
        host: "worker-1".into(),
        ..HistoryEntry::new(at, entry_id.into(), HistoryAction::Received)
    }
}

/// Returns the update that sets this state.
pub(super) fn state_update(
    dead_letter: &DeadLetter,
    generation: u32,
    state: DeadLetterState,
    at: i64,
) -> DeadLetterUpdate {
    let action = match state {
        DeadLetterState::Waiting => HistoryAction::Reopened,
        DeadLetterState::Parked => HistoryAction::Parked,
        DeadLetterState::Discarded => HistoryAction::Discarded,
        DeadLetterState::Recovered => HistoryAction::Recovered,
    };
    let entry_id = format!("{}-{generation}-{at}", state.as_str());
    DeadLetterUpdate {
        dead_letter: dead_letter.id.clone(),
        t: dead_letter.t,
        generation,
        change: DeadLetterChange::State { generation, state, at },
        entry: HistoryEntry { action, ..received(&entry_id, at) },
    }
}

/// Returns the update that reopens a dead letter in this generation.
pub(super) fn reopen_update(dead_letter: &DeadLetter, generation: u32, at: i64) -> DeadLetterUpdate {
    let change = DeadLetterChange::Reopen {
        generation,
        state: DeadLetterState::Waiting,
        at,
        dead_letter: Box::new(dead_letter.clone()),
    };
    DeadLetterUpdate { change, ..state_update(dead_letter, generation, DeadLetterState::Waiting, at) }
}

/// Returns the update that schedules the next attempt one second later.
pub(super) fn schedule_update(dead_letter: &DeadLetter, attempts: u32, at: i64) -> DeadLetterUpdate {
    DeadLetterUpdate {
        dead_letter: dead_letter.id.clone(),
        t: dead_letter.t,
        generation: 0,
        change: DeadLetterChange::Schedule { attempts, next_attempt_at: at + SECOND },
        entry: HistoryEntry {
            action: HistoryAction::Attempted,
            ..received(&format!("attempt-{attempts}-{at}"), at)
        },
    }
}

async fn read(store: &Store, dead_letter: &DeadLetter) -> DeadLetterRecord {
    store.dead_letter(&dead_letter.id).await.unwrap().expect("the dead letter was recorded")
}

/// Records a dead letter, then applies the updates in this order.
async fn recorded(store: &Store, dead_letter: &DeadLetter, updates: &[DeadLetterUpdate]) {
    store.record(dead_letter, &received("receipt", NOW)).await.unwrap();
    for update in updates {
        store.apply(update).await.unwrap();
    }
}

async fn scanned(store: &Store, scan: Scan) -> Vec<DeadLetterRecord> {
    store.dead_letters(scan).try_collect().await.unwrap()
}

/// Returns the scan of the ten days from `first` on.
fn own_scan(first: i64) -> Scan {
    Scan {
        from: Some(EventTime::stored(first)),
        until: Some(EventTime::stored(first + 10 * DAY)),
        bodies: true,
    }
}
