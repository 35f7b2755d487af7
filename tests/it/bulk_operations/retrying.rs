//! Retries: every verdict predicts the outcome, and the canary stops a retry if it does not.

use ecom_dlq::execute::{OperationEnd, StartMode};
use ecom_dlq::outcome_counts::Misprediction;
use ecom_dlq::plan::PlanPurpose;
use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::bulk_operation::{OperationKind, OperationStatus};
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterId, DeadLetterState, EventKind, HistoryAction, StoredBody,
};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_domain::verdict::Verdict;
use ecom_pipeline::dead_letter_resolver::{AttemptResult, AttemptTrigger};

use super::fixture::*;
use super::on_every_store;

on_every_store![
    every_verdict_ends_as_it_predicted,
    order_dead_letters_end_as_their_verdicts_predict,
    an_order_that_is_applied_recovers_its_open_payments_at_once,
    dead_letters_that_are_not_open_are_left_alone,
    a_retry_leaves_the_schedule_of_what_waits_as_it_is,
    a_canary_that_differs_stops_the_operation_until_it_is_resumed,
    a_difference_after_the_canary_is_reported_and_stops_nothing,
    a_dry_run_stores_nothing,
    dead_letters_recorded_after_the_plan_are_not_retried,
];

async fn every_verdict_ends_as_it_predicted(store: &TestStore) {
    let dead_letters = store.one_of_each().await;
    let all: Vec<&DeadLetter> = dead_letters.iter().collect();
    let queue = store.operator();
    let plan = queue.plan(OperationKind::Retry, named(&all), PlanPurpose::DryRun, &|_| {}).await.unwrap();
    assert_eq!(verdicts(&plan), Verdict::ALL.map(|verdict| (verdict, 1)));
    let ended = store.execute(OperationKind::Retry, &all).await;
    assert_eq!((ended.end, ended.counts.differed), (OperationEnd::Finished, 0), "{ended:?}");
    let counted: Vec<(ActualOutcome, u64)> = ended.counts.outcomes.into_iter().collect();
    assert_eq!(
        counted,
        [(ActualOutcome::Recovered, 3), (ActualOutcome::Waiting, 1), (ActualOutcome::Parked, 2)]
    );
    let expected = [
        DeadLetterState::Recovered,
        DeadLetterState::Recovered,
        DeadLetterState::Recovered,
        DeadLetterState::Waiting,
        DeadLetterState::Parked,
        DeadLetterState::Parked,
    ];
    for (dead_letter, state) in dead_letters.iter().zip(expected) {
        assert_eq!(store.state(dead_letter).await, state, "{dead_letter:?}");
        let history = store.history(dead_letter).await;
        let [line] = &history[..] else { panic!("{history:?}") };
        assert_eq!((line.actor.as_str(), line.note.as_deref()), ("ada", Some("because")));
        assert_eq!(line.run_id.as_deref(), Some(ended.operation.id.as_str()));
    }
    let order = dead_letters[0].order_id.unwrap().0;
    let shown = [store.shown(order).await, store.shown(order + 2).await, store.shown(order + 4).await];
    assert_eq!(shown, [Some(11), Some(32), Some(52)]);
    let kept = store.operations.operation(&ended.operation.id).await.unwrap().unwrap();
    assert_eq!(kept, ended.operation);
    assert_eq!(
        (kept.state, kept.dead_letters, kept.note.as_deref()),
        (OperationStatus::Finished, 6, Some("because"))
    );
    let again = store.execute(OperationKind::Retry, &all).await;
    assert_eq!(
        (again.operation.dead_letters, again.counts.differed),
        (3, 0),
        "what was recovered is left alone"
    );
}

async fn order_dead_letters_end_as_their_verdicts_predict(store: &TestStore) {
    let (base, t) = (store.own_order(), store.own_time());
    let about = |order: i64| DeadLetter {
        order_id: Some(OrderId(order)),
        ..dead_letter(EventKind::Order, t, Reason::HandlerFailed, order_body(order).as_bytes())
    };
    let whole = order_body(base + 5);
    let cut = StoredBody { sha256: Some("00".repeat(32)), ..about(base + 5).body };
    let dead_letters = [
        about(base),
        about(base + 1),
        about(base + 2),
        about(base + 3),
        dead_letter(EventKind::Order, t, Reason::Invalid, br#"{"order_id":0}"#),
        DeadLetter { body: cut, ..about(base + 5) },
        DeadLetter { reason: Reason::PanDetected, ..about(base + 6) },
    ];
    assert_eq!(dead_letters[5].body.bytes, whole.as_bytes());
    store.order(base + 1, t).await;
    store.order(base + 2, t + 1).await;
    let other = ecom_domain::order::Order { quantity: 99, ..order_event(base + 3) };
    store.facts.record_order(&other, dead_letters[3].t).await.unwrap();
    for dead_letter in &dead_letters {
        store.record(dead_letter).await;
    }
    let all: Vec<&DeadLetter> = dead_letters.iter().collect();
    let plan =
        store.operator().plan(OperationKind::Retry, named(&all), PlanPurpose::DryRun, &|_| {}).await.unwrap();
    let predicted = [
        (Verdict::AppliesNow, 1),
        (Verdict::AlreadyApplied, 1),
        (Verdict::Superseded, 1),
        (Verdict::Conflict, 1),
        (Verdict::Poison, 3),
    ];
    assert_eq!(verdicts(&plan), predicted);
    let ended = store.execute(OperationKind::Retry, &all).await;
    assert_eq!((ended.end, ended.counts.differed), (OperationEnd::Finished, 0), "{ended:?}");
    for (dead_letter, recovered) in dead_letters.iter().zip([true, true, true, false, false, false, false]) {
        let expected = if recovered { DeadLetterState::Recovered } else { DeadLetterState::Parked };
        assert_eq!(store.state(dead_letter).await, expected, "{dead_letter:?}");
    }
    let fact = store.facts.fact(OrderId(base)).await.unwrap().unwrap();
    assert!(fact.order.matches(&order_event(base)), "{fact:?}");
    assert_eq!(fact.order_written_at, Some(dead_letters[0].t));
    for untouched in [base + 5, base + 6] {
        assert_eq!(store.facts.fact(OrderId(untouched)).await.unwrap(), None);
    }
}

async fn an_order_that_is_applied_recovers_its_open_payments_at_once(store: &TestStore) {
    let (order, t) = (store.own_order(), store.own_time());
    let failed = DeadLetter {
        order_id: Some(OrderId(order)),
        ..dead_letter(EventKind::Order, t, Reason::HandlerFailed, order_body(order).as_bytes())
    };
    let [older, newer, discarded] =
        [orphan(1, order, t + 1), orphan(2, order, t + 2), orphan(3, order, t + 3)];
    for dead_letter in [&failed, &older, &newer, &discarded] {
        store.record(dead_letter).await;
    }
    store.execute(OperationKind::Discard, &[&discarded]).await;
    let queue = store.operator();
    let operation = store.begin(&queue, OperationKind::Retry, &[&newer, &failed]).await;
    for (number, alone) in [(0, &failed), (1, &newer)] {
        let part = store.operations.batch(&operation.id, number).await.unwrap().unwrap().dead_letters;
        let part: Vec<DeadLetterId> = part.into_iter().map(|(id, _)| id).collect();
        assert_eq!(part, ids(&[alone]), "the order is done before its payment is begun");
    }
    let ended = queue
        .execute(operation.clone(), &queue.resolver(&operation, POLICY), &options(StartMode::Fresh, 0))
        .await
        .unwrap();
    assert_eq!(ended.counts.outcomes[&ActualOutcome::Recovered], 2, "{ended:?}");
    assert_eq!(ended.counts.differed, 0, "the operation itself recovered the payment: {ended:?}");
    assert_eq!(store.state(&older).await, DeadLetterState::Recovered, "it was not part of the operation");
    assert_eq!(store.state(&discarded).await, DeadLetterState::Discarded);
    assert_eq!(store.shown(order).await, Some(2));
}

async fn dead_letters_that_are_not_open_are_left_alone(store: &TestStore) {
    let (order, t) = (store.own_order(), store.own_time());
    let [discarded, recovered] = [orphan(1, order, t), orphan(2, order + 1, t)];
    store.order(order + 1, t).await;
    for dead_letter in [&discarded, &recovered] {
        store.record(dead_letter).await;
    }
    store.execute(OperationKind::Discard, &[&discarded]).await;
    store.execute(OperationKind::Retry, &[&recovered]).await;
    store.order(order, t).await;
    let queue = store.operator();
    let never = orphan(3, order, t + 5);
    let selection = named(&[&discarded, &recovered, &never]);
    let plan = queue.plan(OperationKind::Retry, selection, PlanPurpose::DryRun, &|_| {}).await.unwrap();
    assert_eq!((plan.dead_letters, plan.left_alone.values().sum::<u64>()), (0, 2));
    assert_eq!(plan.not_found.into_iter().collect::<Vec<_>>(), ids(&[&never]));
    let resolver = queue.resolver(&store.begin(&queue, OperationKind::Retry, &[&recovered]).await, POLICY);
    let result = resolver.attempt(&discarded.id, AttemptTrigger::Operator).await.unwrap();
    assert_eq!(result, AttemptResult::Rests(DeadLetterState::Discarded), "reopen it first");
    assert_eq!(store.shown(order).await, None);
}

async fn a_retry_leaves_the_schedule_of_what_waits_as_it_is(store: &TestStore) {
    let dead_letter = orphan(1, store.own_order(), store.own_time());
    store.record(&dead_letter).await;
    store.handler().attempt(&dead_letter.id, AttemptTrigger::Schedule).await.unwrap();
    let before = store.dead_letter_store.dead_letter(&dead_letter.id).await.unwrap().unwrap().progress;
    assert_eq!(before.attempts, 1);
    store.execute(OperationKind::Retry, &[&dead_letter]).await;
    assert_eq!(store.dead_letter_store.dead_letter(&dead_letter.id).await.unwrap().unwrap().progress, before);
    assert_eq!(store.history(&dead_letter).await.last().unwrap().action, HistoryAction::Attempted);
}

/// Payments without their orders, in the order in which an operation executes them.
async fn orphans(store: &TestStore, count: i64) -> Vec<DeadLetter> {
    let (base, t) = (store.own_order(), store.own_time());
    let mut dead_letters: Vec<DeadLetter> =
        (0..count).map(|nth| orphan(100 + nth, base * 100 + nth, t + nth)).collect();
    dead_letters.sort_by(|one, other| one.id.cmp(&other.id));
    for dead_letter in &dead_letters {
        store.record(dead_letter).await;
    }
    dead_letters
}

async fn a_canary_that_differs_stops_the_operation_until_it_is_resumed(store: &TestStore) {
    let dead_letters = orphans(store, 12).await;
    let all: Vec<&DeadLetter> = dead_letters.iter().collect();
    let queue = store.operator();
    let operation = store.begin(&queue, OperationKind::Retry, &all).await;
    let planned = store.operations.batch(&operation.id, 0).await.unwrap().unwrap().dead_letters;
    // A dead letter that was predicted to wait has its order now.
    let third = dead_letters.iter().find(|dead_letter| dead_letter.id == planned[2].0).unwrap();
    store.order(third.order_id.unwrap().0, third.t.micros()).await;

    let resolver = queue.resolver(&operation, POLICY);
    let id = operation.id.clone();
    let ended = queue.execute(operation, &resolver, &options(StartMode::Fresh, 5)).await.unwrap();
    assert_eq!(
        (ended.end, ended.operation.state),
        (OperationEnd::Differed, OperationStatus::Stopped),
        "{ended:?}"
    );
    let (predicted, outcome) = (Verdict::StillWaiting, ActualOutcome::Recovered);
    assert_eq!(ended.counts.differences, [Misprediction { id: third.id.clone(), predicted, outcome }]);
    assert_eq!(ended.counts.dead_letters(), 5, "no dead letter after the canary was touched");
    for (later, _) in &planned[5..] {
        let history = store.dead_letter_store.history(later).await.unwrap();
        assert_eq!(history.len(), 1, "{history:?}");
    }

    // Killed before it reported, it stops again; resumed after its report, it continues.
    let stopped = store.operations.operation(&id).await.unwrap().unwrap();
    assert_eq!(stopped, ended.operation);
    let killed = ecom_domain::bulk_operation::BulkOperation {
        state: OperationStatus::Begun,
        outcomes: Vec::new(),
        revision: stopped.revision + 1,
        ..stopped
    };
    store.operations.put_operation(&killed).await.unwrap();
    let again = queue.execute(killed, &resolver, &options(StartMode::Resumed, 5)).await.unwrap();
    assert_eq!((again.end, again.counts.dead_letters()), (OperationEnd::Differed, 5), "{again:?}");
    let on = queue.execute(again.operation, &resolver, &options(StartMode::Resumed, 5)).await.unwrap();
    assert_eq!((on.end, on.operation.state), (OperationEnd::Finished, OperationStatus::Finished), "{on:?}");
    let counted: Vec<(ActualOutcome, u64)> = on.counts.outcomes.clone().into_iter().collect();
    assert_eq!(counted, [(ActualOutcome::Recovered, 1), (ActualOutcome::Waiting, 11)]);
    assert_eq!(store.operations.operation(&id).await.unwrap().unwrap(), on.operation);
}

async fn a_difference_after_the_canary_is_reported_and_stops_nothing(store: &TestStore) {
    let dead_letters = orphans(store, 8).await;
    let all: Vec<&DeadLetter> = dead_letters.iter().collect();
    let queue = store.operator();
    let operation = store.begin(&queue, OperationKind::Retry, &all).await;
    let planned = store.operations.batch(&operation.id, 0).await.unwrap().unwrap().dead_letters;
    let last = dead_letters.iter().find(|dead_letter| dead_letter.id == planned[7].0).unwrap();
    store.order(last.order_id.unwrap().0, last.t.micros()).await;
    let resolver = queue.resolver(&operation, POLICY);
    let ended = queue.execute(operation, &resolver, &options(StartMode::Fresh, 5)).await.unwrap();
    assert_eq!((ended.end, ended.counts.differed), (OperationEnd::Finished, 1), "{ended:?}");
    assert_eq!((ended.operation.state, ended.counts.dead_letters()), (OperationStatus::Finished, 8));
}

async fn a_dry_run_stores_nothing(store: &TestStore) {
    let dead_letters = orphans(store, 3).await;
    let all: Vec<&DeadLetter> = dead_letters.iter().collect();
    let plan = store
        .operator()
        .plan(OperationKind::Discard, named(&all), PlanPurpose::DryRun, &|_| {})
        .await
        .unwrap();
    assert_eq!(plan.dead_letters, 3);
    assert_eq!(store.operations.operation(plan.operation_id()).await.unwrap(), None);
    assert_eq!(store.operations.batch(plan.operation_id(), 0).await.unwrap(), None);
    for dead_letter in &dead_letters {
        assert_eq!(store.history(dead_letter).await, []);
    }
}

async fn dead_letters_recorded_after_the_plan_are_not_retried(store: &TestStore) {
    let (order, t) = (store.own_order(), store.own_time());
    let [early, late] = [orphan(1, order, t), orphan(2, order, t + 1)];
    store.record(&early).await;
    let queue = store.operator();
    let about = ecom_dlq::selection::Selection { order: early.order_id, ..Default::default() };
    let plan = queue.plan(OperationKind::Retry, about, PlanPurpose::Begin, &|_| {}).await.unwrap();
    store.record(&late).await;
    let operation = queue.begin(plan, None).await.unwrap();
    let resolver = queue.resolver(&operation, POLICY);
    let ended = queue.execute(operation, &resolver, &options(StartMode::Fresh, 0)).await.unwrap();
    assert_eq!(ended.counts.dead_letters(), 1);
    assert_eq!(store.history(&late).await, []);
}
