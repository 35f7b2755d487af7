//! A few hundred schedules, and single situations of the simulated world.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::print_stdout, reason = "the harness shows what a test printed")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ecom_bus::Bus;
use ecom_clock::Clock;
use ecom_domain::attributes::Attributes;
use ecom_domain::bulk_operation::OperationKind;
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterId, DeadLetterState, EventKind, HistoryAction, HistoryEntry, StoredBody,
};
use ecom_domain::event_time::EventTime;
use ecom_domain::reason::Reason;
use ecom_domain::role;
use ecom_pipeline::retries;
use ecom_pipeline::retry_queue::RetryQueue;
use ecom_simulation::conditions::Conditions;
use ecom_simulation::faults::FaultRates;
use ecom_simulation::world::World;
use ecom_simulation::{runner, schedules};
use ecom_store::DeadLetterStore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const HOUR: i64 = 3_600_000_000;

#[test]
fn any_interleaving_with_crashes_and_faults_ends_in_the_same_facts_and_dead_letters() {
    let report = runner::run(1, 300, 3);
    println!("{report:?}");
    assert_eq!(report.violations, []);
    for (event, least) in schedules::expected(report.schedules) {
        let count = report.events[event];
        assert!(count > least, "too few events: {event} {count}, of {:?}", report.events);
    }
}

/// Otherwise a violation could not be looked into.
#[test]
fn a_seed_replays_every_operation() {
    for seed in 1..=20 {
        let trace = || {
            let lines = Arc::new(Mutex::new(Vec::new()));
            let kept = Arc::clone(&lines);
            let trace = Box::new(move |line: &str| kept.lock().unwrap().push(line.to_owned()));
            runner::on_paused_time(schedules::run(seed, Some(trace)));
            std::mem::take(&mut *lines.lock().unwrap())
        };
        let first = trace();
        assert!(first.len() > 20, "{first:?}");
        assert_eq!(first, trace());
    }
}

/// Records the dead letter of a payment without its order.
async fn dead_letter(world: &World, n: i64, body: Bytes, first_failed_at: i64) -> DeadLetterId {
    let now = world.broker.now_us();
    let t = EventTime::stored(now - n);
    let id = DeadLetterId::of(EventKind::Payment, t, &body);
    let dead_letter = DeadLetter {
        id: id.clone(),
        kind: EventKind::Payment,
        t,
        body: StoredBody::keep(&body),
        attributes: Attributes::new(),
        reason: Reason::OrderNotFound,
        detail: String::new(),
        order_id: None,
        payment_id: None,
        first_failed_at,
        corrects: None,
    };
    let entry = HistoryEntry::new(now, "received".into(), HistoryAction::Received);
    world.store.record(&dead_letter, &entry).await.unwrap();
    id
}

fn payment(n: i64) -> Bytes {
    let body = format!(
        "{{\"payment_id\":{n},\"order_id\":{n},\"payment_method\":\"PayPal\",\
         \"payment_status\":\"Completed\",\"payment_datetime\":\"yesterday\"}}"
    );
    body.into()
}

#[tokio::test(start_paused = true)]
async fn an_operator_whose_clock_is_an_hour_behind_corrects_a_dead_letter_at_once() {
    let world = World::new(1, Conditions::calm());
    let now = world.broker.now_us();
    let id = dead_letter(&world, 1, payment(1), now).await;
    let queue = world.queue(&world.store, Clock::anchored(now - HOUR));
    let body = String::from_utf8(payment(1).to_vec()).unwrap().replace("yesterday", "today");
    let plan = queue.plan_correction(&id, body.into()).await.unwrap();
    let operation = queue.plan_one(OperationKind::Correct, &plan.record, plan.verdict);
    let operation = queue.begin(operation, None).await.unwrap();
    let resolver = queue.resolver(&operation, world.conditions.policy);
    let process =
        world.process(&world.injector("operator", FaultRates::default()), &CancellationToken::new());
    let publisher = process.bus.publisher("payments", 4).await.unwrap();
    let started = Instant::now();

    queue.correct(&plan, &resolver, publisher.as_ref()).await.unwrap();

    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    assert_eq!(world.broker.log("payments").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_retry_loop_parks_a_dead_letter_past_its_maximum_age_and_schedules_a_younger_one() {
    let world = World::new(1, Conditions::calm());
    let now = world.broker.now_us();
    let (_, retrier) = world.retrier(role::Role::DlqHandler);
    let resolver = world.resolver(&world.store, Clock::anchored(now), retrier);
    let mut ids = Vec::new();
    for (n, age_us) in [(1, 900_000), (2, 1_100_000)] {
        ids.push(dead_letter(&world, n, payment(n), now - age_us).await);
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
