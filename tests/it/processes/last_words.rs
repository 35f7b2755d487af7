//! The last words of a program: complete, in the log format that was asked for, and each said once.

use super::PLAIN;
use super::program::{ProgramOutput, TestDir, eventually};
use super::table::Table;

/// A folder with dead letters of this many payments, which wait for their orders.
async fn waiting(last: u32) -> TestDir {
    let dir = TestDir::new();
    let ids = format!("1-{last}");
    publish(&dir, "payments_producer", &ids).await;
    dir.run("payment_consumer", &["--exit-on-idle", "1s", "--order-grace", "0s"]).await.with(0);
    dir.run("dlq_handler", &["run", "--once"]).await.with(0);
    dir
}

async fn publish(dir: &TestDir, producer: &'static str, ids: &str) {
    dir.run(producer, &[&["--order-ids", ids, "--rate", "max"], &PLAIN[..]].concat()).await.with(0);
}

fn summary(dir: &TestDir) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(dir.path("s.json")).unwrap()).unwrap()
}

#[tokio::test]
async fn the_handler_sums_up_its_retries_and_recoveries() {
    let dir = waiting(20).await;
    publish(&dir, "orders_producer", "1-15").await;
    dir.run("order_consumer", &["--exit-on-idle", "1s"]).await.with(0);
    let once = dir.run("dlq_handler", &["run", "--once", "--summary", "s.json"]).await.with(0);
    let found = summary(&dir);
    assert_eq!((found["retried"].as_u64(), found["recovered"].as_u64()), (Some(20), Some(15)), "{found}");
    assert_eq!(found["parked"], 0, "{found}");
    assert!(found["per_second"].as_f64() > Some(0.0), "{found}");
    assert!(once.stderr.contains(" 20 retried, 15 recovered,"), "{}", once.stderr);

    publish(&dir, "orders_producer", "16-20").await;
    dir.run("order_consumer", &["--exit-on-idle", "1s"]).await.with(0);
    let quick = ["--set", "dead_letters.max_backoff=1s", "--summary", "s.json"];
    let handler = dir.start("dlq_handler", &quick);
    let table = Table::of(&dir).await;
    let recovered = "SELECT count(*) FROM dead_letters WHERE state = 'recovered'";
    eventually("all are recovered", async || (table.number(recovered) == 20).then_some(())).await;
    handler.drained().await.with(0);
    let found = summary(&dir);
    assert_eq!(found["recovered"], 5, "{found}");
    assert!(found["retried"].as_u64() >= Some(5), "{found}");
}

/// Asserts that every line on stderr is a log line in JSON, and returns them.
#[track_caller]
fn json_lines(ended: &ProgramOutput) -> Vec<serde_json::Value> {
    let lines = ended.stderr.lines().map(|line| {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{}", ended.stderr));
        for key in ["timestamp", "level", "message"] {
            assert!(value[key].is_string(), "{key} of {line}");
        }
        value
    });
    lines.collect()
}

#[tokio::test]
async fn with_json_logs_every_line_on_stderr_is_json() {
    let dir = waiting(3).await;
    let none = "20260131-07-0123456789abcdef0123456789abcdef";
    let cases: [(&'static str, &[&str], i32); 12] = [
        ("ecom_setup", &[], 0),
        ("orders_producer", &["--order-ids", "1-20", "--rate", "max", "--manifest", "m.json"], 0),
        ("orders_producer", &["--from", "absent"], 2),
        ("order_consumer", &["--set", "log.nonsense=1", "--set", "more.nonsense=2"], 2),
        ("order_consumer", &["--exit-on-idle", "1s"], 0),
        ("dlq_handler", &["run", "--once"], 0),
        ("dlq_handler", &["show", none], 3),
        ("dlq_handler", &["list", "--format", "csv"], 0),
        ("dlq_handler", &["discard", "--order", "1", "--note", "x", "--yes"], 0),
        ("ecom_facts", &["show", "4711"], 3),
        ("ecom_facts", &["export"], 0),
        ("ecom_demo", &["--orders", "100"], 0),
    ];
    for (name, args, code) in cases {
        let ended = dir.run(name, &[args, &["--log-format", "json"]].concat()).await.with(code);
        let lines = json_lines(&ended);
        if code > 0 {
            let error = lines.iter().find(|line| line["level"] == "ERROR");
            assert!(error.is_some(), "{name} {args:?}: {}", ended.stderr);
        }
    }
    let faults = dir.program("order_consumer", &["--set", "log.nonsense=1"]).env("ECOM__LOG__FORMAT", "json");
    json_lines(&faults.run().await.with(2));

    publish(&dir, "orders_producer", "100-3000").await;
    let consumer = dir.start("order_consumer", &["--max-in-flight", "4", "--log-format", "json"]);
    let table = Table::of(&dir).await;
    eventually("it is in the middle", async || (table.facts() > 50).then_some(())).await;
    let lines = json_lines(&consumer.drained().await.with(0));
    let message = |line: &serde_json::Value| line["message"].as_str().unwrap().to_owned();
    assert!(lines.iter().any(|line| message(line).starts_with("draining ")), "{lines:?}");
    let last = lines.last().unwrap();
    assert!(message(last).starts_with("order_consumer: "), "{last}");
    assert!(last["summary"]["applied"].as_u64() > Some(0), "{last}");
}

#[tokio::test]
async fn setup_tells_what_it_created_from_what_was_there() {
    let dir = TestDir::new();
    let first = dir.run("ecom_setup", &[]).await.with(0);
    assert!(first.stdout.ends_with("/data/ecom_store.db created\n"), "{}", first.stdout);
    for args in [&[][..], &["--check"]] {
        let again = dir.run("ecom_setup", args).await.with(0);
        assert!(again.stdout.ends_with("/data/ecom_store.db present\n"), "{}", again.stdout);
    }
}

#[tokio::test]
async fn an_answer_names_its_store_once() {
    let dir = waiting(3).await;
    publish(&dir, "orders_producer", "1-2").await;
    dir.run("order_consumer", &["--exit-on-idle", "1s"]).await.with(0);
    let manifest = ["--order-ids", "5-6", "--rate", "max", "--manifest", "m.json"];
    dir.run("orders_producer", &[&manifest, &PLAIN[..]].concat()).await.with(0);
    let id: String = Table::of(&dir).await.rows("SELECT id FROM dead_letters", |row| row.get(0)).remove(0);
    let commands: [(&'static str, &[&str]); 15] = [
        ("dlq_handler", &["triage"]),
        ("dlq_handler", &["list"]),
        ("dlq_handler", &["list", "--format", "csv"]),
        ("dlq_handler", &["list", "--format", "json"]),
        ("dlq_handler", &["show", &id]),
        ("dlq_handler", &["show", &id, "--body"]),
        ("dlq_handler", &["explain", "1"]),
        ("dlq_handler", &["report"]),
        ("dlq_handler", &["history"]),
        ("dlq_handler", &["history", "--format", "csv"]),
        ("dlq_handler", &["retry", "--all", "--dry-run"]),
        ("ecom_facts", &["show", "1"]),
        ("ecom_facts", &["show", "4711"]),
        ("ecom_facts", &["export"]),
        ("ecom_facts", &["verify", "--manifest", "m.json"]),
    ];
    for (name, args) in commands {
        let ended = dir.run(name, args).await;
        let said = ended.stdout + &ended.stderr;
        assert_eq!(said.matches("embedded at /").count(), 1, "{name} {args:?}\n{said}");
    }
    for args in [&[][..], &["--check"]] {
        let ended = dir.run("ecom_setup", args).await.with(0);
        let said = ended.stdout + &ended.stderr;
        assert_eq!(said.matches("embedded at /").count(), 1, "ecom_setup {args:?}\n{said}");
    }
    let retried = dir.run("dlq_handler", &["retry", "--all", "--yes"]).await.with(0);
    // The plan goes to the terminal, and the report to whoever reads stdout.
    for said in [retried.stdout, retried.stderr] {
        assert_eq!(said.matches("embedded at /").count(), 1, "retry\n{said}");
    }
}
