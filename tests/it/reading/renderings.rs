//! The rendered results, at a fixed time.

use ecom::render;
use ecom::render::rows::{heading, line};
use ecom::render::screen::Screen;
use ecom::render::{json, next_step};
use ecom_dlq::plan::PlanPurpose;
use ecom_dlq::row::{Bodies, DeadLetterRow};
use ecom_dlq::selection::{SelectedDeadLetter, Selection};
use ecom_domain::bulk_operation::{BulkOperation, OperationId, OperationKind, OperationStatus};
use ecom_domain::dead_letter::{
    DeadLetter, DeadLetterChange, DeadLetterState, DeadLetterUpdate, EventKind, HistoryAction, HistoryEntry,
    HistoryOutcome,
};
use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;
use ecom_domain::role::Role;
use ecom_domain::verdict::Verdict;
use futures_util::TryStreamExt;

use super::fixture::*;

/// A file.
const WIDE: Screen = Screen::UNLIMITED;

/// The store in snapshots.
const STORE: &str = "embedded at /srv/ecom/data/ecom_store.db";

/// An incident: orders were not recorded for an hour, and there are dead letters with every reason class.
struct Incident {
    store: TestStore,
    recovered: DeadLetter,
    broken: DeadLetter,
    late: DeadLetter,
}

impl Incident {
    async fn new() -> Self {
        let store = TestStore::embedded();
        store.beat(Role::OrderConsumer, 6 * 3_600, Some(NOW - 6 * HOUR)).await;
        store.beat(Role::DlqHandler, 4, None).await;
        store.beat(Role::PaymentConsumer, 2, Some(NOW - 3 * SECOND)).await;
        let incident = Self {
            store,
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
        incident.fill().await;
        incident
    }

    async fn fill(&self) {
        let store = &self.store;
        store.order(42, NOW - 27 * HOUR).await;
        store.order(43, NOW - 27 * HOUR).await;
        store.payment(4_202, 42, NOW - 2 * HOUR - 1).await;
        let waiting: Vec<DeadLetter> =
            (0..3).map(|n| orphan(9_000 + n, 900 + n, NOW - HOUR + n * SECOND)).collect();
        let applies = orphan(4_301, 43, NOW - 3 * HOUR);
        for dead_letter in waiting.iter().chain([&self.recovered, &self.broken, &self.late, &applies]) {
            store.record(dead_letter).await;
        }
        let schedule = DeadLetterChange::Schedule { attempts: 1, next_attempt_at: NOW - 25 * HOUR };
        let attempted = entry(-25 * HOUR - 60 * SECOND, HistoryAction::Attempted);
        self.update(&self.recovered, schedule, HistoryEntry { attempt: Some(1), ..attempted }).await;
        let done =
            DeadLetterChange::State { generation: 0, state: DeadLetterState::Recovered, at: NOW - 25 * HOUR };
        let recovered = HistoryEntry {
            outcome: Some(HistoryOutcome::Applied),
            note: Some("after the outage".into()),
            ..entry(-25 * HOUR, HistoryAction::Recovered)
        };
        self.update(&self.recovered, done, recovered).await;
    }

    async fn update(&self, dead_letter: &DeadLetter, change: DeadLetterChange, entry: HistoryEntry) {
        let update = DeadLetterUpdate::new(dead_letter, 0, change, entry);
        self.store.dead_letter_store.apply(&update).await.unwrap();
    }

    /// Replaces the path of the temporary folder.
    fn anonymous(&self, text: &str) -> String {
        text.replace(&self.store.facts.describe(), STORE)
    }
}

/// An entry of the handler, `at` microseconds after `NOW`.
fn entry(at: i64, action: HistoryAction) -> HistoryEntry {
    HistoryEntry {
        actor: "dlq_handler".into(),
        host: "worker-1".into(),
        run_id: Some("20260130T170000-0a0b0c0d".into()),
        ..HistoryEntry::new(NOW + at, format!("{action:?}"), action)
    }
}

macro_rules! snapshots {
    ($incident:ident: $($name:literal = $text:expr),+ $(,)?) => {
        $(insta::assert_snapshot!($name, $incident.anonymous(&$text));)+
    };
}

#[tokio::test(start_paused = true)]
async fn triage_renders_as_reviewed() {
    let incident = Incident::new().await;
    let mut triage = incident.store.queue().triage(&POLICY, &|_| {}).await.unwrap();
    snapshots!(incident:
        "triage" = render::triage::text(&triage, &spell, WIDE),
    );
    next_step::fill_in(&mut triage.next, &spell);
    snapshots!(incident: "triage_json" = json(&triage));
}

/// Everything that is printed for people about the incident, for a terminal of this width.
async fn screens(incident: &Incident, columns: usize) -> Vec<(&'static str, String)> {
    let (queue, screen) = (incident.store.queue(), Screen::of_columns(columns));
    let mut triage = queue.triage(&POLICY, &|_| {}).await.unwrap();
    let mut report = queue.report(None, &|_| {}).await.unwrap();
    let mut shown = queue.show(&incident.recovered.id).await.unwrap().unwrap();
    let mut timeline = queue.explain(OrderId(42)).await.unwrap().unwrap();
    let newest = queue.newest(&Selection::open(), 50, &|_| {}).await.unwrap();
    let listed: Vec<SelectedDeadLetter> = queue.with_bodies(newest).try_collect().await.unwrap();
    let rows: String = listed.iter().map(|selected| line(selected, NOW, Bodies::Omitted, screen)).collect();
    let selection = Selection::open();
    let mut plan = queue.plan(OperationKind::Retry, selection, PlanPurpose::DryRun, &|_| {}).await.unwrap();
    let stores =
        [&mut triage.store, &mut report.store, &mut shown.store, &mut timeline.store, &mut plan.store];
    stores.into_iter().for_each(|store| STORE.clone_into(store));
    vec![
        ("triage", render::triage::text(&triage, &spell, screen)),
        ("watch", render::triage::watched(&triage, &spell, screen, 24)),
        ("report", render::report::text(&report, &spell, screen)),
        ("show", render::dead_letter::text(&shown, &spell, screen)),
        ("explain", render::timeline::text(&timeline, &spell, screen)),
        ("list", heading(screen) + &rows),
        ("plan", render::bulk::plan(&plan, Some(50.0), 20, screen)),
    ]
}

#[tokio::test(start_paused = true)]
async fn every_screen_fits_terminals_of_80_100_and_140_columns() {
    let incident = Incident::new().await;
    for columns in [80, 100, 140] {
        let mut all = String::new();
        for (name, text) in screens(&incident, columns).await {
            // The body of a dead letter is shown as it is.
            for line in text.lines().filter(|line| !line.starts_with("  {")) {
                assert!(line.chars().count() <= columns, "{name} at {columns}: {line}");
            }
            all.push_str(&format!("── {name}\n{text}\n"));
        }
        insta::assert_snapshot!(format!("screens_of_{columns}"), all);
    }
}

#[tokio::test(start_paused = true)]
async fn a_watched_triage_shows_the_cause_first_and_never_scrolls() {
    let incident = Incident::new().await;
    let mut triage = incident.store.queue().triage(&POLICY, &|_| {}).await.unwrap();
    STORE.clone_into(&mut triage.store);
    for (columns, rows) in [(80, 24), (80, 12), (100, 30), (140, 40)] {
        let text = render::triage::watched(&triage, &spell, Screen::of_columns(columns), rows);
        assert!(text.lines().count() <= rows, "{text}");
        let cause = text.lines().position(|line| line.contains("✗ order_consumer last seen 6h ago"));
        assert_eq!(cause, Some(1), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_report_renders_as_reviewed() {
    let incident = Incident::new().await;
    let mut report = incident.store.queue().report(None, &|_| {}).await.unwrap();
    snapshots!(incident:
        "report" = render::report::text(&report, &spell, WIDE),
        "report_markdown" = render::markdown::text(&report, &spell),
    );
    next_step::fill_in(&mut report.next, &spell);
    snapshots!(incident: "report_json" = json(&report));
    let empty = TestStore::embedded();
    let report = empty.queue().report(Some(NOW - DAY), &|_| {}).await.unwrap();
    let text =
        render::report::text(&report, &spell, WIDE).replace(&empty.facts.describe(), "embedded at /srv");
    insta::assert_snapshot!("report_of_nothing", text);
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_renders_as_reviewed() {
    let incident = Incident::new().await;
    let queue = incident.store.queue();
    let recovered = queue.show(&incident.recovered.id).await.unwrap().unwrap();
    let mut broken = queue.show(&incident.broken.id).await.unwrap().unwrap();
    snapshots!(incident:
        "show_recovered" = render::dead_letter::text(&recovered, &spell, WIDE),
        "show_broken" = render::dead_letter::text(&broken, &spell, WIDE),
    );
    next_step::fill_in(&mut broken.next, &spell);
    snapshots!(incident: "show_broken_json" = json(&broken));
}

#[tokio::test(start_paused = true)]
async fn an_order_renders_as_reviewed() {
    let incident = Incident::new().await;
    let mut timeline = incident.store.queue().explain(OrderId(42)).await.unwrap().unwrap();
    snapshots!(incident:
        "explain" = render::timeline::text(&timeline, &spell, WIDE),
    );
    for dead_letter in &mut timeline.dead_letters {
        next_step::fill_in(&mut dead_letter.next, &spell);
    }
    snapshots!(incident: "explain_json" = json(&timeline));
}

#[tokio::test(start_paused = true)]
async fn a_list_renders_as_reviewed() {
    let incident = Incident::new().await;
    let queue = incident.store.queue();
    let newest = queue.newest(&Selection::open(), 50, &|_| {}).await.unwrap();
    let dead_letters: Vec<SelectedDeadLetter> = queue.with_bodies(newest).try_collect().await.unwrap();
    let lines = |bodies| {
        dead_letters.iter().map(|dead_letter| line(dead_letter, NOW, bodies, WIDE)).collect::<String>()
    };
    let rows =
        |bodies| dead_letters.iter().map(move |dead_letter| DeadLetterRow::of(dead_letter, NOW, bodies));
    let json: Vec<String> = rows(Bodies::Included).map(|row| serde_json::to_string(&row).unwrap()).collect();
    let csv = |bodies, header: &[&str]| {
        // The writer refuses rows of another length than the header's.
        let mut csv = csv::WriterBuilder::new().delimiter(b';').has_headers(false).from_writer(Vec::new());
        csv.write_record(header).unwrap();
        rows(bodies).for_each(|row| csv.serialize(row).unwrap());
        String::from_utf8(csv.into_inner().unwrap()).unwrap()
    };
    let all_columns = [&DeadLetterRow::COLUMNS[..], &DeadLetterRow::BODY_COLUMNS].concat();
    snapshots!(incident:
        "list" = heading(WIDE) + &lines(Bodies::Omitted),
        "list_with_bodies" = heading(WIDE) + &lines(Bodies::Included),
        "list_json" = json.join("\n"),
        "list_csv" = csv(Bodies::Omitted, &DeadLetterRow::COLUMNS),
    );
    let with_bodies = csv(Bodies::Included, &all_columns);
    let mut reader = csv::ReaderBuilder::new().delimiter(b';').from_reader(with_bodies.as_bytes());
    assert_eq!(reader.records().map(|row| row.unwrap().len()).collect::<Vec<_>>(), [21; 6]);
}

#[tokio::test(start_paused = true)]
async fn the_audit_log_renders_as_reviewed() {
    let incident = Incident::new().await;
    let selection = Selection { verdict: Some(Verdict::AppliesNow), ..Selection::open() };
    for (n, state) in (0..).zip(OperationStatus::ALL) {
        let operation = BulkOperation {
            id: OperationId::new(NOW - HOUR + n * 60 * SECOND, [n as u8; 2]),
            kind: OperationKind::Retry,
            started_at: NOW - HOUR + n * 60 * SECOND,
            actor: "ada".into(),
            host: "operator-1".into(),
            selection: selection.written(),
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
        incident.store.operations.put_operation(&operation).await.unwrap();
    }
    let history = incident.store.queue().history(2).await.unwrap();
    assert_eq!(history.operations.len(), 2, "the newest two");
    let history = incident.store.queue().history(usize::MAX).await.unwrap();
    let mut csv = csv::WriterBuilder::new();
    let mut csv = csv.delimiter(b';').quote_style(csv::QuoteStyle::Never).from_writer(Vec::new());
    for operation in &history.operations {
        csv.serialize(render::history::row(operation)).unwrap();
    }
    let csv = String::from_utf8(csv.into_inner().unwrap()).unwrap();
    assert_eq!(csv.lines().next(), Some(render::history::HEADER.join(";").as_str()));
    snapshots!(incident:
        "history" = render::history::text(&history, WIDE),
        "history_json" = json(&history),
        "history_csv" = csv.trim_end(),
    );
}
