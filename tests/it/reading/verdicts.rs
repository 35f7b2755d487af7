//! Every verdict from a constructed situation, on every store there is.

use ecom_dlq::cause::{Cause, DLQ_HANDLER, ORDER_CONSUMER, PAYMENT_CONSUMER};
use ecom_dlq::selection::{Detail, Selection};
use ecom_dlq::triage::{Group, Triage};
use ecom_domain::letter::{Act, Action, Change, HistoryEntry, Kind, Letter, State};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_domain::verdict::Verdict;
use futures_util::TryStreamExt;

use super::place::*;

/// One letter of each verdict, each about an order of its own.
struct Situation {
    applies: Letter,
    applied: Letter,
    superseded: Letter,
    waiting: Letter,
    conflict: Letter,
    poison: Letter,
}

impl Situation {
    async fn on(place: &Place) -> Self {
        let t = NOW - 6 * HOUR;
        let situation = Self {
            applies: orphan(11, 1, t),
            applied: orphan(21, 2, t),
            superseded: orphan(31, 3, t),
            waiting: orphan(41, 4, t),
            conflict: Letter { reason: Reason::TimestampTie, ..orphan(51, 5, t) },
            poison: letter(Kind::Payment, t, Reason::Undecodable, b"\xff not an object"),
        };
        for order in [1, 2, 3, 5] {
            place.order(order, t - HOUR).await;
        }
        place.payment(10, 1, t - 1).await;
        place.payment(21, 2, t).await;
        place.payment(32, 3, t + 1).await;
        place.payment(52, 5, t).await;
        for letter in situation.letters() {
            place.record(letter).await;
        }
        situation
    }

    fn letters(&self) -> [&Letter; 6] {
        [&self.applies, &self.applied, &self.superseded, &self.waiting, &self.conflict, &self.poison]
    }
}

fn group(triage: &Triage, verdict: Verdict) -> &Group {
    triage.groups.iter().find(|group| group.verdict == verdict).unwrap()
}

async fn all_alive(place: &Place) {
    for role in [ORDER_CONSUMER, PAYMENT_CONSUMER, DLQ_HANDLER] {
        place.beat(role, 5, Some(NOW)).await;
    }
}

async fn act(place: &Place, letter: &Letter, action: Action, change: Change) {
    let entry = HistoryEntry {
        at: NOW,
        entry_id: format!("{action:?}"),
        action,
        outcome: "done".into(),
        actor: "ada".into(),
        host: "desk".into(),
        note: None,
        run_id: None,
    };
    let act = Act { letter: letter.id.clone(), t: letter.t, change, entry };
    place.ledger.act(&act).await.unwrap();
}

#[tokio::test]
async fn each_situation_has_its_verdict() {
    for place in Place::all("situation").await {
        let situation = Situation::on(&place).await;
        let desk = place.desk();
        for (letter, verdict) in situation.letters().into_iter().zip(Verdict::ALL) {
            let shown = desk.show(&letter.id).await.unwrap().unwrap();
            assert_eq!(shown.verdict, verdict, "{}: {letter:?}", place.name);
            assert_eq!(shown.record.letter, *letter, "{}", place.name);
            assert_eq!(shown.history.len(), 1, "{}", place.name);
            assert!(!shown.next.is_empty(), "{}", place.name);
            let selection = Selection { verdict: Some(verdict), ..Selection::default() };
            let found: Vec<_> = desk.select(&selection, Detail::Brief).try_collect().await.unwrap();
            let ids: Vec<_> = found.iter().map(|selected| &selected.record.letter.id).collect();
            assert_eq!(ids, [&letter.id], "{}: {verdict:?}", place.name);
        }
    }
}

#[tokio::test]
async fn letters_are_triaged_by_verdict_with_the_command_to_run_next() {
    for place in Place::all("triage").await {
        Situation::on(&place).await;
        all_alive(&place).await;
        let triage = place.desk().triage(&POLICY, &|_| {}).await.unwrap();
        assert_eq!((triage.open, triage.causes.len()), (6, 0), "{}: {:?}", place.name, triage.causes);
        let verdicts: Vec<Verdict> = triage.groups.iter().map(|group| group.verdict).collect();
        assert_eq!(verdicts, Verdict::ALL, "{}", place.name);
        for group in &triage.groups {
            assert_eq!((group.letters, group.oldest_at), (1, NOW - 6 * HOUR + 2 * SECOND), "{}", place.name);
        }
        for verdict in [Verdict::AppliesNow, Verdict::AlreadyApplied, Verdict::Superseded] {
            assert_eq!((group(&triage, verdict).closes, group(&triage, verdict).stays), (1, 0));
        }
        let waiting = group(&triage, Verdict::StillWaiting);
        let parks_at = NOW - 6 * HOUR + 2 * SECOND + 7 * DAY;
        assert_eq!((waiting.waits, waiting.first_parks_at), (1, Some(parks_at)), "{}", place.name);
        for verdict in [Verdict::Conflict, Verdict::Poison] {
            assert_eq!((group(&triage, verdict).closes, group(&triage, verdict).stays), (0, 1));
        }
        let next: Vec<String> = triage.next.iter().map(|step| spell(&step.command)).collect();
        let waiting_id = &group(&triage, Verdict::StillWaiting).oldest;
        let poison_id = &group(&triage, Verdict::Poison).oldest;
        let expected = [
            "dlq_handler retry --state open --verdict applies_now".to_owned(),
            "dlq_handler retry --state open --verdict already_applied".to_owned(),
            "dlq_handler retry --state open --verdict superseded".to_owned(),
            format!("dlq_handler show {waiting_id}"),
            "dlq_handler explain 5".to_owned(),
            format!("dlq_handler show {poison_id}"),
        ];
        assert_eq!(next, expected, "{}", place.name);
    }
}

#[tokio::test]
async fn what_is_closed_is_not_triaged_and_what_is_parked_waits_for_the_next_sweep() {
    for place in Place::all("parked").await {
        let situation = Situation::on(&place).await;
        all_alive(&place).await;
        let into = |state| Change::State { generation: 0, state, at: NOW };
        act(&place, &situation.poison, Action::Discarded, into(State::Discarded)).await;
        act(&place, &situation.applied, Action::Recovered, into(State::Recovered)).await;
        act(&place, &situation.applies, Action::Parked, into(State::Parked)).await;
        act(&place, &situation.waiting, Action::Parked, into(State::Parked)).await;
        let due = Change::Schedule { attempts: 3, next_attempt_at: NOW + 2 * SECOND };
        act(&place, &situation.superseded, Action::Attempted, due).await;
        let triage = place.desk().triage(&POLICY, &|_| {}).await.unwrap();
        assert_eq!(triage.open, 4, "{}", place.name);
        let closed_by = |verdict| group(&triage, verdict).closed_by.unwrap() - NOW;
        let sweep = closed_by(Verdict::AppliesNow);
        assert!((HOUR..HOUR + 60 * SECOND).contains(&sweep), "{}: {sweep}", place.name);
        let attempt = closed_by(Verdict::Superseded);
        assert!((2 * SECOND..60 * SECOND).contains(&attempt), "{}: {attempt}", place.name);
        let waiting = group(&triage, Verdict::StillWaiting);
        assert_eq!((waiting.waits, waiting.first_parks_at), (1, None), "{}", place.name);
        let discarded = place.desk().show(&situation.poison.id).await.unwrap().unwrap();
        assert_eq!(spell(&discarded.next[0].command), format!("dlq_handler reopen {}", situation.poison.id));
        let recovered = place.desk().show(&situation.applied.id).await.unwrap().unwrap();
        assert_eq!(recovered.next, [], "{}", place.name);
    }
}

#[tokio::test]
async fn order_letters_and_masked_letters_have_verdicts_too() {
    for place in Place::all("orders").await {
        let t = NOW - HOUR;
        let order = letter(Kind::Order, t, Reason::HandlerFailed, order_body(8).as_bytes());
        let masked = Letter {
            reason: Reason::PanDetected,
            ..letter(Kind::Payment, t, Reason::PanDetected, payment_body(91, 9).as_bytes())
        };
        place.order(9, t).await;
        for letter in [&order, &masked] {
            place.record(letter).await;
        }
        let desk = place.desk();
        assert_eq!(
            desk.show(&order.id).await.unwrap().unwrap().verdict,
            Verdict::AppliesNow,
            "{}",
            place.name
        );
        assert_eq!(
            desk.show(&masked.id).await.unwrap().unwrap().verdict,
            Verdict::Poison,
            "{}: the body is not what was sent",
            place.name
        );
        all_alive(&place).await;
        let triage = desk.triage(&POLICY, &|_| {}).await.unwrap();
        assert_eq!(group(&triage, Verdict::AppliesNow).stays, 1, "nobody retries what made a handler panic");
        place.order(8, t).await;
        assert_eq!(desk.show(&order.id).await.unwrap().unwrap().verdict, Verdict::AlreadyApplied);
        let triage = desk.triage(&POLICY, &|_| {}).await.unwrap();
        assert_eq!(group(&triage, Verdict::AlreadyApplied).closes, 1, "but a sweep sees that it is there");
    }
}

#[tokio::test]
async fn the_cause_is_the_role_that_is_not_there() {
    for place in Place::all("cause").await {
        for payment in 0..20 {
            place.record(&orphan(1_000 + payment, 100 + payment, NOW - HOUR + payment * SECOND)).await;
        }
        place.beat(ORDER_CONSUMER, 6 * 3_600 + 120, Some(NOW - 6 * HOUR)).await;
        place.beat(DLQ_HANDLER, 3, None).await;
        let triage = place.desk().triage(&POLICY, &|_| {}).await.unwrap();
        let [silent, unseen] = &triage.causes[..] else { panic!("{:?}", triage.causes) };
        let seen_at = NOW - 6 * HOUR - 120 * SECOND;
        let (host, version) = ("worker-1".to_owned(), "0.1.0".to_owned());
        assert_eq!(*silent, Cause::Silent { role: ORDER_CONSUMER, host, version, seen_at }, "{}", place.name);
        assert_eq!(*unseen, Cause::NeverSeen { role: PAYMENT_CONSUMER }, "{}", place.name);
        let next: Vec<String> = triage.next.iter().map(|step| spell(&step.command)).collect();
        assert_eq!(next, ["order_consumer", "payment_consumer"], "a retry would change nothing");

        place.beat(ORDER_CONSUMER, 2, None).await;
        place.beat(PAYMENT_CONSUMER, 2, None).await;
        let triage = place.desk().triage(&POLICY, &|_| {}).await.unwrap();
        let behind =
            Cause::Behind { orders_at: NOW - 6 * HOUR, payments_at: NOW - HOUR + 19 * SECOND, ahead: 20 };
        assert_eq!(triage.causes, [behind], "{}", place.name);

        place.beat(ORDER_CONSUMER, 1, Some(NOW)).await;
        let triage = place.desk().triage(&POLICY, &|_| {}).await.unwrap();
        assert_eq!(triage.causes, [], "{}", place.name);
        assert_eq!(group(&triage, Verdict::StillWaiting).waits, 20, "{}", place.name);
    }
}

#[tokio::test]
async fn an_order_is_explained_by_its_row_its_letters_and_their_histories() {
    for place in Place::all("explain").await {
        let situation = Situation::on(&place).await;
        let second = orphan(53, 5, NOW - 5 * HOUR);
        place.record(&second).await;
        let into = Change::State { generation: 0, state: State::Discarded, at: NOW };
        act(&place, &situation.conflict, Action::Discarded, into).await;
        let desk = place.desk();
        let explained = desk.explain(OrderId(5)).await.unwrap().unwrap();
        let told: Vec<_> =
            explained.letters.iter().map(|story| (&story.record.letter.id, story.verdict)).collect();
        assert_eq!(
            told,
            [(&second.id, Verdict::AppliesNow), (&situation.conflict.id, Verdict::Conflict)],
            "{}",
            place.name
        );
        let timeline = explained.timeline();
        assert!(timeline.is_sorted_by_key(|moment| moment.at), "{}: {timeline:?}", place.name);
        assert_eq!(timeline.len(), 2 + 2 * 3 + 3, "row, letters, and lines: {timeline:?}");
        assert_eq!(timeline.last().unwrap().at, NOW, "{}", place.name);
        assert_eq!(desk.explain(OrderId(999)).await.unwrap(), None, "{}", place.name);
        let waits = desk.explain(OrderId(4)).await.unwrap().unwrap();
        assert_eq!((waits.fact, waits.letters.len()), (None, 1), "{}", place.name);
    }
}

#[tokio::test]
async fn the_newest_letters_are_those_that_failed_last() {
    for place in Place::all("newest").await {
        // A letter of an old event that failed just now is new.
        let late = Letter { first_failed_at: NOW, ..orphan(1, 1, NOW - 40 * DAY) };
        let others: Vec<Letter> = (2..30).map(|n| orphan(n, n, NOW - n * DAY)).collect();
        for letter in others.iter().chain([&late]) {
            place.record(letter).await;
        }
        let desk = place.desk();
        let all = Selection::default();
        let newest = desk.newest(&all, 3, &|_| {}).await.unwrap();
        let ids: Vec<_> = newest.iter().map(|selected| &selected.record.letter.id).collect();
        assert_eq!(ids, [&late.id, &others[0].id, &others[1].id], "{}", place.name);
        let whole: Vec<_> = desk.whole(newest).try_collect().await.unwrap();
        assert_eq!(whole[0].record.letter, late, "{}", place.name);
        assert_eq!(whole[0].verdict, Some(Verdict::StillWaiting), "{}", place.name);
        let since = Selection { since: Some(NOW - 3 * DAY), ..Selection::default() };
        assert_eq!(desk.newest(&since, 50, &|_| {}).await.unwrap().len(), 3, "{}", place.name);
        let streamed: Vec<_> = desk.select(&all, Detail::Brief).try_collect().await.unwrap();
        assert_eq!(streamed.len(), 29, "{}", place.name);
    }
}

#[tokio::test]
async fn a_report_adds_up_what_is_in_the_ledger() {
    for place in Place::all("report").await {
        let situation = Situation::on(&place).await;
        let desk = place.desk();
        let into = |generation, state, at| Change::State { generation, state, at };
        let failed = situation.applied.first_failed_at;
        act(&place, &situation.applied, Action::Recovered, into(0, State::Recovered, failed + 90 * SECOND))
            .await;
        act(&place, &situation.poison, Action::Reopened, into(1, State::Waiting, NOW)).await;
        let again =
            Letter { corrects: Some(situation.poison.id.clone()), ..orphan(71, 7, NOW - 90 * 60 * SECOND) };
        place.record(&again).await;
        place.beat(DLQ_HANDLER, 1, None).await;
        let report = desk.report(None, &|_| {}).await.unwrap();
        assert_eq!((report.letters(), report.open().letters), (7, 6), "{}", place.name);
        assert_eq!(report.in_state(State::Parked).letters, 1, "{}", place.name);
        assert_eq!(report.of_reason(Reason::OrderNotFound).letters, 5, "{}", place.name);
        assert_eq!((report.reopened, report.failed_corrections), (1, 1), "{}", place.name);
        let median = report.median_recovery.unwrap().as_secs_f64();
        assert!((89.9..90.2).contains(&median), "{}: {median}", place.name);
        let arrivals: Vec<u64> = report.arrivals.iter().map(|hour| hour.letters).collect();
        assert_eq!((arrivals.len(), arrivals[17], arrivals[21]), (24, 6, 1), "{}: {arrivals:?}", place.name);
        assert!((report.recovered_share().unwrap() - 1.0 / 7.0).abs() < 1e-9, "{}", place.name);
        assert_eq!(report.causes.len(), 2, "{}: only the handler was seen", place.name);
        let since = desk.report(Some(NOW - 2 * HOUR), &|_| {}).await.unwrap();
        assert_eq!(since.letters(), 1, "{}", place.name);
    }
}
