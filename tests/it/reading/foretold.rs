//! What the desk says becomes of a letter by itself is what a handler's pass then does.

use std::sync::Arc;

use ecom_clock::{Chance, Clock};
use ecom_dlq::outlook::{Outlook, outlook};
use ecom_domain::letter::{Act, Action, Change, HistoryEntry, Kind, Letter, LetterId, State};
use ecom_domain::reason::Reason;
use ecom_pipeline::durable::Retrying;
use ecom_pipeline::letters::Actor;
use ecom_pipeline::order_locks::OrderLocks;
use ecom_pipeline::settler::Settler;
use ecom_pipeline::sweep::sweep;
use ecom_telemetry::metrics::RoleMetrics;

use super::place::*;

/// What the row of a letter's order shows.
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

async fn situation(place: &Place, number: i64, reason: Reason, row: Row, state: State) -> LetterId {
    let (order, t) = (number, NOW - HOUR);
    let letter = match row {
        Row::Unreadable => letter(Kind::Payment, t + number, reason, b"{"),
        _ => Letter { reason, ..orphan(10 * number, order, t) },
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
    place.record(&letter).await;
    let entry = HistoryEntry {
        at: NOW,
        entry_id: "set".into(),
        action: Action::Attempted,
        outcome: "set".into(),
        actor: "test".into(),
        host: "test".into(),
        note: None,
        run_id: None,
    };
    // What is to wait although its reason parks it was reopened.
    let generation = u32::from(state == State::Waiting);
    let change = Change::State { generation, state, at: NOW };
    place.ledger.act(&Act { letter: letter.id.clone(), t: letter.t, change, entry }).await.unwrap();
    letter.id
}

#[tokio::test]
async fn a_handlers_pass_closes_what_the_desk_foretells_and_nothing_else() {
    let place = Place::embedded();
    let desk = place.desk();
    let mut foretold = Vec::new();
    for reason in Reason::ALL {
        for row in ROWS {
            for state in [State::Waiting, State::Parked] {
                let number = foretold.len() as i64 + 1;
                let id = situation(&place, number, reason, row, state).await;
                let shown = desk.show(&id).await.unwrap().unwrap();
                let outlook = outlook(&shown.record, shown.verdict, &POLICY, NOW);
                foretold.push((id, reason, row, state, outlook));
            }
        }
    }
    let chance = Arc::new(Chance::seeded(2));
    let settler = Settler {
        facts: Arc::clone(&place.facts),
        ledger: Arc::clone(&place.ledger),
        retrying: Arc::new(Retrying::new(Arc::clone(&chance), Arc::new(RoleMetrics::new("dlq_handler")))),
        locks: OrderLocks::new(),
        policy: POLICY,
        clock: Clock::anchored(NOW),
        chance,
        actor: Actor { name: "dlq_handler".into(), host: "test".into(), run_id: "test".into() },
        note: None,
    };
    sweep(&settler, None).await.unwrap();
    let mut closed = 0;
    for (id, reason, row, before, outlook) in &foretold {
        let after = place.ledger.letter(id).await.unwrap().unwrap().state();
        let closes = matches!(outlook, Outlook::Closes { .. });
        assert_eq!(
            after == State::Recovered,
            closes,
            "{reason}, {row:?}, {before:?}: {outlook:?}, now {after:?}"
        );
        assert!(closes || after.is_open());
        closed += u64::from(closes);
    }
    assert!(closed > 10 && closed < foretold.len() as u64 / 2, "{closed} of {}", foretold.len());
}
