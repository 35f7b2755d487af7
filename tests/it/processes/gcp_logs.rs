//! Runs with `--log-format gcp`: Google Cloud Logging reads every line on stderr.

use super::PLAIN;
use super::program::{ProgramOutput, TestDir, eventually};
use super::table::Table;
use serde_json::Value;

/// Asserts that every line on stderr is an object with a severity, a message and a time, and returns them.
#[track_caller]
fn lines(ended: &ProgramOutput) -> Vec<Value> {
    let lines = ended.stderr.lines().map(|line| {
        let value: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{}", ended.stderr));
        let severity = value["severity"].as_str();
        assert!(matches!(severity, Some("DEBUG" | "INFO" | "WARNING" | "ERROR")), "{line}");
        assert!(value["message"].as_str().is_some_and(|message| !message.is_empty()), "{line}");
        let time = value["time"].as_str().unwrap_or_else(|| panic!("no time: {line}"));
        assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{line}");
        value
    });
    lines.collect()
}

#[tokio::test]
async fn every_line_has_a_severity_a_message_and_a_time() {
    let dir = TestDir::new();
    let cases: [(&'static str, &[&str], i32); 9] = [
        ("ecom_setup", &[], 0),
        ("orders_producer", &["--order-ids", "1-20", "--rate", "max", "--manifest", "m.json"], 0),
        ("order_consumer", &["--exit-on-idle", "1s", "-v"], 0),
        ("order_consumer", &["--no-such-flag"], 2),
        ("order_consumer", &["--max-in-flight", "many"], 2),
        ("order_consumer", &["--set", "log.nonsense=1", "--set", "more.nonsense=2"], 2),
        ("orders_producer", &["--from", "absent"], 2),
        ("ecom_facts", &["show", "4711"], 3),
        ("ecom_demo", &["--orders", "100"], 0),
    ];
    for (name, args, code) in cases {
        let ended = dir.run(name, &[args, &["--log-format", "gcp"]].concat()).await.with(code);
        let lines = lines(&ended);
        let is_error = |line: &Value| line["severity"] == "ERROR";
        assert_eq!(lines.iter().any(is_error), code > 0, "{name} {args:?}: {}", ended.stderr);
    }
    for args in [&["--set", "log.nonsense=1"][..], &["--no-such-flag"]] {
        let ended = dir.program("order_consumer", args).env("ECOM__LOG__FORMAT", "gcp").run().await.with(2);
        assert!(!lines(&ended).is_empty(), "{args:?}");
    }
}

#[tokio::test]
async fn a_drained_consumer_ends_with_its_summary() {
    let dir = TestDir::new();
    dir.run("orders_producer", &[&["--order-ids", "1-3000", "--rate", "max"], &PLAIN[..]].concat())
        .await
        .with(0);
    let consumer = dir.start("order_consumer", &["--max-in-flight", "4", "--log-format=gcp"]);
    let table = Table::of(&dir).await;
    eventually("it is in the middle", async || (table.facts() > 50).then_some(())).await;
    let lines = lines(&consumer.drained().await.with(0));
    let last = lines.last().unwrap();
    assert!(last["message"].as_str().unwrap().starts_with("order_consumer: "), "{last}");
    assert!(last["summary"]["applied"].as_u64() > Some(0), "{last}");
}
