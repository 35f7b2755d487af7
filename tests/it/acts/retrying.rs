//! Trying letters: every verdict comes to what it foretold, and where it does not, the canary stops.

use ecom_dlq::plan::Purpose;
use ecom_dlq::run::{End, Entry};
use ecom_dlq::tally::Difference;
use ecom_domain::letter::{Action, Kind, Letter, LetterBody, LetterId, State};
use ecom_domain::order::OrderId;
use ecom_domain::outcome::Outcome;
use ecom_domain::reason::Reason;
use ecom_domain::run::{Deed, RunState};
use ecom_domain::verdict::Verdict;
use ecom_pipeline::settler::{Occasion, Stand};

use super::bench::*;
use super::on_every_store;

on_every_store![
    every_verdict_ends_as_it_foretold,
    order_letters_end_as_their_verdicts_foretell,
    an_order_that_is_applied_lets_its_open_payments_through_at_once,
    letters_that_are_not_open_are_left_alone,
    a_retry_leaves_the_schedule_of_what_waits_as_it_is,
    a_canary_that_differs_stops_the_run_until_somebody_goes_on,
    a_difference_after_the_canary_is_told_and_stops_nothing,
    a_plan_that_is_only_looked_at_keeps_nothing,
    letters_recorded_after_the_beginning_are_in_no_run,
];

async fn every_verdict_ends_as_it_foretold(bench: &Bench) {
    let letters = bench.one_of_each().await;
    let all: Vec<&Letter> = letters.iter().collect();
    let desk = bench.desk();
    let plan = desk.plan(Deed::Retry, named(&all), Purpose::Look, &|_| {}).await.unwrap();
    assert_eq!(verdicts(&plan), Verdict::ALL.map(|verdict| (verdict, 1)));
    let ended = bench.act(Deed::Retry, &all).await;
    assert_eq!((ended.end, ended.tally.differed), (End::Finished, 0), "{ended:?}");
    let counted: Vec<(Outcome, u64)> = ended.tally.outcomes.into_iter().collect();
    assert_eq!(counted, [(Outcome::Recovered, 3), (Outcome::Waiting, 1), (Outcome::Parked, 2)]);
    let expected =
        [State::Recovered, State::Recovered, State::Recovered, State::Waiting, State::Parked, State::Parked];
    for (letter, state) in letters.iter().zip(expected) {
        assert_eq!(bench.state(letter).await, state, "{letter:?}");
        let history = bench.history(letter).await;
        let [line] = &history[..] else { panic!("{history:?}") };
        assert_eq!((line.actor.as_str(), line.note.as_deref()), ("ada", Some("because")));
        assert_eq!(line.run_id.as_deref(), Some(ended.run.id.as_str()));
    }
    let order = letters[0].order_id.unwrap().0;
    let shown = [bench.shown(order).await, bench.shown(order + 2).await, bench.shown(order + 4).await];
    assert_eq!(shown, [Some(11), Some(32), Some(52)]);
    let kept = bench.journal.run(&ended.run.id).await.unwrap().unwrap();
    assert_eq!(kept, ended.run);
    assert_eq!((kept.state, kept.letters, kept.note.as_deref()), (RunState::Finished, 6, Some("because")));
    let again = bench.act(Deed::Retry, &all).await;
    assert_eq!((again.run.letters, again.tally.differed), (3, 0), "what was recovered is left alone");
}

async fn order_letters_end_as_their_verdicts_foretell(bench: &Bench) {
    let (base, t) = (bench.own_order(), bench.own_time());
    let about = |order: i64| Letter {
        order_id: Some(OrderId(order)),
        ..letter(Kind::Order, t, Reason::HandlerFailed, order_body(order).as_bytes())
    };
    let whole = order_body(base + 5);
    let cut = LetterBody { sha256: Some("00".repeat(32)), ..about(base + 5).body };
    let letters = [
        about(base),
        about(base + 1),
        about(base + 2),
        about(base + 3),
        letter(Kind::Order, t, Reason::Invalid, br#"{"order_id":0}"#),
        Letter { body: cut, ..about(base + 5) },
        Letter { reason: Reason::PanDetected, ..about(base + 6) },
    ];
    assert_eq!(letters[5].body.bytes, whole.as_bytes());
    bench.order(base + 1, t).await;
    bench.order(base + 2, t + 1).await;
    let other = ecom_domain::order::Order { quantity: 99, ..order_event(base + 3) };
    bench.facts.record_order(&other, letters[3].t).await.unwrap();
    for letter in &letters {
        bench.record(letter).await;
    }
    let all: Vec<&Letter> = letters.iter().collect();
    let plan = bench.desk().plan(Deed::Retry, named(&all), Purpose::Look, &|_| {}).await.unwrap();
    let foretold = [
        (Verdict::AppliesNow, 1),
        (Verdict::AlreadyApplied, 1),
        (Verdict::Superseded, 1),
        (Verdict::Conflict, 1),
        (Verdict::Poison, 3),
    ];
    assert_eq!(verdicts(&plan), foretold);
    let ended = bench.act(Deed::Retry, &all).await;
    assert_eq!((ended.end, ended.tally.differed), (End::Finished, 0), "{ended:?}");
    for (letter, recovered) in letters.iter().zip([true, true, true, false, false, false, false]) {
        let expected = if recovered { State::Recovered } else { State::Parked };
        assert_eq!(bench.state(letter).await, expected, "{letter:?}");
    }
    let fact = bench.facts.fact(OrderId(base)).await.unwrap().unwrap();
    assert!(fact.order.matches(&order_event(base)), "{fact:?}");
    assert_eq!(fact.order_written_at, Some(letters[0].t));
    for untouched in [base + 5, base + 6] {
        assert_eq!(bench.facts.fact(OrderId(untouched)).await.unwrap(), None);
    }
}

async fn an_order_that_is_applied_lets_its_open_payments_through_at_once(bench: &Bench) {
    let (order, t) = (bench.own_order(), bench.own_time());
    let failed = Letter {
        order_id: Some(OrderId(order)),
        ..letter(Kind::Order, t, Reason::HandlerFailed, order_body(order).as_bytes())
    };
    let [older, newer, discarded] =
        [orphan(1, order, t + 1), orphan(2, order, t + 2), orphan(3, order, t + 3)];
    for letter in [&failed, &older, &newer, &discarded] {
        bench.record(letter).await;
    }
    bench.act(Deed::Discard, &[&discarded]).await;
    let desk = bench.desk();
    let run = bench.begin(&desk, Deed::Retry, &[&newer, &failed]).await;
    for (number, alone) in [(0, &failed), (1, &newer)] {
        let part = bench.journal.batch(&run.id, number).await.unwrap().unwrap().letters;
        let part: Vec<LetterId> = part.into_iter().map(|(id, _)| id).collect();
        assert_eq!(part, ids(&[alone]), "the order is done before its payment is begun");
    }
    let ended = desk.work(run.clone(), &desk.settler(&run, POLICY), &pace(Entry::Fresh, 0)).await.unwrap();
    assert_eq!(ended.tally.outcomes[&Outcome::Recovered], 2, "{ended:?}");
    assert_eq!(ended.tally.differed, 0, "the run itself let the payment through: {ended:?}");
    assert_eq!(bench.state(&older).await, State::Recovered, "it was in no run");
    assert_eq!(bench.state(&discarded).await, State::Discarded);
    assert_eq!(bench.shown(order).await, Some(2));
}

async fn letters_that_are_not_open_are_left_alone(bench: &Bench) {
    let (order, t) = (bench.own_order(), bench.own_time());
    let [discarded, recovered] = [orphan(1, order, t), orphan(2, order + 1, t)];
    bench.order(order + 1, t).await;
    for letter in [&discarded, &recovered] {
        bench.record(letter).await;
    }
    bench.act(Deed::Discard, &[&discarded]).await;
    bench.act(Deed::Retry, &[&recovered]).await;
    bench.order(order, t).await;
    let desk = bench.desk();
    let never = orphan(3, order, t + 5);
    let selection = named(&[&discarded, &recovered, &never]);
    let plan = desk.plan(Deed::Retry, selection, Purpose::Look, &|_| {}).await.unwrap();
    assert_eq!((plan.letters, plan.left_out.values().sum::<u64>()), (0, 2));
    assert_eq!(plan.missing.into_iter().collect::<Vec<_>>(), ids(&[&never]));
    let settler = desk.settler(&bench.begin(&desk, Deed::Retry, &[&recovered]).await, POLICY);
    let stand = settler.attempt(&discarded.id, Occasion::Desk).await.unwrap();
    assert_eq!(stand, Stand::Rests(State::Discarded), "reopen it first");
    assert_eq!(bench.shown(order).await, None);
}

async fn a_retry_leaves_the_schedule_of_what_waits_as_it_is(bench: &Bench) {
    let letter = orphan(1, bench.own_order(), bench.own_time());
    bench.record(&letter).await;
    bench.handler().attempt(&letter.id, Occasion::Schedule).await.unwrap();
    let before = bench.ledger.letter(&letter.id).await.unwrap().unwrap().progress;
    assert_eq!(before.attempts, 1);
    bench.act(Deed::Retry, &[&letter]).await;
    assert_eq!(bench.ledger.letter(&letter.id).await.unwrap().unwrap().progress, before);
    assert_eq!(bench.history(&letter).await.last().unwrap().action, Action::Attempted);
}

/// Orphans of orders of their own, in the order a run works through them.
async fn orphans(bench: &Bench, count: i64) -> Vec<Letter> {
    let (base, t) = (bench.own_order(), bench.own_time());
    let mut letters: Vec<Letter> =
        (0..count).map(|nth| orphan(100 + nth, base * 100 + nth, t + nth)).collect();
    letters.sort_by(|one, other| one.id.cmp(&other.id));
    for letter in &letters {
        bench.record(letter).await;
    }
    letters
}

async fn a_canary_that_differs_stops_the_run_until_somebody_goes_on(bench: &Bench) {
    let letters = orphans(bench, 12).await;
    let all: Vec<&Letter> = letters.iter().collect();
    let desk = bench.desk();
    let run = bench.begin(&desk, Deed::Retry, &all).await;
    let planned = bench.journal.batch(&run.id, 0).await.unwrap().unwrap().letters;
    // What was foretold to wait has its order now.
    let third = letters.iter().find(|letter| letter.id == planned[2].0).unwrap();
    bench.order(third.order_id.unwrap().0, third.t.micros()).await;

    let settler = desk.settler(&run, POLICY);
    let id = run.id.clone();
    let ended = desk.work(run, &settler, &pace(Entry::Fresh, 5)).await.unwrap();
    assert_eq!((ended.end, ended.run.state), (End::Differed, RunState::Stopped), "{ended:?}");
    let (foretold, outcome) = (Verdict::StillWaiting, Outcome::Recovered);
    assert_eq!(ended.tally.differences, [Difference { id: third.id.clone(), foretold, outcome }]);
    assert_eq!(ended.tally.letters(), 5, "no letter after the canary was touched");
    for (later, _) in &planned[5..] {
        let history = bench.ledger.history(later).await.unwrap();
        assert_eq!(history.len(), 1, "{history:?}");
    }

    // A desk that was killed before it could tell stops again; one whose human has seen it goes on.
    let stopped = bench.journal.run(&id).await.unwrap().unwrap();
    assert_eq!(stopped, ended.run);
    let killed = ecom_domain::run::Run {
        state: RunState::Begun,
        outcomes: Vec::new(),
        revision: stopped.revision + 1,
        ..stopped
    };
    bench.journal.put_run(&killed).await.unwrap();
    let again = desk.work(killed, &settler, &pace(Entry::Resumed, 5)).await.unwrap();
    assert_eq!((again.end, again.tally.letters()), (End::Differed, 5), "{again:?}");
    let on = desk.work(again.run, &settler, &pace(Entry::Resumed, 5)).await.unwrap();
    assert_eq!((on.end, on.run.state), (End::Finished, RunState::Finished), "{on:?}");
    let counted: Vec<(Outcome, u64)> = on.tally.outcomes.clone().into_iter().collect();
    assert_eq!(counted, [(Outcome::Recovered, 1), (Outcome::Waiting, 11)]);
    assert_eq!(bench.journal.run(&id).await.unwrap().unwrap(), on.run);
}

async fn a_difference_after_the_canary_is_told_and_stops_nothing(bench: &Bench) {
    let letters = orphans(bench, 8).await;
    let all: Vec<&Letter> = letters.iter().collect();
    let desk = bench.desk();
    let run = bench.begin(&desk, Deed::Retry, &all).await;
    let planned = bench.journal.batch(&run.id, 0).await.unwrap().unwrap().letters;
    let last = letters.iter().find(|letter| letter.id == planned[7].0).unwrap();
    bench.order(last.order_id.unwrap().0, last.t.micros()).await;
    let settler = desk.settler(&run, POLICY);
    let ended = desk.work(run, &settler, &pace(Entry::Fresh, 5)).await.unwrap();
    assert_eq!((ended.end, ended.tally.differed), (End::Finished, 1), "{ended:?}");
    assert_eq!((ended.run.state, ended.tally.letters()), (RunState::Finished, 8));
}

async fn a_plan_that_is_only_looked_at_keeps_nothing(bench: &Bench) {
    let letters = orphans(bench, 3).await;
    let all: Vec<&Letter> = letters.iter().collect();
    let plan = bench.desk().plan(Deed::Discard, named(&all), Purpose::Look, &|_| {}).await.unwrap();
    assert_eq!(plan.letters, 3);
    assert_eq!(bench.journal.run(plan.run_id()).await.unwrap(), None);
    assert_eq!(bench.journal.batch(plan.run_id(), 0).await.unwrap(), None);
    for letter in &letters {
        assert_eq!(bench.history(letter).await, []);
    }
}

async fn letters_recorded_after_the_beginning_are_in_no_run(bench: &Bench) {
    let (order, t) = (bench.own_order(), bench.own_time());
    let [early, late] = [orphan(1, order, t), orphan(2, order, t + 1)];
    bench.record(&early).await;
    let desk = bench.desk();
    let about = ecom_dlq::selection::Selection { order: early.order_id, ..Default::default() };
    let plan = desk.plan(Deed::Retry, about, Purpose::Begin, &|_| {}).await.unwrap();
    bench.record(&late).await;
    let run = desk.begin(plan, None).await.unwrap();
    let settler = desk.settler(&run, POLICY);
    let ended = desk.work(run, &settler, &pace(Entry::Fresh, 0)).await.unwrap();
    assert_eq!(ended.tally.letters(), 1);
    assert_eq!(bench.history(&late).await, []);
}
