//! Triage, list, show, explain, report and history on the command line, and the commands that they print.

use ecom_domain::dead_letter::DeadLetterId;

use super::PLAIN;
use super::program::{Program, ProgramOutput, TestDir};
use super::table::consume;

/// A folder with dead letters of twenty payments without their orders and of one invalid payment.
async fn with_dead_letters() -> TestDir {
    let dir = TestDir::new();
    let events = ["--order-ids", "1-20", "--rate", "max"];
    dir.run("payments_producer", &[&events[..], &PLAIN].concat()).await.with(0);
    dir.write("broken.jsonl", "{\"payment_id\": 7, \"order_id\": 42, \"note\": \"caf\u{e9}\"}\n");
    dir.run("payments_producer", &["--from", "broken.jsonl"]).await.with(0);
    consume(&dir, "payment_consumer", &["--order-grace", "0s"]).await;
    dir.run("dlq_handler", &["--once"]).await.with(0);
    dir
}

async fn dlq_handler(dir: &TestDir, args: &[&str]) -> ProgramOutput {
    dir.run("dlq_handler", args).await
}

/// The program of a printed command.
fn printed(dir: &TestDir, command: &str) -> Program {
    let words: Vec<&str> = command.split(' ').collect();
    assert!(words[0].ends_with("/dlq_handler"), "{command}");
    dir.program("dlq_handler", &words[1..])
}

#[tokio::test]
async fn the_commands_that_triage_prints_lead_to_the_dead_letter() {
    let dir = with_dead_letters().await;
    let triage = dlq_handler(&dir, &["triage"]).await.with(0);
    assert!(triage.stdout.starts_with("embedded at /"), "{}", triage.stdout);
    assert!(triage.stdout.contains("✗ order_consumer was never seen"), "{}", triage.stdout);
    assert!(triage.stdout.contains("21 open dead letters"), "{}", triage.stdout);
    let triage = dlq_handler(&dir, &["triage", "--format", "json"]).await.with(0).json();
    let count = |verdict: &str| {
        let groups = triage["verdicts"].as_array().unwrap();
        groups
            .iter()
            .find(|group| group["verdict"] == verdict)
            .map(|group| group["dead_letters"].as_u64().unwrap())
    };
    assert_eq!((count("still_waiting"), count("poison")), (Some(20), Some(1)), "{triage}");
    let show = triage["next"].as_array().unwrap().last().unwrap()["command"].as_str().unwrap();
    let shown = printed(&dir, &format!("{show} --format json")).run().await.with(0).json();
    assert_eq!(
        (shown["reason"].as_str(), shown["order_id"].as_i64()),
        (Some("invalid"), Some(42)),
        "{shown}"
    );
    assert_eq!(shown["body"], "{\"payment_id\": 7, \"order_id\": 42, \"note\": \"caf\u{e9}\"}");
    assert_eq!(shown["history"][0]["action"], "received", "{shown}");
    let save = shown["next"][0]["command"].as_str().unwrap();
    printed(&dir, save).run().await.with(0);
    let id = shown["id"].as_str().unwrap();
    let saved = std::fs::read(dir.path(&format!("{id}.json"))).unwrap();
    assert_eq!(saved, "{\"payment_id\": 7, \"order_id\": 42, \"note\": \"caf\u{e9}\"}".as_bytes());
    let text = dlq_handler(&dir, &["show", id]).await.with(0);
    assert!(text.stdout.contains("payment_method"), "{}", text.stdout);
}

#[tokio::test]
async fn once_the_orders_are_recorded_triage_prints_the_retry_and_explain_the_row() {
    let dir = with_dead_letters().await;
    let orders = [&["--order-ids", "1-20", "--rate", "max"][..], &PLAIN].concat();
    dir.run("orders_producer", &orders).await.with(0);
    consume(&dir, "order_consumer", &[]).await;
    let triage = dlq_handler(&dir, &["triage"]).await.with(0);
    let retry = "dlq_handler retry --state open --verdict applies_now";
    assert!(triage.stdout.contains(retry), "{}", triage.stdout);
    let explained = dlq_handler(&dir, &["explain", "3", "--format", "json"]).await.with(0).json();
    assert_eq!(explained["row"]["has_order"], true, "{explained}");
    assert_eq!(explained["dead_letters"][0]["verdict"], "applies_now", "{explained}");
    dlq_handler(&dir, &["--once"]).await.with(0);
    let explained = dlq_handler(&dir, &["explain", "3"]).await.with(0);
    assert!(explained.stdout.contains("recovered; now: already_applied"), "{}", explained.stdout);
    let report = dlq_handler(&dir, &["report", "--fail-on-open", "--format", "markdown"]).await.with(3);
    assert!(report.stdout.contains("- recovered: 20 of 21 dead letters (95 %)"), "{}", report.stdout);
    assert!(report.stdout.contains("embedded at /"), "{}", report.stdout);
    let since =
        dlq_handler(&dir, &["report", "--since", "0s", "--format", "json", "--fail-on-open"]).await.with(0);
    assert_eq!(since.json()["total"], 0);
}

#[tokio::test]
async fn lists_are_table_json_or_csv_bounded_or_complete() {
    let dir = with_dead_letters().await;
    let bounded = dlq_handler(&dir, &["list", "--limit", "5"]).await.with(0);
    let ids = bounded.stdout.lines().filter(|line| line.split(' ').next().is_some_and(is_id)).count();
    assert_eq!(ids, 5, "{}", bounded.stdout);
    assert!(bounded.stderr.contains("5 dead letters, the newest 5; --limit 0 for all"), "{}", bounded.stderr);
    for limit in ["0", "50"] {
        let args = ["list", "--limit", limit, "--state", "open", "--bodies", "--format", "json"];
        let all = dlq_handler(&dir, &args).await.with(0).json();
        let dead_letters = all["dead_letters"].as_array().unwrap();
        assert_eq!(dead_letters.len(), 21, "{all}");
        assert!(all["store"].as_str().unwrap().starts_with("embedded at /"), "{all}");
        assert!(
            dead_letters
                .iter()
                .all(|dead_letter| dead_letter["verdict"].is_string() && dead_letter["body"].is_string())
        );
    }
    let args =
        ["list", "--limit", "0", "--verdict", "poison", "--bodies", "--format", "csv", "--out", "l.csv"];
    let to_file = dlq_handler(&dir, &args).await.with(0);
    assert_eq!(to_file.stdout, "");
    assert!(to_file.stderr.contains("1 dead letter, from embedded at /"), "{}", to_file.stderr);
    let mut reader = csv::Reader::from_path(dir.path("l.csv")).unwrap();
    let body = reader.headers().unwrap().iter().position(|name| name == "body").unwrap();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 1);
    assert_eq!(&rows[0][body], "{\"payment_id\": 7, \"order_id\": 42, \"note\": \"caf\u{e9}\"}");
    let one = dlq_handler(&dir, &["list", &rows[0][0], "--format", "json"]).await.with(0).json();
    assert_eq!(one["dead_letters"].as_array().unwrap().len(), 1, "{one}");
    let of_order = dlq_handler(&dir, &["list", "--order", "42", "--format", "json"]).await.with(0).json();
    assert_eq!(of_order["dead_letters"][0]["id"], rows[0][0], "{of_order}");
    let none =
        dlq_handler(&dir, &["list", "--reason", "handler_failed", "--format", "json"]).await.with(0).json();
    assert_eq!(none["dead_letters"], serde_json::json!([]));
}

fn is_id(word: &str) -> bool {
    DeadLetterId::parse(word).is_some()
}

#[tokio::test]
async fn not_found_is_exit_3_with_a_hint_and_an_empty_dead_letter_store_is_fine() {
    let dir = TestDir::new();
    dir.run("ecom_setup", &[]).await.with(0);
    let none = "20260131-07-0123456789abcdef0123456789abcdef";
    let shown = dlq_handler(&dir, &["show", none]).await.with(3);
    assert!(shown.stderr.contains(&format!("error: there is no dead letter {none} in embedded at /")));
    assert!(shown.stderr.contains("hint: "), "{}", shown.stderr);
    let explained = dlq_handler(&dir, &["explain", "42"]).await.with(3);
    assert!(
        explained.stderr.contains("error: there is no row and no dead letter for order 42 in embedded at /")
    );
    assert!(explained.stderr.contains("list --payment 42"), "{}", explained.stderr);
    assert_eq!((shown.stdout.as_str(), explained.stdout.as_str()), ("", ""));
    for (args, says) in [
        (&["triage"][..], "no open dead letters"),
        (&["list"], "order"),
        (&["report", "--fail-on-open"], "no dead letters"),
        (&["history"], "no bulk operations yet"),
    ] {
        let ended = dlq_handler(&dir, args).await.with(0);
        assert!(ended.stdout.contains(says), "{args:?}: {}", ended.stdout);
        assert!(ended.stdout.starts_with("embedded at /"), "{args:?}: {}", ended.stdout);
    }
    let history = dlq_handler(&dir, &["history", "--format", "json"]).await.with(0).json();
    assert_eq!(history["operations"], serde_json::json!([]));
    dlq_handler(&dir, &["history", "--format", "csv", "--limit", "0"]).await.with(0);
}

#[tokio::test]
async fn triage_with_watch_repeats_until_it_is_interrupted() {
    let dir = with_dead_letters().await;
    let watching = dir.start("dlq_handler", &["triage", "--watch", "1s"]);
    let renderings = || watching.stdout().matches("21 open dead letters").count();
    super::program::eventually("it printed twice", async || (renderings() >= 2).then_some(())).await;
    watching.signal("INT");
    let ended = watching.ended().await.with(0);
    assert!(!ended.stdout.contains('\u{1b}'), "control sequences without a terminal");
}

#[tokio::test]
async fn text_of_others_cannot_steer_the_terminal() {
    let dir = TestDir::new();
    let order = r#"{"order_id":1,"customer_id":1,"item":"a\u001b[2J\u0007\u202etxt","quantity":1,"price":1,"shipping_address":"b\u200b","order_status":"c","creation_date":"d"}"#;
    dir.write("orders.jsonl", format!("{order}\n"));
    dir.run("orders_producer", &["--from", "orders.jsonl"]).await.with(0);
    consume(&dir, "order_consumer", &[]).await;
    let shown = dir.run("ecom_facts", &["show", "1"]).await.with(0);
    for escaped in [r"a\u{1b}[2J\u{7}\u{202e}txt", r"b\u{200b}"] {
        assert!(shown.stdout.contains(escaped), "{}", shown.stdout);
    }
    assert!(!shown.stdout.chars().any(|c| c.is_control() && c != '\n'), "{:?}", shown.stdout);
}

#[tokio::test]
async fn csv_tells_nulls_from_empty_texts_and_defuses_formulas() {
    let dir = TestDir::new();
    let order = |id: u64, item: &str| {
        format!(
            r#"{{"order_id":{id},"customer_id":7,"item":"{item}","quantity":1,"price":0.5,"shipping_address":"","order_status":"=1+1","creation_date":"2026-01-31T17:00:00Z"}}"#
        )
    };
    dir.write("orders.jsonl", [order(1, "@SUM(A1)"), order(2, "Book, used")].join("\n") + "\n");
    dir.run("orders_producer", &["--from", "orders.jsonl"]).await.with(0);
    consume(&dir, "order_consumer", &[]).await;
    let plain = dir.run("ecom_facts", &["show", "1", "--format", "csv"]).await.with(0).stdout;
    assert_eq!(
        plain.lines().nth(1),
        Some(r#"1,7,@SUM(A1),1,0.5,"",=1+1,2026-01-31T17:00:00Z,,,,,"#),
        "{plain}"
    );
    let safe = dir.run("ecom_facts", &["export", "--spreadsheet-safe"]).await.with(0).stdout;
    let mut rows: Vec<&str> = safe.lines().skip(1).collect();
    rows.sort_unstable();
    assert_eq!(
        rows,
        [
            r#"1,7,'@SUM(A1),1,0.5,"",'=1+1,2026-01-31T17:00:00Z,,,,,"#,
            r#"2,7,"Book, used",1,0.5,"",'=1+1,2026-01-31T17:00:00Z,,,,,"#,
        ]
    );
    let args = ["list", "--limit", "0", "--format", "csv", "--spreadsheet-safe"];
    dlq_handler(&dir, &args).await.with(0);
    dlq_handler(&dir, &["history", "--format", "csv", "--spreadsheet-safe"]).await.with(0);
    let refused = dir.run("ecom_facts", &["export", "--format", "json", "--spreadsheet-safe"]).await.with(2);
    assert!(refused.stderr.contains("--spreadsheet-safe has no effect"), "{}", refused.stderr);
}
