//! A schedule: one world with the conditions of its seed, from its first message to the final checks.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ecom_domain::dead_letter::{DeadLetterId, DeadLetterRecord, DeadLetterState, EventKind};
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::{OrderCells, PaymentCells};
use ecom_domain::order::OrderId;

use crate::conditions::Conditions;
use crate::faults::{Fault, Trace};
use crate::final_state::FinalState;
use crate::foreign;
use crate::running_role::RunningRole;
use crate::world::{Role, World};

/// The number of times that each kind of event happened. A schedule without faults proves nothing.
pub type EventCounts = BTreeMap<&'static str, u64>;

/// The time for which faults go on after the last message is published, in microseconds.
const FAULTS_GO_ON: i64 = 500_000;

/// Runs the schedule of a seed, and calls `trace` with each operation.
///
/// # Panics
/// If a rule is violated.
pub async fn run(seed: u64, trace: Option<Trace>) -> EventCounts {
    let conditions = Conditions::of(seed);
    let world = World::new(seed, conditions);
    if let Some(trace) = trace {
        world.faults.trace(trace);
    }
    let manifest = world.manifest();
    let mut roles = vec![Role::Orders];
    roles.extend([Role::Payments, Role::Handler].repeat(conditions.copies));
    roles.extend(vec![Role::Operator; conditions.operators]);
    let start =
        |role| RunningRole::start(&world, role, world.injector(&format!("{role:?}"), conditions.rates));
    let running: Vec<RunningRole> = roles.into_iter().map(start).collect();
    let published = Cell::new(false);
    let producing = async {
        let foreign = async {
            if conditions.foreign {
                foreign::publish(&world).await;
            }
            if conditions.tie {
                foreign::publish_tie(&world).await;
            }
        };
        tokio::join!(world.publish_all(&manifest), foreign);
        published.set(true);
    };
    let (chaos, ()) = tokio::join!(chaos(&world, &running, &published), producing);
    let (operators, running): (Vec<_>, Vec<_>) =
        running.into_iter().partition(|running| running.role == Role::Operator);
    world.heal();
    for operator in operators {
        operator.end(seed).await;
    }
    world.finish(running).await;
    let recovered = check(&world, &chaos.deletes);
    if chaos.deletes.is_empty() && !conditions.foreign && !conditions.tie && !conditions.removes() {
        world.assert_clean(&manifest).await;
    }
    let mut counts: EventCounts =
        world.faults.counts().map(|(fault, count)| (fault.as_str(), count)).collect();
    counts.extend([
        ("stopped", chaos.stopped),
        ("replayed", chaos.replayed),
        ("deleted rows", chaos.deletes.len() as u64),
        ("redelivered", world.broker.redelivered()),
        ("leases ended", world.broker.leases_ended()),
        ("recovered", recovered),
    ]);
    counts.extend(world.commands.counts());
    counts
}

/// The events that a world met from outside of its roles.
#[derive(Default)]
struct Chaos {
    stopped: u64,
    replayed: u64,
    /// Rows that were deleted by hand, each with its write timestamp.
    deletes: BTreeMap<OrderId, i64>,
}

async fn chaos(world: &Arc<World>, running: &[RunningRole], published: &Cell<bool>) -> Chaos {
    let mut chaos = Chaos::default();
    let mut end = i64::MAX;
    while world.broker.now_us() < end {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if published.get() && end == i64::MAX {
            end = world.broker.now_us() + FAULTS_GO_ON;
        }
        let conditions = &world.conditions;
        if world.entropy.share() < conditions.stopped {
            running[world.index(running.len())].stop_process();
            chaos.stopped += 1;
        }
        if world.entropy.share() < 0.05 {
            world.broker.replay(["orders", "payments", "dead_letters"][world.index(3)]);
            chaos.replayed += 1;
        }
        if conditions.unreadable && world.entropy.share() < 0.1 {
            let ids: Vec<DeadLetterId> = world.store.tables().dead_letters.keys().cloned().collect();
            let part =
                ids.get(world.index(ids.len())).map(|id| id.as_str()[.."yyyymmdd-bb".len()].to_owned());
            world.set_unreadable(part);
        }
        if conditions.deletes && chaos.deletes.is_empty() && world.entropy.share() < 0.05 {
            let order = OrderId(1 + world.index(conditions.orders.unsigned_abs() as usize) as i64);
            let at = world.broker.now_us();
            let (mut tables, t) = (world.store.tables(), EventTime::stored(at));
            // As by hand.
            tables.record_order(order, OrderCells::default(), t);
            tables.record_payment(order, PaymentCells::default(), t);
            chaos.deletes.insert(order, at);
        }
    }
    chaos
}

/// Checks the end of a schedule; returns the number of recovered dead letters.
///
/// # Panics
/// If a rule is violated.
pub fn check(world: &World, deletes: &BTreeMap<OrderId, i64>) -> u64 {
    let (orders, payments) = (world.broker.log("orders"), world.broker.log("payments"));
    let tables = world.store.tables().clone();
    let state = FinalState {
        seed: world.seed,
        rows: tables.facts().map(|row| (row.order_id, row)).collect(),
        dead_letters: tables.records().collect(),
        deletes: deletes.clone(),
        removed: if world.conditions.removes() { world.commands.discarded() } else { Vec::new() },
    };
    state.check_messages(EventKind::Order, &orders);
    state.check_messages(EventKind::Payment, &payments);
    state.check_card_numbers(&world.broker.log("dead_letters"));
    // One that was removed is recorded again, as a new one, when its message is replayed.
    if !world.conditions.removes() {
        state.check_reported_outcomes(&world.commands.reported());
    }
    state.check_corrections(&[orders, payments].concat());
    state.check_operations(tables.operations.values());
    let is_recovered = |record: &&DeadLetterRecord| record.state() == DeadLetterState::Recovered;
    state.dead_letters.iter().filter(is_recovered).count() as u64
}

/// Returns the events that must happen often enough in this number of schedules, and how often they have to.
pub fn expected(schedules: u64) -> impl Iterator<Item = (&'static str, u64)> {
    let often = [
        Fault::Failed.as_str(),
        Fault::AnswerLost.as_str(),
        Fault::AppliedLate.as_str(),
        Fault::KilledBefore.as_str(),
        Fault::KilledAfter.as_str(),
        "redelivered",
        "stopped",
    ];
    let seldom = [Fault::Refused.as_str(), Fault::Frozen.as_str(), "leases ended", "corrected", "resumed"];
    let often = often.into_iter().map(move |event| (event, schedules / 4));
    often.chain(seldom.into_iter().map(move |event| (event, schedules / 60)))
}
