//! Corrections: one event however often and wherever they were killed, and never of another order.

use bytes::Bytes;
use ecom_codec::envelope;
use ecom_codec::json;
use ecom_codec::screen::screen;
use ecom_dlq::correct::{Corrected, Refusal, Taken};
use ecom_domain::event_time::EventTime;
use ecom_domain::letter::{Action, HistoryEntry, Kind, Letter, State};
use ecom_domain::order::OrderId;
use ecom_domain::outcome::Outcome;
use ecom_domain::reason::Reason;
use ecom_domain::run::Deed;
use ecom_domain::verdict::Verdict;
use std::time::Duration;

use super::bench::*;
use super::on_every_store;

on_every_store![
    a_correction_is_a_new_event_and_its_letter_is_discarded_for_it,
    a_correction_killed_anywhere_and_typed_again_is_one_event,
    two_desks_that_correct_one_letter_at_once_give_two_events_of_two_times,
    a_body_that_is_no_event_or_the_same_is_refused,
    a_correction_stays_with_its_order,
    the_first_correction_fixes_the_order_of_a_letter_that_named_none,
    of_two_payments_of_one_time_either_can_be_chosen,
    what_is_closed_is_not_corrected,
    a_corrected_order_lets_its_open_payments_through,
    a_correction_that_is_refused_in_its_turn_is_told_to_be_back,
];

/// A letter about a payment whose status is missing.
fn incomplete(order: i64, t: i64) -> Letter {
    let mut invalid =
        letter(Kind::Payment, t, Reason::Invalid, format!(r#"{{"order_id":{order}}}"#).as_bytes());
    invalid.order_id = Some(OrderId(order));
    invalid.attributes.insert("tenant", "a");
    invalid
}

async fn corrected(bench: &Bench, letter: &Letter, body: &str, topic: &Topic) -> Result<Corrected, Refusal> {
    let desk = bench.desk();
    let proposal = desk.propose(&letter.id, Bytes::from(body.to_owned())).await?;
    let plan = desk.plan_for(Deed::Correct, &proposal.record, proposal.verdict);
    let run = desk.begin(plan, Some("because".into())).await?;
    desk.correct(&proposal, &desk.settler(&run, POLICY), topic).await
}

async fn a_correction_is_a_new_event_and_its_letter_is_discarded_for_it(bench: &Bench) {
    let (order, t) = (bench.own_order(), bench.own_time());
    let letter = incomplete(order, t);
    bench.record(&letter).await;
    bench.order(order, t).await;
    let body = payment_body(5, order);
    let proposal = bench.desk().propose(&letter.id, Bytes::from(body.clone())).await.unwrap();
    assert_eq!((proposal.verdict, proposal.t), (Verdict::AppliesNow, EventTime::stored(t + 1)));
    let topic = Topic::default();
    let done = corrected(bench, &letter, &body, &topic).await.unwrap();
    assert_eq!((done.t, done.outcome), (EventTime::stored(t + 1), Outcome::Discarded));
    let [received] = &topic.received()[..] else { panic!("one message") };
    assert_eq!((received.event_time(), &received.message.body[..]), (done.t, body.as_bytes()));
    let attribute = |name| received.message.attributes.get(name);
    assert_eq!((attribute("dlq_corrects"), attribute("tenant")), (Some(letter.id.as_str()), Some("a")));
    assert_eq!(attribute("dlq_reason"), None);
    assert_eq!(bench.state(&letter).await, State::Discarded);
    let history = bench.history(&letter).await;
    let actions: Vec<Action> = history.iter().map(|line| line.action).collect();
    assert_eq!(actions, [Action::Corrected, Action::Discarded]);
    assert_eq!(history[0].outcome, body, "both bodies are kept");
    assert_eq!(history[1].note.as_deref(), Some("corrected by message 1: because"));
    let kept = bench.ledger.letter(&letter.id).await.unwrap().unwrap();
    assert_eq!(kept.letter.body, letter.body);

    let again = corrected(bench, &letter, &body, &topic).await.unwrap_err();
    assert!(matches!(again, Refusal::Done { .. }), "{again}");
    bench.act(Deed::Reopen, &[&letter]).await;
    let second = corrected(bench, &letter, &payment_body(6, order), &topic).await.unwrap();
    assert_eq!(second.t, EventTime::stored(t + 2), "a second correction is later than the first");
}

async fn a_correction_killed_anywhere_and_typed_again_is_one_event(bench: &Bench) {
    let mut kills = 0;
    for polls in 1..200 {
        let (order, t) = (bench.own_order(), bench.own_time());
        let letter = incomplete(order, t);
        bench.record(&letter).await;
        let (topic, body) = (Topic::default(), payment_body(5, order));
        let first = killed_after(polls, corrected(bench, &letter, &body, &topic)).await;
        let was_killed = first.is_none();
        kills += usize::from(was_killed);
        let left = bench.state(&letter).await;
        assert!(left.is_open() || !topic.messages().is_empty(), "discarded before it was published");
        match corrected(bench, &letter, &body, &topic).await {
            Ok(done) => assert_eq!((done.t, done.outcome), (EventTime::stored(t + 1), Outcome::Discarded)),
            Err(Refusal::Done { .. }) => assert_eq!(left, State::Discarded),
            Err(refusal) => panic!("{refusal}, killed after {polls} polls"),
        }
        let messages = topic.messages();
        assert!(!messages.is_empty() && messages.iter().all(|message| *message == messages[0]));
        assert_eq!(bench.state(&letter).await, State::Discarded);
        let claims = |line: &&HistoryEntry| line.action == Action::Corrected;
        assert_eq!(bench.history(&letter).await.iter().filter(claims).count(), 1);
        if !was_killed {
            assert!(kills > 5, "{kills} kills");
            return;
        }
    }
    panic!("it never came to its end");
}

async fn two_desks_that_correct_one_letter_at_once_give_two_events_of_two_times(bench: &Bench) {
    let mut both = 0;
    for _ in 0..bench.rounds {
        let (order, t) = (bench.own_order(), bench.own_time());
        let letter = incomplete(order, t);
        bench.record(&letter).await;
        let topic = Topic::default();
        let (one, other) = (payment_body(5, order), payment_body(6, order));
        let done =
            tokio::join!(corrected(bench, &letter, &one, &topic), corrected(bench, &letter, &other, &topic));
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
        assert_eq!(bench.state(&letter).await, State::Discarded);
    }
    assert!(both > 0, "they never met");
}

async fn a_body_that_is_no_event_or_the_same_is_refused(bench: &Bench) {
    let (order, t) = (bench.own_order(), bench.own_time());
    let letter = orphan(5, order, t);
    bench.record(&letter).await;
    let desk = bench.desk();
    let refusal = async |body: &str| {
        desk.propose(&letter.id, Bytes::from(body.to_owned())).await.unwrap_err().to_string()
    };
    let missing = refusal(r#"{"order_id":1}"#).await;
    assert!(missing.starts_with("the corrected body is no payment: payment_id: missing"), "{missing}");
    let cut = refusal("{").await;
    assert!(cut.starts_with("the corrected body is no payment: body: "), "{cut}");
    let same = refusal(&payment_body(5, order)).await;
    assert_eq!(same, "the body is the letter's own, byte for byte");
    assert_eq!(bench.history(&letter).await, []);
}

async fn a_correction_stays_with_its_order(bench: &Bench) {
    let (order, t) = (bench.own_order(), bench.own_time());
    let letter = incomplete(order, t);
    bench.record(&letter).await;
    let topic = Topic::default();
    let refused = corrected(bench, &letter, &payment_body(5, order + 1), &topic).await.unwrap_err();
    let expected = format!("the letter is about order {order}, the corrected body about order {}", order + 1);
    assert_eq!(refused.to_string(), expected);
    assert!(topic.messages().is_empty());
}

async fn the_first_correction_fixes_the_order_of_a_letter_that_named_none(bench: &Bench) {
    let (order, t) = (bench.own_order(), bench.own_time());
    let unreadable = letter(Kind::Payment, t, Reason::Undecodable, b"{");
    bench.record(&unreadable).await;
    let topic = Topic::default();
    corrected(bench, &unreadable, &payment_body(5, order), &topic).await.unwrap();
    bench.act(Deed::Reopen, &[&unreadable]).await;
    let refused = corrected(bench, &unreadable, &payment_body(5, order + 1), &topic).await.unwrap_err();
    assert!(matches!(refused, Refusal::OtherOrder { was, .. } if was == OrderId(order)), "{refused}");
}

async fn of_two_payments_of_one_time_either_can_be_chosen(bench: &Bench) {
    let (order, t) = (bench.own_order(), bench.own_time());
    let tie = letter(Kind::Payment, t, Reason::TimestampTie, payment_body(2, order).as_bytes());
    let tie = Letter { order_id: Some(OrderId(order)), ..tie };
    bench.record(&tie).await;
    bench.order(order, t).await;
    let (topic, body) = (Topic::default(), payment_body(2, order));
    let nothing_to_choose = corrected(bench, &tie, &body, &topic).await.unwrap_err();
    assert!(matches!(nothing_to_choose, Refusal::Same), "{nothing_to_choose}");
    bench.payment(1, order, t).await;
    let proposal = bench.desk().propose(&tie.id, Bytes::from(body.clone())).await.unwrap();
    assert_eq!((proposal.verdict, proposal.t), (Verdict::AppliesNow, EventTime::stored(t + 1)));
    let text = ecom::render::correction::proposal("a store", &proposal);
    assert!(text.contains("the letter's own body, at a later time than the event it ties with"), "{text}");
    let done = corrected(bench, &tie, &body, &topic).await.unwrap();
    assert_eq!((done.t, done.outcome), (EventTime::stored(t + 1), Outcome::Discarded));
    assert_eq!(topic.received()[0].message.body, body.as_bytes());
}

async fn what_is_closed_is_not_corrected(bench: &Bench) {
    let letters = bench.one_of_each().await;
    let (topic, desk) = (Topic::default(), bench.desk());
    let body = payment_body(77, letters[0].order_id.unwrap().0);
    let proposal = desk.propose(&letters[0].id, Bytes::from(body.clone())).await.unwrap();
    bench.act(Deed::Retry, &[&letters[0]]).await;
    let refused = corrected(bench, &letters[0], &body, &topic).await.unwrap_err();
    assert!(matches!(refused, Refusal::Closed { state: State::Recovered, .. }), "{refused}");
    // Closed while somebody read the difference.
    let run =
        desk.begin(desk.plan_for(Deed::Correct, &proposal.record, proposal.verdict), None).await.unwrap();
    let refused = desk.correct(&proposal, &desk.settler(&run, POLICY), &topic).await.unwrap_err();
    assert!(matches!(refused, Refusal::Closed { state: State::Recovered, .. }), "{refused}");
    let never = orphan(1, 1, bench.own_time());
    let refused = corrected(bench, &never, &body, &topic).await.unwrap_err();
    assert!(matches!(refused, Refusal::Unknown(_)), "{refused}");
    assert!(topic.messages().is_empty());
}

async fn a_corrected_order_lets_its_open_payments_through(bench: &Bench) {
    let (order, t) = (bench.own_order(), bench.own_time());
    let bad = Letter {
        order_id: Some(OrderId(order)),
        ..letter(Kind::Order, t, Reason::Invalid, format!(r#"{{"order_id":{order}}}"#).as_bytes())
    };
    let payment = orphan(5, order, t + 9);
    for letter in [&bad, &payment] {
        bench.record(letter).await;
    }
    let (desk, topic) = (bench.desk(), Topic::default());
    let proposal = desk.propose(&bad.id, Bytes::from(order_body(order))).await.unwrap();
    assert_eq!(proposal.verdict, Verdict::AppliesNow);
    let run =
        desk.begin(desk.plan_for(Deed::Correct, &proposal.record, proposal.verdict), None).await.unwrap();
    let settler = desk.settler(&run, POLICY);
    let done = desk.correct(&proposal, &settler, &topic).await.unwrap();
    let not_yet = desk.taken(&proposal, &done, &settler, Duration::ZERO).await.unwrap();
    assert_eq!((not_yet, bench.state(&payment).await), (Taken::NotYet, State::Waiting));
    // The consumer takes it while the desk waits.
    let consumed = async {
        for received in topic.received() {
            let order = json::order(&received.message.body).unwrap();
            bench.facts.record_order(&order, received.event_time()).await.unwrap();
        }
    };
    let patience = Duration::from_secs(60);
    let (taken, ()) = tokio::join!(desk.taken(&proposal, &done, &settler, patience), consumed);
    assert_eq!(taken.unwrap(), Taken::Shown(Verdict::AlreadyApplied));
    assert_eq!(bench.state(&payment).await, State::Recovered, "at once");
    assert_eq!(bench.shown(order).await, Some(5));
    let run = desk.finish(run, done.outcome).await.unwrap();
    assert_eq!(bench.journal.run(&run.id).await.unwrap().unwrap().outcomes, [("discarded".to_owned(), 1)]);
}

async fn a_correction_that_is_refused_in_its_turn_is_told_to_be_back(bench: &Bench) {
    let (order, t) = (bench.own_order(), bench.own_time());
    let letter = incomplete(order, t);
    bench.record(&letter).await;
    let (desk, topic) = (bench.desk(), Topic::default());
    let proposal = desk.propose(&letter.id, Bytes::from(payment_body(5, order))).await.unwrap();
    assert_eq!(proposal.verdict, Verdict::StillWaiting);
    let run =
        desk.begin(desk.plan_for(Deed::Correct, &proposal.record, proposal.verdict), None).await.unwrap();
    let settler = desk.settler(&run, POLICY);
    let done = desk.correct(&proposal, &settler, &topic).await.unwrap();
    let received = topic.received().remove(0);
    let failure = envelope::Failure {
        reason: Reason::OrderNotFound,
        detail: "order not found".into(),
        kind: Kind::Payment,
        source_subscription: "payments_data-sub".into(),
        order_id: Some(OrderId(order)),
        payment_id: Some(5),
        failed_at: NOW,
    };
    let (_, message) = envelope::encode(&received, screen(&received.message.body), &failure);
    let back = ecom_bus::Received { message, ..received };
    let back = envelope::decode(&back);
    assert_eq!((back.t, back.corrects.as_ref()), (done.t, Some(&letter.id)));
    bench.record(&back).await;
    let taken = desk.taken(&proposal, &done, &settler, Duration::from_secs(60)).await.unwrap();
    assert_eq!(taken, Taken::CameBack(back.id));
}
