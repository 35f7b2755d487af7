//! Verdicts, triage, timelines and reports of constructed situations, on every store.

use ecom_dlq::role_status::RoleProblem;
use ecom_dlq::selection::{Detail, Selection};
use ecom_dlq::triage::{Triage, VerdictGroup};
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterChange, DeadLetterState, DeadLetterUpdate, EventKind, HistoryAction, HistoryEntry,
};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_domain::role::Role;
use ecom_domain::verdict::Verdict;
use futures_util::TryStreamExt;

use super::fixture::*;

/// One dead letter with each verdict, each about another order.
struct Situation {
    applies: DeadLetter,
    applied: DeadLetter,
    superseded: DeadLetter,
    waiting: DeadLetter,
    conflict: DeadLetter,
    poison: DeadLetter,
}

impl Situation {
    async fn on(store: &TestStore) -> Self {
        let t = NOW - 6 * HOUR;
        let situation = Self {
            applies: orphan(11, 1, t),
            applied: orphan(21, 2, t),
            superseded: orphan(31, 3, t),
            waiting: orphan(41, 4, t),
            conflict: DeadLetter { reason: Reason::TimestampTie, ..orphan(51, 5, t) },
            poison: dead_letter(EventKind::Payment, t, Reason::Undecodable, b"\xff not an object"),
        };
        for order in [1, 2, 3, 5] {
            store.order(order, t - HOUR).await;
        }
        store.payment(10, 1, t - 1).await;
        store.payment(21, 2, t).await;
        store.payment(32, 3, t + 1).await;
        store.payment(52, 5, t).await;
        for dead_letter in situation.dead_letters() {
            store.record(dead_letter).await;
        }
        situation
    }

    fn dead_letters(&self) -> [&DeadLetter; 6] {
        [&self.applies, &self.applied, &self.superseded, &self.waiting, &self.conflict, &self.poison]
    }
}

fn group(triage: &Triage, verdict: Verdict) -> &VerdictGroup {
    triage.groups.iter().find(|group| group.verdict == verdict).unwrap()
}

async fn all_roles_run(store: &TestStore) {
    for role in [Role::OrderConsumer, Role::PaymentConsumer, Role::DlqHandler] {
        store.beat(role, 5, Some(NOW)).await;
    }
}

async fn update(
    store: &TestStore,
    dead_letter: &DeadLetter,
    action: HistoryAction,
    change: DeadLetterChange,
) {
    let entry = HistoryEntry::new(NOW, format!("{action:?}"), action);
    let update = DeadLetterUpdate::new(dead_letter, 0, change, entry);
    store.dead_letter_store.apply(&update).await.unwrap();
}

#[tokio::test]
async fn each_situation_has_its_verdict() {
    for store in TestStore::all("situation").await {
        let situation = Situation::on(&store).await;
        let queue = store.queue();
        for (dead_letter, verdict) in situation.dead_letters().into_iter().zip(Verdict::ALL) {
            let shown = queue.show(&dead_letter.id).await.unwrap().unwrap();
            assert_eq!(shown.verdict, verdict, "{}: {dead_letter:?}", store.name);
            assert_eq!(shown.record.dead_letter, *dead_letter, "{}", store.name);
            assert_eq!(shown.history.len(), 1, "{}", store.name);
            assert!(!shown.next.is_empty(), "{}", store.name);
            let selection = Selection { verdict: Some(verdict), ..Selection::default() };
            let found: Vec<_> = queue.select(&selection, Detail::Brief).try_collect().await.unwrap();
            let ids: Vec<_> = found.iter().map(|selected| &selected.record.dead_letter.id).collect();
            assert_eq!(ids, [&dead_letter.id], "{}: {verdict:?}", store.name);
        }
    }
}

#[tokio::test]
async fn dead_letters_are_triaged_by_verdict_with_the_command_to_run_next() {
    for store in TestStore::all("triage").await {
        Situation::on(&store).await;
        all_roles_run(&store).await;
        let triage = store.queue().triage(&POLICY, &|_| {}).await.unwrap();
        assert_eq!((triage.open, triage.causes.len()), (6, 0), "{}: {:?}", store.name, triage.causes);
        let verdicts: Vec<Verdict> = triage.groups.iter().map(|group| group.verdict).collect();
        assert_eq!(verdicts, Verdict::ALL, "{}", store.name);
        for group in &triage.groups {
            assert_eq!(
                (group.dead_letters, group.oldest_at),
                (1, NOW - 6 * HOUR + 2 * SECOND),
                "{}",
                store.name
            );
        }
        for verdict in [Verdict::AppliesNow, Verdict::AlreadyApplied, Verdict::Superseded] {
            assert_eq!(
                (group(&triage, verdict).by_itself.closes, group(&triage, verdict).by_itself.stays),
                (1, 0)
            );
        }
        let waiting = &group(&triage, Verdict::StillWaiting).by_itself;
        let parks_at = NOW - 6 * HOUR + 2 * SECOND + 7 * DAY;
        assert_eq!((waiting.waits, waiting.first_parks_at), (1, Some(parks_at)), "{}", store.name);
        for verdict in [Verdict::Conflict, Verdict::Poison] {
            assert_eq!(
                (group(&triage, verdict).by_itself.closes, group(&triage, verdict).by_itself.stays),
                (0, 1)
            );
        }
        let next: Vec<String> = triage.next.iter().map(command).collect();
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
        assert_eq!(next, expected, "{}", store.name);
    }
}

#[tokio::test]
async fn closed_dead_letters_are_not_triaged_and_parked_ones_wait_for_the_next_sweep() {
    for store in TestStore::all("parked").await {
        let situation = Situation::on(&store).await;
        all_roles_run(&store).await;
        let into = |state| DeadLetterChange::State { generation: 0, state, at: NOW };
        update(&store, &situation.poison, HistoryAction::Discarded, into(DeadLetterState::Discarded)).await;
        update(&store, &situation.applied, HistoryAction::Recovered, into(DeadLetterState::Recovered)).await;
        update(&store, &situation.applies, HistoryAction::Parked, into(DeadLetterState::Parked)).await;
        update(&store, &situation.waiting, HistoryAction::Parked, into(DeadLetterState::Parked)).await;
        let due = DeadLetterChange::Schedule { attempts: 3, next_attempt_at: NOW + 2 * SECOND };
        update(&store, &situation.superseded, HistoryAction::Attempted, due).await;
        let triage = store.queue().triage(&POLICY, &|_| {}).await.unwrap();
        assert_eq!(triage.open, 4, "{}", store.name);
        let closed_by = |verdict| group(&triage, verdict).by_itself.closed_by.unwrap() - NOW;
        let sweep = closed_by(Verdict::AppliesNow);
        assert!((HOUR..HOUR + 60 * SECOND).contains(&sweep), "{}: {sweep}", store.name);
        let attempt = closed_by(Verdict::Superseded);
        assert!((2 * SECOND..60 * SECOND).contains(&attempt), "{}: {attempt}", store.name);
        let waiting = &group(&triage, Verdict::StillWaiting).by_itself;
        assert_eq!((waiting.waits, waiting.first_parks_at), (1, None), "{}", store.name);
        let discarded = store.queue().show(&situation.poison.id).await.unwrap().unwrap();
        assert_eq!(command(&discarded.next[0]), format!("dlq_handler reopen {}", situation.poison.id));
        let recovered = store.queue().show(&situation.applied.id).await.unwrap().unwrap();
        assert_eq!(recovered.next, [], "{}", store.name);
    }
}

#[tokio::test]
async fn a_handler_that_is_behind_resolves_dead_letters_later_by_as_much() {
    for store in TestStore::all("behind").await {
        let situation = Situation::on(&store).await;
        all_roles_run(&store).await;
        let due = |next_attempt_at| DeadLetterChange::Schedule { attempts: 3, next_attempt_at };
        for dead_letter in [&situation.applies, &situation.applied, &situation.superseded] {
            update(&store, dead_letter, HistoryAction::Attempted, due(NOW + 2 * SECOND)).await;
        }
        let late = NOW - 20 * 60 * SECOND;
        update(&store, &situation.waiting, HistoryAction::Attempted, due(late)).await;
        let triage = store.queue().triage(&POLICY, &|_| {}).await.unwrap();
        let closed_by = group(&triage, Verdict::AppliesNow).by_itself.closed_by.unwrap() - NOW;
        assert!((1_202 * SECOND..1_260 * SECOND).contains(&closed_by), "{}: {closed_by}", store.name);
    }
}

#[tokio::test]
async fn order_dead_letters_and_masked_dead_letters_have_verdicts_too() {
    for store in TestStore::all("orders").await {
        let t = NOW - HOUR;
        let order = dead_letter(EventKind::Order, t, Reason::HandlerFailed, order_body(8).as_bytes());
        let masked = DeadLetter {
            reason: Reason::PanDetected,
            ..dead_letter(EventKind::Payment, t, Reason::PanDetected, payment_body(91, 9).as_bytes())
        };
        store.order(9, t).await;
        for dead_letter in [&order, &masked] {
            store.record(dead_letter).await;
        }
        let queue = store.queue();
        assert_eq!(
            queue.show(&order.id).await.unwrap().unwrap().verdict,
            Verdict::AppliesNow,
            "{}",
            store.name
        );
        assert_eq!(
            queue.show(&masked.id).await.unwrap().unwrap().verdict,
            Verdict::Poison,
            "{}: the body is masked",
            store.name
        );
        all_roles_run(&store).await;
        let triage = queue.triage(&POLICY, &|_| {}).await.unwrap();
        assert_eq!(
            group(&triage, Verdict::AppliesNow).by_itself.stays,
            1,
            "a panic is not retried automatically"
        );
        store.order(8, t).await;
        assert_eq!(queue.show(&order.id).await.unwrap().unwrap().verdict, Verdict::AlreadyApplied);
        let triage = queue.triage(&POLICY, &|_| {}).await.unwrap();
        assert_eq!(
            group(&triage, Verdict::AlreadyApplied).by_itself.closes,
            1,
            "a sweep finds it in the row"
        );
    }
}

#[tokio::test]
async fn the_causes_are_the_roles_that_do_not_run_or_are_behind() {
    for store in TestStore::all("cause").await {
        for payment in 0..20 {
            store.record(&orphan(1_000 + payment, 100 + payment, NOW - HOUR + payment * SECOND)).await;
        }
        store.beat(Role::OrderConsumer, 6 * 3_600 + 120, Some(NOW - 6 * HOUR)).await;
        store.beat(Role::DlqHandler, 3, None).await;
        let triage = store.queue().triage(&POLICY, &|_| {}).await.unwrap();
        let [silent, unseen] = &triage.causes[..] else { panic!("{:?}", triage.causes) };
        let seen_at = NOW - 6 * HOUR - 120 * SECOND;
        let (host, version) = ("worker-1".to_owned(), "0.1.0".to_owned());
        assert_eq!(
            *silent,
            RoleProblem::Silent { role: Role::OrderConsumer, host, version, seen_at },
            "{}",
            store.name
        );
        assert_eq!(*unseen, RoleProblem::NeverSeen { role: Role::PaymentConsumer }, "{}", store.name);
        let next: Vec<String> = triage.next.iter().map(command).collect();
        assert_eq!(next, ["order_consumer", "payment_consumer"], "a retry would change nothing");

        store.beat(Role::OrderConsumer, 2, None).await;
        store.beat(Role::PaymentConsumer, 2, None).await;
        let triage = store.queue().triage(&POLICY, &|_| {}).await.unwrap();
        let behind = RoleProblem::Behind {
            role: Role::OrderConsumer,
            orders_at: NOW - 6 * HOUR,
            payments_at: NOW - HOUR + 19 * SECOND,
            ahead: 20,
        };
        assert_eq!(triage.causes, [behind], "{}", store.name);

        store.beat(Role::OrderConsumer, 1, Some(NOW)).await;
        let triage = store.queue().triage(&POLICY, &|_| {}).await.unwrap();
        assert_eq!(triage.causes, [], "{}", store.name);
        assert_eq!(group(&triage, Verdict::StillWaiting).by_itself.waits, 20, "{}", store.name);
    }
}

#[tokio::test]
async fn an_order_is_explained_by_its_row_its_dead_letters_and_their_histories() {
    for store in TestStore::all("explain").await {
        let situation = Situation::on(&store).await;
        let second = orphan(53, 5, NOW - 5 * HOUR);
        store.record(&second).await;
        let into = DeadLetterChange::State { generation: 0, state: DeadLetterState::Discarded, at: NOW };
        update(&store, &situation.conflict, HistoryAction::Discarded, into).await;
        let queue = store.queue();
        let explained = queue.explain(OrderId(5)).await.unwrap().unwrap();
        let verdicts: Vec<_> = explained
            .dead_letters
            .iter()
            .map(|explained| (&explained.selected.record.dead_letter.id, explained.verdict))
            .collect();
        assert_eq!(
            verdicts,
            [(&second.id, Verdict::AppliesNow), (&situation.conflict.id, Verdict::Conflict)],
            "{}",
            store.name
        );
        let timeline = explained.timeline();
        assert!(timeline.is_sorted_by_key(|entry| entry.at), "{}: {timeline:?}", store.name);
        assert_eq!(timeline.len(), 2 + 2 * 3 + 3, "row, dead letters and history lines: {timeline:?}");
        assert_eq!(timeline.last().unwrap().at, NOW, "{}", store.name);
        assert_eq!(queue.explain(OrderId(999)).await.unwrap(), None, "{}", store.name);
        let waits = queue.explain(OrderId(4)).await.unwrap().unwrap();
        assert_eq!((waits.fact, waits.dead_letters.len()), (None, 1), "{}", store.name);
    }
}

#[tokio::test]
async fn the_newest_dead_letters_are_those_that_failed_last() {
    for store in TestStore::all("newest").await {
        // A dead letter of an old event that failed just now is new.
        let late = DeadLetter { first_failed_at: NOW, ..orphan(1, 1, NOW - 40 * DAY) };
        let others: Vec<DeadLetter> = (2..30).map(|n| orphan(n, n, NOW - n * DAY)).collect();
        for dead_letter in others.iter().chain([&late]) {
            store.record(dead_letter).await;
        }
        let queue = store.queue();
        let all = Selection::default();
        let newest = queue.newest(&all, 3, &|_| {}).await.unwrap();
        let ids: Vec<_> = newest.iter().map(|selected| &selected.record.dead_letter.id).collect();
        assert_eq!(ids, [&late.id, &others[0].id, &others[1].id], "{}", store.name);
        let whole: Vec<_> = queue.with_bodies(newest).try_collect().await.unwrap();
        assert_eq!(whole[0].record.dead_letter, late, "{}", store.name);
        assert_eq!(whole[0].verdict, Some(Verdict::StillWaiting), "{}", store.name);
        let since = Selection { since: Some(NOW - 3 * DAY), ..Selection::default() };
        assert_eq!(queue.newest(&since, 50, &|_| {}).await.unwrap().len(), 3, "{}", store.name);
        let streamed: Vec<_> = queue.select(&all, Detail::Brief).try_collect().await.unwrap();
        assert_eq!(streamed.len(), 29, "{}", store.name);
    }
}

#[tokio::test]
async fn a_report_counts_the_dead_letters_and_their_recoveries_reopens_and_corrections() {
    for store in TestStore::all("report").await {
        let situation = Situation::on(&store).await;
        let queue = store.queue();
        let into = |generation, state, at| DeadLetterChange::State { generation, state, at };
        let failed = situation.applied.first_failed_at;
        update(
            &store,
            &situation.applied,
            HistoryAction::Recovered,
            into(0, DeadLetterState::Recovered, failed + 90 * SECOND),
        )
        .await;
        update(&store, &situation.poison, HistoryAction::Reopened, into(1, DeadLetterState::Waiting, NOW))
            .await;
        let again = DeadLetter {
            corrects: Some(situation.poison.id.clone()),
            ..orphan(71, 7, NOW - 90 * 60 * SECOND)
        };
        store.record(&again).await;
        store.beat(Role::DlqHandler, 1, None).await;
        let report = queue.report(None, &|_| {}).await.unwrap();
        assert_eq!((report.dead_letters(), report.open().dead_letters), (7, 6), "{}", store.name);
        assert_eq!(report.in_state(DeadLetterState::Parked).dead_letters, 1, "{}", store.name);
        assert_eq!(report.of_reason(Reason::OrderNotFound).dead_letters, 5, "{}", store.name);
        assert_eq!((report.reopened, report.failed_corrections), (1, 1), "{}", store.name);
        let median = report.median_recovery.unwrap().as_secs_f64();
        assert!((89.9..90.2).contains(&median), "{}: {median}", store.name);
        let arrivals: Vec<u64> = report.arrivals.iter().map(|hour| hour.dead_letters).collect();
        assert_eq!((arrivals.len(), arrivals[17], arrivals[21]), (24, 6, 1), "{}: {arrivals:?}", store.name);
        assert!((report.recovered_share().unwrap() - 1.0 / 7.0).abs() < 1e-9, "{}", store.name);
        assert_eq!(report.causes.len(), 2, "{}: only the handler was seen", store.name);
        let since = queue.report(Some(NOW - 2 * HOUR), &|_| {}).await.unwrap();
        assert_eq!(since.dead_letters(), 1, "{}", store.name);
    }
}
