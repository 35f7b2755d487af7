//! What the operator says becomes of a dead letter by itself is what a handler's pass then does.

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
use ecom_pipeline::sweep::sweep;
use ecom_telemetry::metrics::RoleMetrics;

use super::fixture::*;

/// What the row of a dead letter's order shows.
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
    place: &Place,
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
        Row::OrderOnly => place.order(order, t).await,
        Row::This | Row::Newer | Row::Tie => {
            let (payment, at) = match row {
                Row::This => (10 * number, t),
                Row::Newer => (10 * number + 1, t + 1),
                _ => (10 * number + 1, t),
            };
            place.order(order, t).await;
            place.payment(payment, order, at).await;
        }
    }
    place.record(&dead_letter).await;
    let entry = HistoryEntry {
        at: NOW,
        entry_id: "set".into(),
        action: HistoryAction::Attempted,
        outcome: "set".into(),
        actor: "test".into(),
        host: "test".into(),
        note: None,
        run_id: None,
    };
    // What is to wait although its reason parks it was reopened.
    let generation = u32::from(state == DeadLetterState::Waiting);
    let change = DeadLetterChange::State { generation, state, at: NOW };
    place
        .dead_letter_store
        .act(&DeadLetterUpdate { dead_letter: dead_letter.id.clone(), t: dead_letter.t, change, entry })
        .await
        .unwrap();
    dead_letter.id
}

#[tokio::test]
async fn a_handlers_pass_closes_what_the_desk_foretells_and_nothing_else() {
    let place = Place::embedded();
    let queue = place.queue();
    let mut predicted = Vec::new();
    for reason in Reason::ALL {
        for row in ROWS {
            for state in [DeadLetterState::Waiting, DeadLetterState::Parked] {
                let number = predicted.len() as i64 + 1;
                let id = situation(&place, number, reason, row, state).await;
                let shown = queue.show(&id).await.unwrap().unwrap();
                let forecast = forecast(&shown.record, shown.verdict, &POLICY, NOW);
                predicted.push((id, reason, row, state, forecast));
            }
        }
    }
    let entropy = Arc::new(Entropy::seeded(2));
    let resolver = DeadLetterResolver {
        facts: Arc::clone(&place.facts),
        dead_letter_store: Arc::clone(&place.dead_letter_store),
        retrier: Arc::new(Retrier::new(Arc::clone(&entropy), Arc::new(RoleMetrics::new(Role::DlqHandler)))),
        locks: OrderLocks::new(),
        policy: POLICY,
        clock: Clock::anchored(NOW),
        entropy,
        actor: Actor { name: "dlq_handler".into(), host: "test".into(), run_id: "test".into() },
        note: None,
    };
    sweep(&resolver, None).await.unwrap();
    let mut closed = 0;
    for (id, reason, row, before, forecast) in &predicted {
        let after = place.dead_letter_store.dead_letter(id).await.unwrap().unwrap().state();
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
