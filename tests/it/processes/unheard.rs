//! Programs whose stderr or stdout cannot be written: the exit code and the work are the same as ever.

use std::process::Stdio;

use super::PLAIN;
use super::program::{TestDir, eventually};
use super::table::Table;

/// A stderr that takes nothing: a full disk, and a pipe whose reader has closed it.
const DEAF: [fn() -> Stdio; 2] = [full, broken_pipe];

fn full() -> Stdio {
    std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

fn broken_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// Publishes orders 1 to `last` and their payments.
async fn published(dir: &TestDir, last: u32) {
    let ids = format!("1-{last}");
    for producer in ["orders_producer", "payments_producer"] {
        dir.run(producer, &[&["--order-ids", &ids, "--rate", "max"], &PLAIN[..]].concat()).await.with(0);
    }
}

#[tokio::test]
async fn no_write_to_stderr_changes_an_exit_code() {
    let none = "20260131-07-0123456789abcdef0123456789abcdef";
    let cases: [(&'static str, &[&str], i32); 16] = [
        ("ecom_setup", &[], 0),
        ("orders_producer", &["--order-ids", "1-20", "--rate", "max", "--manifest", "m.json"], 0),
        ("payments_producer", &["--order-ids", "21-40", "--rate", "max", "-vv"], 0),
        ("order_consumer", &["--exit-on-idle", "100ms", "-vv"], 0),
        ("payment_consumer", &["--exit-on-idle", "100ms", "--order-grace", "0s", "--log-format", "json"], 0),
        ("dlq_handler", &["run", "--once"], 0),
        ("dlq_handler", &["show", none], 3),
        ("dlq_handler", &["explain", "4711"], 3),
        ("dlq_handler", &["retry", "--all", "--yes"], 0),
        ("dlq_handler", &["retry"], 2),
        ("dlq_handler", &["history", "--format", "csv"], 0),
        ("dlq_handler", &["list", "--limit", "0"], 0),
        ("ecom_facts", &["show", "4711"], 3),
        ("ecom_facts", &["export"], 0),
        ("ecom_facts", &["--no-such-flag"], 2),
        ("ecom_demo", &["--orders", "200"], 0),
    ];
    for deaf in DEAF {
        let dir = TestDir::new();
        for (name, args, code) in cases {
            let ended = dir.program(name, args).stderr(deaf()).run().await;
            assert_eq!(ended.code, Some(code), "{name} {args:?}\n{}", ended.stdout);
        }
    }
}

#[tokio::test]
async fn a_consumer_without_a_stderr_drains_on_a_signal_and_ends_at_once_on_the_second() {
    for deaf in DEAF {
        let dir = TestDir::new();
        published(&dir, 2_000).await;
        let args = ["--max-in-flight", "4", "--set", "embedded.ack_deadline=1s"];
        let drained = dir.program("order_consumer", &args).stderr(deaf()).start();
        let table = Table::of(&dir).await;
        eventually("it is in the middle", async || (table.facts() > 20).then_some(())).await;
        assert_eq!(drained.drained().await.code, Some(0));
        assert_eq!(table.leased("orders_data"), 0, "no message is leased after a drain");

        let recorded = table.facts();
        let mut stopped = dir.program("order_consumer", &args).stderr(deaf()).start();
        eventually("it is in the middle", async || (table.facts() > recorded + 20).then_some(())).await;
        let locked = table.block_writers();
        stopped.signal("TERM");
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        assert!(stopped.is_running(), "the drain cannot end: the file is locked");
        stopped.signal("TERM");
        assert_eq!(stopped.ended().await.code, Some(130));
        drop(locked);
    }
}

#[tokio::test]
async fn a_producer_without_a_stderr_waits_out_an_outage() {
    let dir = TestDir::new();
    let args = ["--order-ids", "1-1500", "--rate", "500/s"];
    let producer = dir.program("orders_producer", &[&args[..], &PLAIN].concat()).stderr(full()).start();
    let table = Table::of(&dir).await;
    eventually("some are published", async || (table.published() > 100).then_some(())).await;
    let locked = table.block_writers();
    // Longer than a call waits for the lock, so that the outage is logged.
    tokio::time::sleep(std::time::Duration::from_secs(8)).await;
    drop(locked);
    assert_eq!(producer.ended().await.code, Some(0));
    assert_eq!(table.published(), 1_500);
}

#[tokio::test]
async fn a_reader_that_closes_stdout_ends_a_command_and_is_not_an_error() {
    let dir = TestDir::new();
    published(&dir, 300).await;
    dir.run("payment_consumer", &["--exit-on-idle", "1s", "--order-grace", "0s"]).await.with(0);
    dir.run("dlq_handler", &["run", "--once"]).await.with(0);
    dir.run("order_consumer", &["--exit-on-idle", "1s"]).await.with(0);
    let commands: [(&'static str, &[&str], i32); 9] = [
        ("dlq_handler", &["triage"], 0),
        ("dlq_handler", &["triage", "--watch", "1s"], 0),
        ("dlq_handler", &["triage", "--watch", "1s", "--format", "json"], 0),
        ("dlq_handler", &["list", "--limit", "0"], 0),
        ("dlq_handler", &["report", "--fail-on-open"], 3),
        ("dlq_handler", &["history"], 0),
        ("ecom_facts", &["export"], 0),
        ("ecom_setup", &["--check"], 0),
        ("ecom_setup", &["completions", "bash"], 0),
    ];
    for (name, args, code) in commands {
        let ended = dir.program(name, args).stdout(broken_pipe()).run().await;
        assert_eq!(ended.code, Some(code), "{name} {args:?}\n{}", ended.stderr);
        assert!(!ended.stderr.contains("error"), "{name} {args:?}\n{}", ended.stderr);
        // A full disk loses data, which is an error.
        if code == 0 && !args.contains(&"--watch") {
            let full = dir.program(name, args).stdout(full()).run().await;
            assert_eq!(full.code, Some(1), "{name} {args:?}\n{}", full.stderr);
        }
    }
}
