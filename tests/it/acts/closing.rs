//! Discarding and reopening: by precedence, whoever else is at work, and no letter gone.

use std::time::Duration;

use ecom_clock::Clock;
use ecom_dlq::plan::Purpose;
use ecom_domain::letter::{Action, Kind, Letter, State};
use ecom_domain::outcome::Outcome;
use ecom_domain::reason::Reason;
use ecom_domain::run::Deed;
use ecom_pipeline::retries::RetryPolicy;
use ecom_pipeline::settler::{Occasion, Settler, Stand};

use super::bench::*;
use super::on_every_store;

on_every_store![
    a_discard_closes_what_is_open_and_is_signed,
    discarding_twice_changes_nothing,
    what_has_its_effect_is_recovered_and_not_discarded,
    a_handler_does_not_undo_a_discard,
    a_discarded_letter_is_closed_once_a_redelivery_applied_it,
    a_reopened_letter_waits_again_and_is_applied,
    a_reopened_letter_has_its_time_again,
    a_letter_whose_body_is_no_event_is_reopened_for_a_human,
    a_reopened_letter_of_a_handlers_panic_is_tried,
    only_what_is_parked_or_discarded_is_reopened,
];

async fn a_discard_closes_what_is_open_and_is_signed(bench: &Bench) {
    let (order, t) = (bench.own_order(), bench.own_time());
    let [waiting, poison] = [orphan(1, order, t), letter(Kind::Payment, t + 1, Reason::Invalid, b"{}")];
    for letter in [&waiting, &poison] {
        bench.record(letter).await;
    }
    let ended = bench.act(Deed::Discard, &[&waiting, &poison]).await;
    assert_eq!(ended.tally.outcomes[&Outcome::Discarded], 2);
    for letter in [&waiting, &poison] {
        assert_eq!(bench.state(letter).await, State::Discarded);
        let history = bench.history(letter).await;
        let [line] = &history[..] else { panic!("{history:?}") };
        assert_eq!(
            (line.action, line.actor.as_str(), line.host.as_str()),
            (Action::Discarded, "ada", "desk")
        );
        assert_eq!(line.note.as_deref(), Some("because"));
        assert_eq!(line.run_id.as_deref(), Some(ended.run.id.as_str()));
    }
}

async fn discarding_twice_changes_nothing(bench: &Bench) {
    let letter = orphan(1, bench.own_order(), bench.own_time());
    bench.record(&letter).await;
    bench.act(Deed::Discard, &[&letter]).await;
    let before = bench.ledger.letter(&letter.id).await.unwrap();
    let desk = bench.desk();
    let plan = desk.plan(Deed::Discard, named(&[&letter]), Purpose::Look, &|_| {}).await.unwrap();
    assert_eq!((plan.letters, plan.left_out[&State::Discarded]), (0, 1));
    // A second desk that planned before the first was done does nothing either.
    let batch = ecom_domain::run::Batch {
        number: 0,
        letters: vec![(letter.id.clone(), ecom_domain::verdict::Verdict::StillWaiting)],
        outcomes: None,
    };
    let run = desk.begin(plan, None).await.unwrap();
    bench.journal.put_batch(&run.id, &batch).await.unwrap();
    let run = ecom_domain::run::Run { letters: 1, batches: 1, ..run };
    let settler = desk.settler(&run, POLICY);
    let ended = desk.work(run, &settler, &pace(ecom_dlq::run::Entry::Fresh, 0)).await.unwrap();
    assert_eq!(ended.tally.outcomes[&Outcome::Discarded], 1);
    assert_eq!(bench.ledger.letter(&letter.id).await.unwrap(), before);
    assert_eq!(bench.history(&letter).await.len(), 1);
}

async fn what_has_its_effect_is_recovered_and_not_discarded(bench: &Bench) {
    let letters = bench.one_of_each().await;
    let ended = bench.act(Deed::Discard, &[&letters[1], &letters[2]]).await;
    assert_eq!(ended.tally.outcomes[&Outcome::Recovered], 2, "{ended:?}");
    for letter in &letters[1..3] {
        assert_eq!(bench.state(letter).await, State::Recovered);
        assert_eq!(bench.history(letter).await[0].action, Action::Recovered);
    }
    let again = bench.act(Deed::Discard, &[&letters[1]]).await;
    assert_eq!(again.run.letters, 0, "a recovered letter stays recovered");
}

async fn a_handler_does_not_undo_a_discard(bench: &Bench) {
    let letter = orphan(1, bench.own_order(), bench.own_time());
    bench.record(&letter).await;
    bench.act(Deed::Discard, &[&letter]).await;
    // Its clock is days ahead: it would park what waits for too long.
    let ahead = Clock::anchored(NOW + 30 * 24 * HOUR);
    let handler = Settler { clock: ahead, ..bench.handler() };
    bench.order(letter.order_id.unwrap().0, letter.t.micros()).await;
    for occasion in [Occasion::Schedule, Occasion::Pass] {
        let stand = handler.attempt(&letter.id, occasion).await.unwrap();
        assert_eq!(stand, Stand::Rests(State::Discarded));
    }
    assert_eq!(bench.shown(letter.order_id.unwrap().0).await, None);
    assert_eq!(bench.history(&letter).await.len(), 1);
}

async fn a_discarded_letter_is_closed_once_a_redelivery_applied_it(bench: &Bench) {
    let (order, t) = (bench.own_order(), bench.own_time());
    let letter = orphan(1, order, t);
    bench.record(&letter).await;
    bench.act(Deed::Discard, &[&letter]).await;
    bench.order(order, t).await;
    bench.payment(1, order, t).await;
    bench.handler().attempt(&letter.id, Occasion::Pass).await.unwrap();
    assert_eq!(bench.state(&letter).await, State::Recovered, "discarding is no fence");
}

async fn a_reopened_letter_waits_again_and_is_applied(bench: &Bench) {
    let (order, t) = (bench.own_order(), bench.own_time());
    let letter = orphan(1, order, t);
    bench.record(&letter).await;
    for round in 1..=3 {
        bench.act(Deed::Discard, &[&letter]).await;
        assert_eq!(bench.state(&letter).await, State::Discarded);
        let ended = bench.act(Deed::Reopen, &[&letter]).await;
        assert_eq!(ended.tally.outcomes[&Outcome::Waiting], 1);
        let progress = bench.ledger.letter(&letter.id).await.unwrap().unwrap().progress;
        assert_eq!((progress.generation, progress.state), (round, Some(State::Waiting)));
    }
    bench.order(order, t).await;
    let stand = bench.handler().attempt(&letter.id, Occasion::Schedule).await.unwrap();
    assert_eq!(stand, Stand::Rests(State::Recovered));
    assert_eq!(bench.shown(order).await, Some(1));
}

async fn a_reopened_letter_has_its_time_again(bench: &Bench) {
    let letter = orphan(1, bench.own_order(), bench.own_time());
    bench.record(&letter).await;
    let impatient =
        || Settler { policy: RetryPolicy { max_age: Duration::from_secs(60), ..POLICY }, ..bench.handler() };
    impatient().attempt(&letter.id, Occasion::Schedule).await.unwrap();
    assert_eq!(bench.state(&letter).await, State::Parked, "it failed hours ago");
    bench.act(Deed::Reopen, &[&letter]).await;
    impatient().attempt(&letter.id, Occasion::Pass).await.unwrap();
    assert_eq!(bench.state(&letter).await, State::Waiting);
    let later = Settler { clock: Clock::anchored(NOW + 120 * SECOND), ..impatient() };
    later.attempt(&letter.id, Occasion::Pass).await.unwrap();
    assert_eq!(bench.state(&letter).await, State::Parked);
}

async fn a_letter_whose_body_is_no_event_is_reopened_for_a_human(bench: &Bench) {
    let t = bench.own_time();
    let masked = Letter {
        reason: Reason::PanDetected,
        ..letter(Kind::Payment, t + 1, Reason::PanDetected, payment_body(1, 1).as_bytes())
    };
    for poison in [letter(Kind::Payment, t, Reason::Undecodable, b"x"), masked] {
        bench.record(&poison).await;
        let ended = bench.act(Deed::Reopen, &[&poison]).await;
        assert_eq!(ended.tally.outcomes[&Outcome::Parked], 1, "parked it was, and stays");
        let progress = bench.ledger.letter(&poison.id).await.unwrap().unwrap().progress;
        assert_eq!((progress.generation, progress.state), (0, None));
        bench.act(Deed::Discard, &[&poison]).await;
        bench.act(Deed::Reopen, &[&poison]).await;
        let progress = bench.ledger.letter(&poison.id).await.unwrap().unwrap().progress;
        assert_eq!((progress.generation, progress.state), (1, Some(State::Parked)));
    }
}

async fn a_reopened_letter_of_a_handlers_panic_is_tried(bench: &Bench) {
    let (order, t) = (bench.own_order(), bench.own_time());
    let failed = Letter {
        order_id: None,
        ..letter(Kind::Order, t, Reason::HandlerFailed, order_body(order).as_bytes())
    };
    bench.record(&failed).await;
    let handler = bench.handler();
    handler.attempt(&failed.id, Occasion::Pass).await.unwrap();
    assert_eq!(bench.state(&failed).await, State::Parked, "nobody retries by itself what panicked");
    bench.act(Deed::Reopen, &[&failed]).await;
    let stand = handler.attempt(&failed.id, Occasion::Schedule).await.unwrap();
    assert_eq!(stand, Stand::Rests(State::Recovered));
}

async fn only_what_is_parked_or_discarded_is_reopened(bench: &Bench) {
    let letters = bench.one_of_each().await;
    bench.act(Deed::Retry, &[&letters[0]]).await;
    let desk = bench.desk();
    let plan = desk.plan(Deed::Reopen, named(&[&letters[0], &letters[3]]), Purpose::Look, &|_| {});
    let plan = plan.await.unwrap();
    let left_out: Vec<(State, u64)> = plan.left_out.into_iter().collect();
    assert_eq!((plan.letters, left_out), (0, vec![(State::Waiting, 1), (State::Recovered, 1)]));
}
