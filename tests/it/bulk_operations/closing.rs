//! Discarding and reopening: by precedence, whoever else is at work, and no dead letter gone.

use std::time::Duration;

use ecom_clock::Clock;
use ecom_dlq::plan::PlanPurpose;
use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::bulk_operation::OperationKind;
use ecom_domain::dead_letter::{DeadLetter, DeadLetterState, EventKind, HistoryAction};
use ecom_domain::reason::Reason;
use ecom_pipeline::dead_letter_resolver::{AttemptResult, AttemptTrigger, DeadLetterResolver};
use ecom_pipeline::retry_policy::RetryPolicy;

use super::fixture::*;
use super::on_every_store;

on_every_store![
    a_discard_closes_what_is_open_and_is_signed,
    discarding_twice_changes_nothing,
    what_has_its_effect_is_recovered_and_not_discarded,
    a_handler_does_not_undo_a_discard,
    a_discarded_dead_letter_is_closed_once_a_redelivery_applied_it,
    a_reopened_dead_letter_waits_again_and_is_applied,
    a_reopened_dead_letter_has_its_time_again,
    a_dead_letter_whose_body_is_no_event_is_reopened_for_a_human,
    a_reopened_dead_letter_of_a_handlers_panic_is_tried,
    only_what_is_parked_or_discarded_is_reopened,
];

async fn a_discard_closes_what_is_open_and_is_signed(bench: &Bench) {
    let (order, t) = (bench.own_order(), bench.own_time());
    let [waiting, poison] =
        [orphan(1, order, t), dead_letter(EventKind::Payment, t + 1, Reason::Invalid, b"{}")];
    for dead_letter in [&waiting, &poison] {
        bench.record(dead_letter).await;
    }
    let ended = bench.act(OperationKind::Discard, &[&waiting, &poison]).await;
    assert_eq!(ended.counts.outcomes[&ActualOutcome::Discarded], 2);
    for dead_letter in [&waiting, &poison] {
        assert_eq!(bench.state(dead_letter).await, DeadLetterState::Discarded);
        let history = bench.history(dead_letter).await;
        let [line] = &history[..] else { panic!("{history:?}") };
        assert_eq!(
            (line.action, line.actor.as_str(), line.host.as_str()),
            (HistoryAction::Discarded, "ada", "operator")
        );
        assert_eq!(line.note.as_deref(), Some("because"));
        assert_eq!(line.run_id.as_deref(), Some(ended.run.id.as_str()));
    }
}

async fn discarding_twice_changes_nothing(bench: &Bench) {
    let dead_letter = orphan(1, bench.own_order(), bench.own_time());
    bench.record(&dead_letter).await;
    bench.act(OperationKind::Discard, &[&dead_letter]).await;
    let before = bench.dead_letter_store.dead_letter(&dead_letter.id).await.unwrap();
    let queue = bench.queue();
    let plan =
        queue.plan(OperationKind::Discard, named(&[&dead_letter]), PlanPurpose::Look, &|_| {}).await.unwrap();
    assert_eq!((plan.dead_letters, plan.left_out[&DeadLetterState::Discarded]), (0, 1));
    // A second operator that planned before the first was done does nothing either.
    let batch = ecom_domain::bulk_operation::PlanBatch {
        number: 0,
        dead_letters: vec![(dead_letter.id.clone(), ecom_domain::verdict::Verdict::StillWaiting)],
        outcomes: None,
    };
    let run = queue.begin(plan, None).await.unwrap();
    bench.operations.put_batch(&run.id, &batch).await.unwrap();
    let run = ecom_domain::bulk_operation::BulkOperation { dead_letters: 1, batches: 1, ..run };
    let resolver = queue.resolver(&run, POLICY);
    let ended = queue.work(run, &resolver, &pace(ecom_dlq::execute::StartMode::Fresh, 0)).await.unwrap();
    assert_eq!(ended.counts.outcomes[&ActualOutcome::Discarded], 1);
    assert_eq!(bench.dead_letter_store.dead_letter(&dead_letter.id).await.unwrap(), before);
    assert_eq!(bench.history(&dead_letter).await.len(), 1);
}

async fn what_has_its_effect_is_recovered_and_not_discarded(bench: &Bench) {
    let dead_letters = bench.one_of_each().await;
    let ended = bench.act(OperationKind::Discard, &[&dead_letters[1], &dead_letters[2]]).await;
    assert_eq!(ended.counts.outcomes[&ActualOutcome::Recovered], 2, "{ended:?}");
    for dead_letter in &dead_letters[1..3] {
        assert_eq!(bench.state(dead_letter).await, DeadLetterState::Recovered);
        assert_eq!(bench.history(dead_letter).await[0].action, HistoryAction::Recovered);
    }
    let again = bench.act(OperationKind::Discard, &[&dead_letters[1]]).await;
    assert_eq!(again.run.dead_letters, 0, "a recovered dead letter stays recovered");
}

async fn a_handler_does_not_undo_a_discard(bench: &Bench) {
    let dead_letter = orphan(1, bench.own_order(), bench.own_time());
    bench.record(&dead_letter).await;
    bench.act(OperationKind::Discard, &[&dead_letter]).await;
    // Its clock is days ahead: it would park what waits for too long.
    let ahead = Clock::anchored(NOW + 30 * 24 * HOUR);
    let handler = DeadLetterResolver { clock: ahead, ..bench.handler() };
    bench.order(dead_letter.order_id.unwrap().0, dead_letter.t.micros()).await;
    for trigger in [AttemptTrigger::Schedule, AttemptTrigger::Sweep] {
        let stand = handler.attempt(&dead_letter.id, trigger).await.unwrap();
        assert_eq!(stand, AttemptResult::Rests(DeadLetterState::Discarded));
    }
    assert_eq!(bench.shown(dead_letter.order_id.unwrap().0).await, None);
    assert_eq!(bench.history(&dead_letter).await.len(), 1);
}

async fn a_discarded_dead_letter_is_closed_once_a_redelivery_applied_it(bench: &Bench) {
    let (order, t) = (bench.own_order(), bench.own_time());
    let dead_letter = orphan(1, order, t);
    bench.record(&dead_letter).await;
    bench.act(OperationKind::Discard, &[&dead_letter]).await;
    bench.order(order, t).await;
    bench.payment(1, order, t).await;
    bench.handler().attempt(&dead_letter.id, AttemptTrigger::Sweep).await.unwrap();
    assert_eq!(bench.state(&dead_letter).await, DeadLetterState::Recovered, "discarding is no fence");
}

async fn a_reopened_dead_letter_waits_again_and_is_applied(bench: &Bench) {
    let (order, t) = (bench.own_order(), bench.own_time());
    let dead_letter = orphan(1, order, t);
    bench.record(&dead_letter).await;
    for round in 1..=3 {
        bench.act(OperationKind::Discard, &[&dead_letter]).await;
        assert_eq!(bench.state(&dead_letter).await, DeadLetterState::Discarded);
        let ended = bench.act(OperationKind::Reopen, &[&dead_letter]).await;
        assert_eq!(ended.counts.outcomes[&ActualOutcome::Waiting], 1);
        let progress = bench.dead_letter_store.dead_letter(&dead_letter.id).await.unwrap().unwrap().progress;
        assert_eq!((progress.generation, progress.state), (round, Some(DeadLetterState::Waiting)));
    }
    bench.order(order, t).await;
    let stand = bench.handler().attempt(&dead_letter.id, AttemptTrigger::Schedule).await.unwrap();
    assert_eq!(stand, AttemptResult::Rests(DeadLetterState::Recovered));
    assert_eq!(bench.shown(order).await, Some(1));
}

async fn a_reopened_dead_letter_has_its_time_again(bench: &Bench) {
    let dead_letter = orphan(1, bench.own_order(), bench.own_time());
    bench.record(&dead_letter).await;
    let impatient = || DeadLetterResolver {
        policy: RetryPolicy { max_age: Duration::from_secs(60), ..POLICY },
        ..bench.handler()
    };
    impatient().attempt(&dead_letter.id, AttemptTrigger::Schedule).await.unwrap();
    assert_eq!(bench.state(&dead_letter).await, DeadLetterState::Parked, "it failed hours ago");
    bench.act(OperationKind::Reopen, &[&dead_letter]).await;
    impatient().attempt(&dead_letter.id, AttemptTrigger::Sweep).await.unwrap();
    assert_eq!(bench.state(&dead_letter).await, DeadLetterState::Waiting);
    let later = DeadLetterResolver { clock: Clock::anchored(NOW + 120 * SECOND), ..impatient() };
    later.attempt(&dead_letter.id, AttemptTrigger::Sweep).await.unwrap();
    assert_eq!(bench.state(&dead_letter).await, DeadLetterState::Parked);
}

async fn a_dead_letter_whose_body_is_no_event_is_reopened_for_a_human(bench: &Bench) {
    let t = bench.own_time();
    let masked = DeadLetter {
        reason: Reason::PanDetected,
        ..dead_letter(EventKind::Payment, t + 1, Reason::PanDetected, payment_body(1, 1).as_bytes())
    };
    for poison in [dead_letter(EventKind::Payment, t, Reason::Undecodable, b"x"), masked] {
        bench.record(&poison).await;
        let ended = bench.act(OperationKind::Reopen, &[&poison]).await;
        assert_eq!(ended.counts.outcomes[&ActualOutcome::Parked], 1, "parked it was, and stays");
        let progress = bench.dead_letter_store.dead_letter(&poison.id).await.unwrap().unwrap().progress;
        assert_eq!((progress.generation, progress.state), (0, None));
        bench.act(OperationKind::Discard, &[&poison]).await;
        bench.act(OperationKind::Reopen, &[&poison]).await;
        let progress = bench.dead_letter_store.dead_letter(&poison.id).await.unwrap().unwrap().progress;
        assert_eq!((progress.generation, progress.state), (1, Some(DeadLetterState::Parked)));
    }
}

async fn a_reopened_dead_letter_of_a_handlers_panic_is_tried(bench: &Bench) {
    let (order, t) = (bench.own_order(), bench.own_time());
    let failed = DeadLetter {
        order_id: None,
        ..dead_letter(EventKind::Order, t, Reason::HandlerFailed, order_body(order).as_bytes())
    };
    bench.record(&failed).await;
    let handler = bench.handler();
    handler.attempt(&failed.id, AttemptTrigger::Sweep).await.unwrap();
    assert_eq!(bench.state(&failed).await, DeadLetterState::Parked, "nobody retries by itself what panicked");
    bench.act(OperationKind::Reopen, &[&failed]).await;
    let stand = handler.attempt(&failed.id, AttemptTrigger::Schedule).await.unwrap();
    assert_eq!(stand, AttemptResult::Rests(DeadLetterState::Recovered));
}

async fn only_what_is_parked_or_discarded_is_reopened(bench: &Bench) {
    let dead_letters = bench.one_of_each().await;
    bench.act(OperationKind::Retry, &[&dead_letters[0]]).await;
    let queue = bench.queue();
    let plan = queue.plan(
        OperationKind::Reopen,
        named(&[&dead_letters[0], &dead_letters[3]]),
        PlanPurpose::Look,
        &|_| {},
    );
    let plan = plan.await.unwrap();
    let left_out: Vec<(DeadLetterState, u64)> = plan.left_out.into_iter().collect();
    assert_eq!(
        (plan.dead_letters, left_out),
        (0, vec![(DeadLetterState::Waiting, 1), (DeadLetterState::Recovered, 1)])
    );
}
