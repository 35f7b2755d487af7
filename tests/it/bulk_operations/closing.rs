//! Discards and reopens: by precedence of states, with handlers at work, and no dead letter lost.

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
    a_discard_closes_open_dead_letters_and_names_its_actor,
    discarding_twice_changes_nothing,
    applied_and_superseded_dead_letters_are_recovered_and_not_discarded,
    a_card_number_in_a_note_is_masked_in_operation_and_history,
    a_handler_does_not_undo_a_discard,
    a_discarded_dead_letter_is_closed_once_a_redelivery_applied_it,
    a_reopened_dead_letter_waits_again_and_is_applied,
    a_reopened_dead_letter_has_its_full_maximum_age_again,
    a_dead_letter_with_an_invalid_body_is_reopened_as_parked,
    a_reopened_dead_letter_of_a_handler_panic_is_retried,
    only_parked_and_discarded_dead_letters_are_reopened,
];

async fn a_card_number_in_a_note_is_masked_in_operation_and_history(store: &TestStore) {
    let waiting = orphan(1, store.own_order(), store.own_time());
    store.record(&waiting).await;
    let queue = store.operator();
    let plan =
        queue.plan(OperationKind::Discard, named(&[&waiting]), PlanPurpose::Begin, &|_| {}).await.unwrap();
    let operation = queue.begin(plan, Some("paid with 4111/1111 1111_1111".into())).await.unwrap();
    assert_eq!(operation.note.as_deref(), Some("paid with ****/**** ****_1111"));
    let resolver = queue.resolver(&operation, POLICY);
    queue.execute(operation, &resolver, &options(ecom_dlq::execute::StartMode::Fresh, 0)).await.unwrap();
    let history = store.history(&waiting).await;
    assert_eq!(history[0].note.as_deref(), Some("paid with ****/**** ****_1111"));
}

async fn a_discard_closes_open_dead_letters_and_names_its_actor(store: &TestStore) {
    let (order, t) = (store.own_order(), store.own_time());
    let [waiting, poison] =
        [orphan(1, order, t), dead_letter(EventKind::Payment, t + 1, Reason::Invalid, b"{}")];
    for dead_letter in [&waiting, &poison] {
        store.record(dead_letter).await;
    }
    let ended = store.execute(OperationKind::Discard, &[&waiting, &poison]).await;
    assert_eq!(ended.counts.outcomes[&ActualOutcome::Discarded], 2);
    for dead_letter in [&waiting, &poison] {
        assert_eq!(store.state(dead_letter).await, DeadLetterState::Discarded);
        let history = store.history(dead_letter).await;
        let [line] = &history[..] else { panic!("{history:?}") };
        assert_eq!(
            (line.action, line.actor.as_str(), line.host.as_str()),
            (HistoryAction::Discarded, "ada", "operator")
        );
        assert_eq!(line.note.as_deref(), Some("because"));
        assert_eq!(line.run_id.as_deref(), Some(ended.operation.id.as_str()));
    }
}

async fn discarding_twice_changes_nothing(store: &TestStore) {
    let dead_letter = orphan(1, store.own_order(), store.own_time());
    store.record(&dead_letter).await;
    store.execute(OperationKind::Discard, &[&dead_letter]).await;
    let before = store.dead_letter_store.dead_letter(&dead_letter.id).await.unwrap();
    let queue = store.operator();
    let plan = queue
        .plan(OperationKind::Discard, named(&[&dead_letter]), PlanPurpose::DryRun, &|_| {})
        .await
        .unwrap();
    assert_eq!((plan.dead_letters, plan.left_alone[&DeadLetterState::Discarded]), (0, 1));
    // A second operator that planned before the first was done does nothing either.
    let batch = ecom_domain::bulk_operation::PlanBatch {
        number: 0,
        dead_letters: vec![(dead_letter.id.clone(), ecom_domain::verdict::Verdict::StillWaiting)],
        outcomes: None,
    };
    let operation = queue.begin(plan, None).await.unwrap();
    store.operations.put_batch(&operation.id, &batch).await.unwrap();
    let operation = ecom_domain::bulk_operation::BulkOperation { dead_letters: 1, batches: 1, ..operation };
    let resolver = queue.resolver(&operation, POLICY);
    let ended =
        queue.execute(operation, &resolver, &options(ecom_dlq::execute::StartMode::Fresh, 0)).await.unwrap();
    assert_eq!(ended.counts.outcomes[&ActualOutcome::Discarded], 1);
    assert_eq!(store.dead_letter_store.dead_letter(&dead_letter.id).await.unwrap(), before);
    assert_eq!(store.history(&dead_letter).await.len(), 1);
}

async fn applied_and_superseded_dead_letters_are_recovered_and_not_discarded(store: &TestStore) {
    let dead_letters = store.one_of_each().await;
    let ended = store.execute(OperationKind::Discard, &[&dead_letters[1], &dead_letters[2]]).await;
    assert_eq!(ended.counts.outcomes[&ActualOutcome::Recovered], 2, "{ended:?}");
    for dead_letter in &dead_letters[1..3] {
        assert_eq!(store.state(dead_letter).await, DeadLetterState::Recovered);
        assert_eq!(store.history(dead_letter).await[0].action, HistoryAction::Recovered);
    }
    let superseded = &dead_letters[2];
    let lost = store.facts.superseded_of(superseded.order_id.unwrap()).await.unwrap();
    let lost: Vec<_> = lost.iter().map(|lost| (lost.t, lost.payment.payment_id)).collect();
    assert_eq!(lost, [(superseded.t, superseded.payment_id)], "what is closed as superseded is kept");
    let again = store.execute(OperationKind::Discard, &[&dead_letters[1]]).await;
    assert_eq!(again.operation.dead_letters, 0, "a recovered dead letter stays recovered");
}

async fn a_handler_does_not_undo_a_discard(store: &TestStore) {
    let dead_letter = orphan(1, store.own_order(), store.own_time());
    store.record(&dead_letter).await;
    store.execute(OperationKind::Discard, &[&dead_letter]).await;
    // Its clock is days ahead, so it would park a dead letter that waits.
    let ahead = Clock::anchored(NOW + 30 * 24 * HOUR);
    let handler = DeadLetterResolver { clock: ahead, ..store.handler() };
    store.order(dead_letter.order_id.unwrap().0, dead_letter.t.micros()).await;
    for trigger in [AttemptTrigger::Schedule, AttemptTrigger::Sweep] {
        let result = handler.attempt(&dead_letter.id, trigger).await.unwrap();
        assert_eq!(result, AttemptResult::Rests(DeadLetterState::Discarded));
    }
    assert_eq!(store.shown(dead_letter.order_id.unwrap().0).await, None);
    assert_eq!(store.history(&dead_letter).await.len(), 1);
}

async fn a_discarded_dead_letter_is_closed_once_a_redelivery_applied_it(store: &TestStore) {
    let (order, t) = (store.own_order(), store.own_time());
    let dead_letter = orphan(1, order, t);
    store.record(&dead_letter).await;
    store.execute(OperationKind::Discard, &[&dead_letter]).await;
    store.order(order, t).await;
    store.payment(1, order, t).await;
    store.handler().attempt(&dead_letter.id, AttemptTrigger::Sweep).await.unwrap();
    assert_eq!(
        store.state(&dead_letter).await,
        DeadLetterState::Recovered,
        "a discard does not fence off a redelivery"
    );
}

async fn a_reopened_dead_letter_waits_again_and_is_applied(store: &TestStore) {
    let (order, t) = (store.own_order(), store.own_time());
    let dead_letter = orphan(1, order, t);
    store.record(&dead_letter).await;
    for round in 1..=3 {
        store.execute(OperationKind::Discard, &[&dead_letter]).await;
        assert_eq!(store.state(&dead_letter).await, DeadLetterState::Discarded);
        let ended = store.execute(OperationKind::Reopen, &[&dead_letter]).await;
        assert_eq!(ended.counts.outcomes[&ActualOutcome::Waiting], 1);
        let progress = store.dead_letter_store.dead_letter(&dead_letter.id).await.unwrap().unwrap().progress;
        assert_eq!((progress.generation, progress.state), (round, Some(DeadLetterState::Waiting)));
    }
    store.order(order, t).await;
    let result = store.handler().attempt(&dead_letter.id, AttemptTrigger::Schedule).await.unwrap();
    assert_eq!(result, AttemptResult::Rests(DeadLetterState::Recovered));
    assert_eq!(store.shown(order).await, Some(1));
}

async fn a_reopened_dead_letter_has_its_full_maximum_age_again(store: &TestStore) {
    let dead_letter = orphan(1, store.own_order(), store.own_time());
    store.record(&dead_letter).await;
    let impatient = || DeadLetterResolver {
        policy: RetryPolicy { max_age: Duration::from_secs(60), ..POLICY },
        ..store.handler()
    };
    impatient().attempt(&dead_letter.id, AttemptTrigger::Schedule).await.unwrap();
    assert_eq!(store.state(&dead_letter).await, DeadLetterState::Parked, "it failed hours ago");
    store.execute(OperationKind::Reopen, &[&dead_letter]).await;
    impatient().attempt(&dead_letter.id, AttemptTrigger::Sweep).await.unwrap();
    assert_eq!(store.state(&dead_letter).await, DeadLetterState::Waiting);
    let later = DeadLetterResolver { clock: Clock::anchored(NOW + 120 * SECOND), ..impatient() };
    later.attempt(&dead_letter.id, AttemptTrigger::Sweep).await.unwrap();
    assert_eq!(store.state(&dead_letter).await, DeadLetterState::Parked);
}

async fn a_dead_letter_with_an_invalid_body_is_reopened_as_parked(store: &TestStore) {
    let t = store.own_time();
    let masked = DeadLetter {
        reason: Reason::PanDetected,
        ..dead_letter(EventKind::Payment, t + 1, Reason::PanDetected, payment_body(1, 1).as_bytes())
    };
    for poison in [dead_letter(EventKind::Payment, t, Reason::Undecodable, b"x"), masked] {
        store.record(&poison).await;
        let ended = store.execute(OperationKind::Reopen, &[&poison]).await;
        assert_eq!(ended.counts.outcomes[&ActualOutcome::Parked], 1, "it stays parked");
        let progress = store.dead_letter_store.dead_letter(&poison.id).await.unwrap().unwrap().progress;
        assert_eq!((progress.generation, progress.state), (0, None));
        store.execute(OperationKind::Discard, &[&poison]).await;
        store.execute(OperationKind::Reopen, &[&poison]).await;
        let progress = store.dead_letter_store.dead_letter(&poison.id).await.unwrap().unwrap().progress;
        assert_eq!((progress.generation, progress.state), (1, Some(DeadLetterState::Parked)));
    }
}

async fn a_reopened_dead_letter_of_a_handler_panic_is_retried(store: &TestStore) {
    let (order, t) = (store.own_order(), store.own_time());
    let failed = DeadLetter {
        order_id: None,
        ..dead_letter(EventKind::Order, t, Reason::HandlerFailed, order_body(order).as_bytes())
    };
    store.record(&failed).await;
    let handler = store.handler();
    handler.attempt(&failed.id, AttemptTrigger::Sweep).await.unwrap();
    assert_eq!(store.state(&failed).await, DeadLetterState::Parked, "a panic is not retried automatically");
    store.execute(OperationKind::Reopen, &[&failed]).await;
    let result = handler.attempt(&failed.id, AttemptTrigger::Schedule).await.unwrap();
    assert_eq!(result, AttemptResult::Rests(DeadLetterState::Recovered));
}

async fn only_parked_and_discarded_dead_letters_are_reopened(store: &TestStore) {
    let dead_letters = store.one_of_each().await;
    store.execute(OperationKind::Retry, &[&dead_letters[0]]).await;
    let queue = store.operator();
    let plan = queue.plan(
        OperationKind::Reopen,
        named(&[&dead_letters[0], &dead_letters[3]]),
        PlanPurpose::DryRun,
        &|_| {},
    );
    let plan = plan.await.unwrap();
    let left_alone: Vec<(DeadLetterState, u64)> = plan.left_alone.into_iter().collect();
    assert_eq!(
        (plan.dead_letters, left_alone),
        (0, vec![(DeadLetterState::Waiting, 1), (DeadLetterState::Recovered, 1)])
    );
}
