//! How answers look, on a clock that stands still.

use ecom::render;
use ecom::render::rows::{Bodies, Row, heading, line};
use ecom_dlq::diagnosis::{DLQ_HANDLER, ORDER_CONSUMER, PAYMENT_CONSUMER};
use ecom_dlq::selection::{SelectedDeadLetter, Selection};
use ecom_domain::bulk_operation::{BulkOperation, OperationId, OperationKind, OperationStatus};
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterChange, DeadLetterState, DeadLetterUpdate, EventKind, HistoryAction, HistoryEntry,
};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use futures_util::TryStreamExt;

use super::fixture::*;

/// A page: orders were not recorded for an hour, and among the dead letters are some of every kind.
struct Page {
    place: Place,
    recovered: DeadLetter,
    broken: DeadLetter,
    late: DeadLetter,
}

impl Page {
    async fn new() -> Self {
        let place = Place::embedded();
        place.beat(ORDER_CONSUMER, 6 * 3_600, Some(NOW - 6 * HOUR)).await;
        place.beat(DLQ_HANDLER, 4, None).await;
        place.beat(PAYMENT_CONSUMER, 2, Some(NOW - 3 * SECOND)).await;
        let page = Self {
            place,
            recovered: orphan(4_201, 42, NOW - 26 * HOUR),
            broken: DeadLetter {
                detail: "payment_id: missing; note: \u{1b}[2J".into(),
                order_id: Some(OrderId(42)),
                ..dead_letter(
                    EventKind::Payment,
                    NOW - 2 * HOUR,
                    Reason::Invalid,
                    b"{\"order_id\": 42,\n \"note\": \"\x1b[2J\"}",
                )
            },
            late: DeadLetter { reason: Reason::TimestampTie, ..orphan(4_203, 42, NOW - 2 * HOUR - 1) },
        };
        page.fill().await;
        page
    }

    async fn fill(&self) {
        let place = &self.place;
        place.order(42, NOW - 27 * HOUR).await;
        place.order(43, NOW - 27 * HOUR).await;
        place.payment(4_202, 42, NOW - 2 * HOUR - 1).await;
        let waiting: Vec<DeadLetter> =
            (0..3).map(|n| orphan(9_000 + n, 900 + n, NOW - HOUR + n * SECOND)).collect();
        let applies = orphan(4_301, 43, NOW - 3 * HOUR);
        for dead_letter in waiting.iter().chain([&self.recovered, &self.broken, &self.late, &applies]) {
            place.record(dead_letter).await;
        }
        let attempt = DeadLetterChange::Schedule { attempts: 1, next_attempt_at: NOW - 25 * HOUR };
        self.act(
            &self.recovered,
            -25 * HOUR - 60 * SECOND,
            HistoryAction::Attempted,
            "attempt 1",
            attempt,
            None,
        )
        .await;
        let done =
            DeadLetterChange::State { generation: 0, state: DeadLetterState::Recovered, at: NOW - 25 * HOUR };
        self.act(
            &self.recovered,
            -25 * HOUR,
            HistoryAction::Recovered,
            "applied",
            done,
            Some("after the outage"),
        )
        .await;
    }

    async fn act(
        &self,
        dead_letter: &DeadLetter,
        at: i64,
        action: HistoryAction,
        outcome: &str,
        change: DeadLetterChange,
        note: Option<&str>,
    ) {
        let entry = HistoryEntry {
            at: NOW + at,
            entry_id: format!("{action:?}"),
            action,
            outcome: outcome.into(),
            actor: "dlq_handler".into(),
            host: "worker-1".into(),
            note: note.map(str::to_owned),
            run_id: Some("20260130T170000-0a0b0c0d".into()),
        };
        let act = DeadLetterUpdate { dead_letter: dead_letter.id.clone(), t: dead_letter.t, change, entry };
        self.place.dead_letter_store.act(&act).await.unwrap();
    }

    /// An answer without the folder of this test.
    fn settled(&self, text: &str) -> String {
        text.replace(&self.place.facts.describe(), "embedded at /srv/ecom/data/ecom_store.db")
    }
}

macro_rules! snapshots {
    ($page:ident: $($name:literal = $text:expr),+ $(,)?) => {
        $(insta::assert_snapshot!($name, $page.settled(&$text));)+
    };
}

#[tokio::test(start_paused = true)]
async fn triage_is_told_as_it_was_reviewed() {
    let page = Page::new().await;
    let triage = page.place.queue().triage(&POLICY, &|_| {}).await.unwrap();
    snapshots!(page:
        "triage" = render::triage::text(&triage, &spell),
        "triage_json" = render::triage::as_json(&triage, &spell),
    );
}

#[tokio::test(start_paused = true)]
async fn the_report_is_told_as_it_was_reviewed() {
    let page = Page::new().await;
    let report = page.place.queue().report(None, &|_| {}).await.unwrap();
    snapshots!(page:
        "report" = render::report_text::text(&report, &spell),
        "report_json" = render::report_json::as_json(&report, &spell),
        "report_markdown" = render::markdown::text(&report, &spell),
    );
    let empty = Place::embedded();
    let report = empty.queue().report(Some(NOW - DAY), &|_| {}).await.unwrap();
    let text =
        render::report_text::text(&report, &spell).replace(&empty.facts.describe(), "embedded at /srv");
    insta::assert_snapshot!("report_of_nothing", text);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_told_as_it_was_reviewed() {
    let page = Page::new().await;
    let queue = page.place.queue();
    let recovered = queue.show(&page.recovered.id).await.unwrap().unwrap();
    let broken = queue.show(&page.broken.id).await.unwrap().unwrap();
    snapshots!(page:
        "show_recovered" = render::dead_letter::text(&recovered, &spell),
        "show_broken" = render::dead_letter::text(&broken, &spell),
        "show_broken_json" = render::dead_letter::as_json(&broken, &spell),
    );
}

#[tokio::test(start_paused = true)]
async fn an_order_is_told_as_it_was_reviewed() {
    let page = Page::new().await;
    let explained = page.place.queue().explain(OrderId(42)).await.unwrap().unwrap();
    snapshots!(page:
        "explain" = render::timeline::text(&explained, &spell),
        "explain_json" = render::timeline::as_json(&explained, &spell),
    );
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_listed_as_it_was_reviewed() {
    let page = Page::new().await;
    let queue = page.place.queue();
    let newest = queue.newest(&Selection::open(), 50, &|_| {}).await.unwrap();
    let dead_letters: Vec<SelectedDeadLetter> = queue.whole(newest).try_collect().await.unwrap();
    let lines =
        |bodies| dead_letters.iter().map(|dead_letter| line(dead_letter, NOW, bodies)).collect::<String>();
    let rows = |bodies| dead_letters.iter().map(move |dead_letter| Row::of(dead_letter, NOW, bodies));
    let json: Vec<String> = rows(Bodies::Shown).map(|row| row.json()).collect();
    let cells: Vec<String> = rows(Bodies::Left).map(|row| row.cells().join(";")).collect();
    snapshots!(page:
        "list" = heading() + &lines(Bodies::Left),
        "list_with_bodies" = heading() + &lines(Bodies::Shown),
        "list_json" = json.join("\n"),
        "list_csv" = format!("{}\n{}", Row::header(Bodies::Left).join(";"), cells.join("\n")),
    );
    for row in rows(Bodies::Shown) {
        assert_eq!(row.cells().len(), Row::header(Bodies::Shown).len());
    }
}

#[tokio::test(start_paused = true)]
async fn runs_are_told_as_it_was_reviewed() {
    let page = Page::new().await;
    for (n, state) in (0..).zip(OperationStatus::ALL) {
        let run = BulkOperation {
            id: OperationId::new(NOW - HOUR + n * 60 * SECOND, [n as u8; 2]),
            kind: OperationKind::Retry,
            started_at: NOW - HOUR + n * 60 * SECOND,
            actor: "ada".into(),
            host: "operator-1".into(),
            selection: "--state open --verdict applies_now".into(),
            note: (n == 2).then(|| "after\nthe outage".into()),
            dead_letters: 1_180,
            batches: 2,
            state,
            ended_at: (state != OperationStatus::Begun).then_some(NOW - HOUR + n * 61 * SECOND),
            outcomes: match state {
                OperationStatus::Begun => Vec::new(),
                OperationStatus::Stopped | OperationStatus::Finished => {
                    vec![("recovered".into(), 1_170), ("waiting".into(), 10)]
                }
            },
            revision: 1,
        };
        page.place.operations.put_run(&run).await.unwrap();
    }
    let runs = page.place.queue().runs(2).await.unwrap();
    assert_eq!(runs.len(), 2, "the newest two");
    let runs = page.place.queue().runs(usize::MAX).await.unwrap();
    let cells: Vec<String> = runs.iter().map(|run| render::history::cells(run).join(";")).collect();
    let store = page.place.facts.describe();
    snapshots!(page:
        "history" = render::history::text(&store, NOW, &runs),
        "history_json" = render::history::as_json(&store, NOW, &runs),
        "history_csv" = format!("{}\n{}", render::history::HEADER.join(";"), cells.join("\n")),
    );
}
