//! The forecast of a dead letter, compared with what a sweep does.

use std::sync::Arc;

use ecom_clock::{Clock, Entropy};
use ecom_dlq::forecast::{Forecast, forecast};
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterChange, DeadLetterId, DeadLetterState, DeadLetterUpdate, EventKind, HistoryAction,
    HistoryEntry,
};
use ecom_domain::reason::Reason;
use ecom_domain::role::Role;
use ecom_pipeline::actor::Actor;
use ecom_pipeline::dead_letter_resolver::DeadLetterResolver;
use ecom_pipeline::durable::Retrier;
use ecom_pipeline::order_locks::OrderLocks;
use ecom_pipeline::sweep::{WaitingDeadLetters, sweep};
use ecom_telemetry::metrics::RoleMetrics;

use super::fixture::*;

/// The row of a dead letter's order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Row {
    Absent,
    OrderOnly,
    This,
    Newer,
    Tie,
    Unreadable,
}

const ROWS: [Row; 6] = [Row::Absent, Row::OrderOnly, Row::This, Row::Newer, Row::Tie, Row::Unreadable];

async fn situation(
    store: &TestStore,
    number: i64,
    reason: Reason,
    row: Row,
    state: DeadLetterState,
) -> DeadLetterId {
    let (order, t) = (number, NOW - HOUR);
    let dead_letter = match row {
        Row::Unreadable => dead_letter(EventKind::Payment, t + number, reason, b"{"),
        _ => DeadLetter { reason, ..orphan(10 * number, order, t) },
    };
    match row {
        Row::Absent | Row::Unreadable => {}
        Row::OrderOnly => store.order(order, t).await,
        Row::This | Row::Newer | Row::Tie => {
            let (payment, at) = match row {
                Row::This => (10 * number, t),
                Row::Newer => (10 * number + 1, t + 1),
                _ => (10 * number + 1, t),
            };
            store.order(order, t).await;
            store.payment(payment, order, at).await;
        }
    }
    store.record(&dead_letter).await;
    let entry = HistoryEntry::new(NOW, "set".into(), HistoryAction::Attempted);
    // A dead letter that waits although its reason parks it was reopened.
    let generation = u32::from(state == DeadLetterState::Waiting);
    let change = DeadLetterChange::State { generation, state, at: NOW };
    store.dead_letter_store.apply(&DeadLetterUpdate::new(&dead_letter, 0, change, entry)).await.unwrap();
    dead_letter.id
}

#[tokio::test]
async fn a_sweep_closes_what_is_forecast_and_nothing_else() {
    let store = TestStore::embedded();
    let queue = store.queue();
    let mut predicted = Vec::new();
    for reason in Reason::ALL {
        for row in ROWS {
            for state in [DeadLetterState::Waiting, DeadLetterState::Parked] {
                let number = predicted.len() as i64 + 1;
                let id = situation(&store, number, reason, row, state).await;
                let shown = queue.show(&id).await.unwrap().unwrap();
                let forecast = forecast(&shown.record, shown.verdict, &POLICY, NOW);
                predicted.push((id, reason, row, state, forecast));
            }
        }
    }
    let entropy = Arc::new(Entropy::seeded(2));
    let resolver = DeadLetterResolver {
        facts: Arc::clone(&store.facts),
        dead_letter_store: Arc::clone(&store.dead_letter_store),
        retrier: Arc::new(Retrier::new(Arc::clone(&entropy), Arc::new(RoleMetrics::new(Role::DlqHandler)))),
        locks: OrderLocks::new(),
        policy: POLICY,
        clock: Clock::anchored(NOW),
        entropy,
        actor: Actor { name: "dlq_handler".into(), host: "test".into(), run_id: "test".into() },
        note: None,
    };
    sweep(&resolver, WaitingDeadLetters::AreAttempted).await.unwrap();
    let mut closed = 0;
    for (id, reason, row, before, forecast) in &predicted {
        let after = store.dead_letter_store.dead_letter(id).await.unwrap().unwrap().state();
        let closes = matches!(forecast, Forecast::Closes { .. });
        assert_eq!(
            after == DeadLetterState::Recovered,
            closes,
            "{reason}, {row:?}, {before:?}: {forecast:?}, now {after:?}"
        );
        assert!(closes || after.is_open());
        closed += u64::from(closes);
    }
    assert!(closed > 10 && closed < predicted.len() as u64 / 2, "{closed} of {}", predicted.len());
}
