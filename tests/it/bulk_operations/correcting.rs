//! Corrections: one event however often they are repeated and wherever they are killed, always about the same
//! order.

use bytes::Bytes;
use ecom_codec::envelope;
use ecom_codec::json;
use ecom_codec::screen::screen;
use ecom_dlq::correct::{CorrectionError, CorrectionResult, CorrectionStatus};
use ecom_domain::actual_outcome::ActualOutcome;
use ecom_domain::bulk_operation::OperationKind;
use ecom_domain::dead_letter::{DeadLetter, DeadLetterState, EventKind, HistoryAction, HistoryEntry};
use ecom_domain::event_time::EventTime;
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_domain::verdict::Verdict;
use std::time::Duration;

use super::fixture::*;
use super::on_every_store;

on_every_store![
    a_correction_is_a_new_event_and_its_dead_letter_is_discarded,
    a_correction_killed_anywhere_and_repeated_is_one_event,
    two_concurrent_corrections_of_one_dead_letter_have_two_event_times,
    an_invalid_or_unchanged_body_is_refused,
    a_correction_about_another_order_is_refused,
    the_first_correction_fixes_the_order_of_a_dead_letter_that_named_none,
    of_two_payments_with_one_event_time_either_can_be_chosen,
    a_correction_never_takes_the_event_time_that_the_row_holds,
    closed_dead_letters_are_not_corrected,
    a_corrected_order_recovers_its_open_payments,
    a_correction_that_is_dead_lettered_again_is_reported,
];

/// A dead letter about a payment whose status is missing.
fn incomplete(order: i64, t: i64) -> DeadLetter {
    let mut invalid =
        dead_letter(EventKind::Payment, t, Reason::Invalid, format!(r#"{{"order_id":{order}}}"#).as_bytes());
    invalid.order_id = Some(OrderId(order));
    invalid.attributes.insert("tenant", "a");
    invalid
}

async fn corrected(
    store: &TestStore,
    dead_letter: &DeadLetter,
    body: &str,
    topic: &Topic,
) -> Result<CorrectionResult, CorrectionError> {
    let queue = store.operator();
    let correction = queue.plan_correction(&dead_letter.id, Bytes::from(body.to_owned())).await?;
    let plan = queue.plan_one(OperationKind::Correct, &correction.record, correction.verdict);
    let operation = queue.begin(plan, Some("because".into())).await?;
    queue.correct(&correction, &queue.resolver(&operation, POLICY), topic).await
}

async fn a_correction_is_a_new_event_and_its_dead_letter_is_discarded(store: &TestStore) {
    let (order, t) = (store.own_order(), store.own_time());
    let dead_letter = incomplete(order, t);
    store.record(&dead_letter).await;
    store.order(order, t).await;
    let body = payment_body(5, order);
    let plan = store.operator().plan_correction(&dead_letter.id, Bytes::from(body.clone())).await.unwrap();
    assert_eq!((plan.verdict, plan.t), (Verdict::AppliesNow, EventTime::stored(t + 1)));
    let topic = Topic::default();
    let done = corrected(store, &dead_letter, &body, &topic).await.unwrap();
    assert_eq!((done.t, done.outcome), (EventTime::stored(t + 1), ActualOutcome::Discarded));
    let [received] = &topic.received()[..] else { panic!("one message") };
    assert_eq!((received.event_time(), &received.message.body[..]), (done.t, body.as_bytes()));
    let attribute = |name| received.message.attributes.get(name);
    assert_eq!((attribute("dlq_corrects"), attribute("tenant")), (Some(dead_letter.id.as_str()), Some("a")));
    assert_eq!(attribute("dlq_reason"), None);
    assert_eq!(store.state(&dead_letter).await, DeadLetterState::Discarded);
    let history = store.history(&dead_letter).await;
    let actions: Vec<HistoryAction> = history.iter().map(|line| line.action).collect();
    assert_eq!(actions, [HistoryAction::Corrected, HistoryAction::Discarded]);
    assert_eq!(history[0].correction.as_ref().unwrap().body, body, "both bodies are kept");
    assert_eq!(history[1].replaced, None, "the row had no payment");
    assert_eq!(
        (history[1].corrected_by.as_deref(), history[1].note.as_deref()),
        (Some("1"), Some("because"))
    );
    let kept = store.dead_letter_store.dead_letter(&dead_letter.id).await.unwrap().unwrap();
    assert_eq!(kept.dead_letter.body, dead_letter.body);

    let again = corrected(store, &dead_letter, &body, &topic).await.unwrap_err();
    assert!(matches!(again, CorrectionError::AlreadyCorrected { .. }), "{again}");
    store.execute(OperationKind::Reopen, &[&dead_letter]).await;
    let second = corrected(store, &dead_letter, &payment_body(6, order), &topic).await.unwrap();
    assert_eq!(second.t, EventTime::stored(t + 2), "a second correction is later than the first");
}

async fn a_correction_killed_anywhere_and_repeated_is_one_event(store: &TestStore) {
    let mut kills = 0;
    for polls in 1..200 {
        let (order, t) = (store.own_order(), store.own_time());
        let dead_letter = incomplete(order, t);
        store.record(&dead_letter).await;
        let (topic, body) = (Topic::default(), payment_body(5, order));
        let first = killed_after(polls, corrected(store, &dead_letter, &body, &topic)).await;
        let was_killed = first.is_none();
        kills += usize::from(was_killed);
        let left = store.state(&dead_letter).await;
        assert!(left.is_open() || !topic.messages().is_empty(), "discarded before it was published");
        match corrected(store, &dead_letter, &body, &topic).await {
            Ok(done) => {
                assert_eq!((done.t, done.outcome), (EventTime::stored(t + 1), ActualOutcome::Discarded))
            }
            Err(CorrectionError::AlreadyCorrected { .. }) => assert_eq!(left, DeadLetterState::Discarded),
            Err(refusal) => panic!("{refusal}, killed after {polls} polls"),
        }
        let messages = topic.messages();
        assert!(!messages.is_empty() && messages.iter().all(|message| *message == messages[0]));
        assert_eq!(store.state(&dead_letter).await, DeadLetterState::Discarded);
        let claims = |line: &&HistoryEntry| line.action == HistoryAction::Corrected;
        assert_eq!(store.history(&dead_letter).await.iter().filter(claims).count(), 1);
        if !was_killed {
            assert!(kills > 5, "{kills} kills");
            return;
        }
    }
    panic!("the correction never ended");
}

async fn two_concurrent_corrections_of_one_dead_letter_have_two_event_times(store: &TestStore) {
    let mut both = 0;
    for _ in 0..store.rounds {
        let (order, t) = (store.own_order(), store.own_time());
        let dead_letter = incomplete(order, t);
        store.record(&dead_letter).await;
        let topic = Topic::default();
        let (one, other) = (payment_body(5, order), payment_body(6, order));
        let done = tokio::join!(
            corrected(store, &dead_letter, &one, &topic),
            corrected(store, &dead_letter, &other, &topic)
        );
        let times: Vec<EventTime> = [done.0, done.1].into_iter().flatten().map(|done| done.t).collect();
        assert!(!times.is_empty());
        both += usize::from(times.len() == 2);
        let mut published: Vec<(EventTime, Bytes)> =
            topic.received().into_iter().map(|it| (it.event_time(), it.message.body)).collect();
        published.sort();
        published.dedup();
        let mut distinct: Vec<EventTime> = published.iter().map(|(t, _)| *t).collect();
        distinct.dedup();
        assert_eq!(distinct.len(), published.len(), "two bodies of one time: {published:?}");
        assert_eq!(store.state(&dead_letter).await, DeadLetterState::Discarded);
    }
    assert!(both > 0, "they never ran concurrently");
}

async fn an_invalid_or_unchanged_body_is_refused(store: &TestStore) {
    let (order, t) = (store.own_order(), store.own_time());
    let dead_letter = orphan(5, order, t);
    store.record(&dead_letter).await;
    let queue = store.operator();
    let refusal = async |body: &str| {
        queue.plan_correction(&dead_letter.id, Bytes::from(body.to_owned())).await.unwrap_err().to_string()
    };
    let missing = refusal(r#"{"order_id":1}"#).await;
    assert!(
        missing.starts_with("the corrected body is not a valid payment: payment_id: missing"),
        "{missing}"
    );
    let cut = refusal("{").await;
    assert!(cut.starts_with("the corrected body is not a valid payment: body: "), "{cut}");
    let same = refusal(&payment_body(5, order)).await;
    assert_eq!(same, "the corrected body is the same as the dead letter's, byte for byte");
    assert_eq!(store.history(&dead_letter).await, []);
}

async fn a_correction_about_another_order_is_refused(store: &TestStore) {
    let (order, t) = (store.own_order(), store.own_time());
    let dead_letter = incomplete(order, t);
    store.record(&dead_letter).await;
    let topic = Topic::default();
    let refused = corrected(store, &dead_letter, &payment_body(5, order + 1), &topic).await.unwrap_err();
    let expected = format!(
        "the dead letter is about order {order}, but the corrected body is about order {}",
        order + 1
    );
    assert_eq!(refused.to_string(), expected);
    assert!(topic.messages().is_empty());
}

async fn the_first_correction_fixes_the_order_of_a_dead_letter_that_named_none(store: &TestStore) {
    let (order, t) = (store.own_order(), store.own_time());
    let unreadable = dead_letter(EventKind::Payment, t, Reason::Undecodable, b"{");
    store.record(&unreadable).await;
    let topic = Topic::default();
    corrected(store, &unreadable, &payment_body(5, order), &topic).await.unwrap();
    store.execute(OperationKind::Reopen, &[&unreadable]).await;
    let refused = corrected(store, &unreadable, &payment_body(5, order + 1), &topic).await.unwrap_err();
    assert!(
        matches!(refused, CorrectionError::DifferentOrder { was, .. } if was == OrderId(order)),
        "{refused}"
    );
}

async fn of_two_payments_with_one_event_time_either_can_be_chosen(store: &TestStore) {
    let (order, t) = (store.own_order(), store.own_time());
    let tie = dead_letter(EventKind::Payment, t, Reason::TimestampTie, payment_body(2, order).as_bytes());
    let tie = DeadLetter { order_id: Some(OrderId(order)), ..tie };
    store.record(&tie).await;
    store.order(order, t).await;
    let (topic, body) = (Topic::default(), payment_body(2, order));
    let nothing_to_choose = corrected(store, &tie, &body, &topic).await.unwrap_err();
    assert!(matches!(nothing_to_choose, CorrectionError::Unchanged), "{nothing_to_choose}");
    store.payment(1, order, t).await;
    let plan = store.operator().plan_correction(&tie.id, Bytes::from(body.clone())).await.unwrap();
    assert_eq!((plan.verdict, plan.t), (Verdict::AppliesNow, EventTime::stored(t + 1)));
    let text = ecom::render::correction::plan(&plan);
    assert!(
        text.contains("the body is unchanged, but a microsecond later than the event it conflicts with"),
        "{text}"
    );
    let done = corrected(store, &tie, &body, &topic).await.unwrap();
    assert_eq!((done.t, done.outcome), (EventTime::stored(t + 1), ActualOutcome::Discarded));
    assert_eq!(topic.received()[0].message.body, body.as_bytes());
}

async fn closed_dead_letters_are_not_corrected(store: &TestStore) {
    let dead_letters = store.one_of_each().await;
    let (topic, queue) = (Topic::default(), store.operator());
    let body = payment_body(77, dead_letters[0].order_id.unwrap().0);
    let plan = queue.plan_correction(&dead_letters[0].id, Bytes::from(body.clone())).await.unwrap();
    store.execute(OperationKind::Retry, &[&dead_letters[0]]).await;
    let refused = corrected(store, &dead_letters[0], &body, &topic).await.unwrap_err();
    assert!(
        matches!(refused, CorrectionError::NotOpen { state: DeadLetterState::Recovered, .. }),
        "{refused}"
    );
    // Closed between plan and confirmation.
    let operation =
        queue.begin(queue.plan_one(OperationKind::Correct, &plan.record, plan.verdict), None).await.unwrap();
    let refused = queue.correct(&plan, &queue.resolver(&operation, POLICY), &topic).await.unwrap_err();
    assert!(
        matches!(refused, CorrectionError::NotOpen { state: DeadLetterState::Recovered, .. }),
        "{refused}"
    );
    let never = orphan(1, 1, store.own_time());
    let refused = corrected(store, &never, &body, &topic).await.unwrap_err();
    assert!(matches!(refused, CorrectionError::NotFound(_)), "{refused}");
    assert!(topic.messages().is_empty());
}

async fn a_corrected_order_recovers_its_open_payments(store: &TestStore) {
    let (order, t) = (store.own_order(), store.own_time());
    let bad = DeadLetter {
        order_id: Some(OrderId(order)),
        ..dead_letter(EventKind::Order, t, Reason::Invalid, format!(r#"{{"order_id":{order}}}"#).as_bytes())
    };
    let payment = orphan(5, order, t + 9);
    for dead_letter in [&bad, &payment] {
        store.record(dead_letter).await;
    }
    let (queue, topic) = (store.operator(), Topic::default());
    let plan = queue.plan_correction(&bad.id, Bytes::from(order_body(order))).await.unwrap();
    assert_eq!(plan.verdict, Verdict::AppliesNow);
    let operation =
        queue.begin(queue.plan_one(OperationKind::Correct, &plan.record, plan.verdict), None).await.unwrap();
    let resolver = queue.resolver(&operation, POLICY);
    let done = queue.correct(&plan, &resolver, &topic).await.unwrap();
    let not_yet = queue.correction_status(&plan, &done, &resolver, Duration::ZERO).await.unwrap();
    assert_eq!((not_yet, store.state(&payment).await), (CorrectionStatus::Pending, DeadLetterState::Waiting));
    // The consumer handles it while the correction waits.
    let consumed = async {
        for received in topic.received() {
            let order = json::order(&received.message.body).unwrap();
            store.facts.record_order(&order, received.event_time()).await.unwrap();
        }
    };
    let patience = Duration::from_secs(60);
    let (status, ()) = tokio::join!(queue.correction_status(&plan, &done, &resolver, patience), consumed);
    assert_eq!(status.unwrap(), CorrectionStatus::Applied(Verdict::AlreadyApplied));
    assert_eq!(store.state(&payment).await, DeadLetterState::Recovered, "at once");
    assert_eq!(store.shown(order).await, Some(5));
    let operation = queue.finish_correction(operation, done.outcome).await.unwrap();
    assert_eq!(
        store.operations.operation(&operation.id).await.unwrap().unwrap().outcomes,
        [("discarded".to_owned(), 1)]
    );
}

async fn a_correction_that_is_dead_lettered_again_is_reported(store: &TestStore) {
    let (order, t) = (store.own_order(), store.own_time());
    let dead_letter = incomplete(order, t);
    store.record(&dead_letter).await;
    let (queue, topic) = (store.operator(), Topic::default());
    let plan = queue.plan_correction(&dead_letter.id, Bytes::from(payment_body(5, order))).await.unwrap();
    assert_eq!(plan.verdict, Verdict::StillWaiting);
    let operation =
        queue.begin(queue.plan_one(OperationKind::Correct, &plan.record, plan.verdict), None).await.unwrap();
    let resolver = queue.resolver(&operation, POLICY);
    let done = queue.correct(&plan, &resolver, &topic).await.unwrap();
    let received = topic.received().remove(0);
    let failure = envelope::DeliveryFailure {
        reason: Reason::OrderNotFound,
        detail: "order not found",
        kind: EventKind::Payment,
        source_subscription: "payments_data-sub",
        order_id: Some(OrderId(order)),
        payment_id: Some(5),
        failed_at: NOW,
    };
    let (_, message) = envelope::encode(&received, screen(&received.message.body), &failure);
    let back = ecom_bus::ReceivedMessage { message, ..received };
    let back = envelope::decode(&back);
    assert_eq!((back.t, back.corrects.as_ref()), (done.t, Some(&dead_letter.id)));
    store.record(&back).await;
    let status = queue.correction_status(&plan, &done, &resolver, Duration::from_secs(60)).await.unwrap();
    assert_eq!(status, CorrectionStatus::DeadLettered(back.id));
}

async fn a_correction_never_takes_the_event_time_that_the_row_holds(store: &TestStore) {
    let (order, t) = (store.own_order(), store.own_time());
    let dead_letter = incomplete(order, t);
    store.record(&dead_letter).await;
    store.order(order, t - 10).await;
    // The next event of the batch that the broken one was in.
    store.payment(4, order, t + 1).await;
    let body = payment_body(5, order);
    let plan = store.operator().plan_correction(&dead_letter.id, Bytes::from(body.clone())).await.unwrap();
    assert_eq!((plan.verdict, plan.t), (Verdict::AppliesNow, EventTime::stored(t + 2)));
    let done = corrected(store, &dead_letter, &body, &Topic::default()).await.unwrap();
    assert_eq!(done.t, EventTime::stored(t + 2), "published as planned");
    let replaced = store.history(&dead_letter).await.last().and_then(|entry| entry.replaced.clone());
    assert!(replaced.unwrap().contains("\"payment_id\":4"));
}
