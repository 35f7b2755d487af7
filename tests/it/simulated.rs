//! The real pipeline over a simulated bus and store, with faults of every kind, on tokio's paused clock and
//! with seeded randomness. Every interleaving must end with the same facts and dead letters.
//!
//! `ECOM_SCHEDULES=5000 cargo test simulated` runs 5,000 schedules, from the seed `ECOM_FIRST` on. A schedule
//! that fails names its seed; `ECOM_SEED=… cargo test simulated` runs that one alone.

mod broker;
mod final_state;
mod operators;
mod store;
mod world;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ecom_clock::Clock;
use ecom_domain::attributes::Attributes;
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterId, DeadLetterRecord, DeadLetterState, EventKind, HistoryAction, HistoryEntry,
    StoredBody,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::reason::Reason;
use ecom_domain::role;
use ecom_pipeline::retries;
use ecom_pipeline::retry_queue::RetryQueue;
use ecom_scenario::Mixture;
use ecom_store::DeadLetterStore;
use tokio_util::sync::CancellationToken;

use world::{Role, RunningRole, World, kill_one, new_world, start};

/// A mixture with a large share of every irregularity.
const ROUGH: Mixture = Mixture {
    late_orders: 0.3,
    missing_orders: 0.15,
    duplicates: 0.3,
    order_updates: 0.3,
    second_payments: 0.4,
    invalid: 0.15,
    late_by: 12,
};

/// The roles that run side by side: two of each that applies payments.
const ROLES: [Role; 5] = [Role::Orders, Role::Payments, Role::Payments, Role::Handler, Role::Handler];

/// The number of times that each kind of event happened. A schedule without faults proves nothing.
type EventCounts = BTreeMap<&'static str, u64>;

async fn schedule(seed: u64) -> EventCounts {
    let (world, manifest) = new_world(seed, 24, ROUGH);
    let started = world.broker.now_us();
    let mut crashes = 0;
    let mut running: Vec<RunningRole> = ROLES.into_iter().map(|role| start(&world, role)).collect();
    let published = Cell::new(false);
    let producing = async {
        world.publish_all(&manifest).await;
        published.set(true);
    };
    let chaos = async {
        while !published.get() || world.broker.now_us() < started + 1_500_000 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if world.entropy.share() < 0.15 {
                kill_one(&world, &mut running).await;
                crashes += 1;
            }
        }
    };
    tokio::join!(producing, chaos);
    world.heal();
    world.drain(running).await;
    world.assert_clean(&manifest).await;
    let is_recovered = |record: &DeadLetterRecord| record.state() == DeadLetterState::Recovered;
    let recovered = world.store.tables().records().filter(is_recovered).count();
    EventCounts::from([
        ("crashes", crashes),
        ("redelivered", world.broker.redelivered()),
        ("late_writes", world.store.interceptor.late_writes()),
        ("lost_publish_acks", world.broker.lost_publish_acks()),
        ("recovered", recovered as u64),
    ])
}

/// Runs the schedule of the seed `ECOM_SEED` alone, or of `ECOM_SCHEDULES` seeds from `ECOM_FIRST` on. Fails
/// if an event does not happen more often than `least` says for this number of schedules.
fn run_schedules<F: Future<Output = EventCounts>>(
    default: u64,
    schedule: fn(u64) -> F,
    least: fn(&str, u64) -> u64,
) {
    if let Some(seed) = number("ECOM_SEED") {
        println!("{:?}", on_a_paused_clock(schedule(seed)));
        return;
    }
    let schedules = number("ECOM_SCHEDULES").unwrap_or(default);
    let first = number("ECOM_FIRST").unwrap_or(1);
    let mut sum = EventCounts::new();
    for seed in first..first + schedules {
        for (event, count) in on_a_paused_clock(schedule(seed)) {
            *sum.entry(event).or_default() += count;
        }
    }
    println!("{schedules} schedules from seed {first}: {sum:?}");
    assert!(!sum.is_empty(), "no schedule was run");
    for (&event, &count) in &sum {
        assert!(count > least(event, schedules), "too few {event}: {sum:?}");
    }
}

fn on_a_paused_clock<T>(schedule: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(Box::pin(schedule))
}

#[test]
fn any_interleaving_with_crashes_and_faults_ends_in_the_same_facts_and_dead_letters() {
    run_schedules(60, schedule, |_, schedules| schedules);
}

#[tokio::test(start_paused = true)]
async fn the_retry_loop_parks_a_dead_letter_past_its_maximum_age_and_schedules_a_younger_one() {
    let world = World::new(1);
    world.heal();
    let now = world.broker.now_us();
    let (_, retrier) = world.retrier(role::Role::DlqHandler);
    let resolver = world.resolver(Clock::anchored(now), retrier);
    let mut ids = Vec::new();
    for (n, age) in [(1, Duration::from_millis(900)), (2, Duration::from_millis(1_100))] {
        let body = Bytes::from(format!(
            "{{\"payment_id\":{n},\"order_id\":{n},\"payment_method\":\"PayPal\",\
             \"payment_status\":\"Completed\",\"payment_datetime\":\"yesterday\"}}"
        ));
        let t = EventTime::stored(now - n);
        let id = DeadLetterId::of(EventKind::Payment, t, &body);
        ids.push(id.clone());
        let dead_letter = DeadLetter {
            id,
            kind: EventKind::Payment,
            t,
            body: StoredBody::keep(&body),
            attributes: Attributes::new(),
            reason: Reason::OrderNotFound,
            detail: String::new(),
            order_id: None,
            payment_id: None,
            first_failed_at: now - i64::try_from(age.as_micros()).unwrap(),
            corrects: None,
        };
        let entry = HistoryEntry::new(now, "received".into(), HistoryAction::Received);
        world.store.record(&dead_letter, &entry).await.unwrap();
    }
    let (retry_queue, queued) = RetryQueue::channel();
    let stop = CancellationToken::new();
    let stopped = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.cancel();
    };

    let (ended, ()) = tokio::join!(retries::run(&resolver, retry_queue, queued, stop.clone()), stopped);

    ended.unwrap();
    let mut ends = Vec::new();
    for id in &ids {
        let record = world.store.dead_letter(id).await.unwrap().unwrap();
        ends.push((record.state(), record.progress.attempts > 0));
    }
    assert_eq!(ends, [(DeadLetterState::Waiting, true), (DeadLetterState::Parked, true)]);
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
