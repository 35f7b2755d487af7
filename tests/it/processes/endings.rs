//! The end of a run: drained by a signal, at once by a second one, or when the grace period has passed.

use std::collections::BTreeSet;

use super::PLAIN;
use super::admin::get;
use super::program::{Running, TestDir, eventually};
use super::table::{Table, consume};

/// Publishes orders 1 to `last`, or their payments.
async fn publish(dir: &TestDir, producer: &'static str, last: u32, manifest: &str) {
    let ids = format!("1-{last}");
    let args = ["--order-ids", &ids, "--rate", "max", "--manifest", manifest];
    dir.run(producer, &[&args[..], &PLAIN].concat()).await.with(0);
}

/// Starts an order consumer on a backlog and waits until it has recorded some of it.
async fn in_the_middle(dir: &TestDir, args: &[&str]) -> (Table, Running) {
    let consumer = dir.start("order_consumer", &[&["--set", "embedded.ack_deadline=1s"], args].concat());
    let table = Table::of(dir).await;
    eventually("it is in the middle", async || (table.facts() > 50).then_some(())).await;
    (table, consumer)
}

/// Asserts that another start consumes the rest.
async fn the_next_start_consumes_the_rest(dir: &TestDir) {
    consume(dir, "order_consumer", &[]).await;
    dir.run("ecom_facts", &["verify", "--manifest", "orders.json", "--wait", "60s"]).await.with(0);
}

fn summary(dir: &TestDir) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(dir.path("summary.json")).unwrap()).unwrap()
}

#[tokio::test]
async fn a_signal_drains_a_consumer_under_load() {
    let dir = TestDir::new();
    publish(&dir, "orders_producer", 4_000, "orders.json").await;
    let args = ["--max-in-flight", "16", "--summary", "summary.json"];
    let (table, consumer) = in_the_middle(&dir, &args).await;
    let ended = consumer.drained().await.with(0);
    let says = |what: &str| ended.stderr.lines().any(|line| line.contains(what));
    assert!(says("draining ") && says(" in flight, up to 25s; Ctrl-C again to stop now"), "{}", ended.stderr);
    assert!(says("order_consumer: "), "no summary line: {}", ended.stderr);
    assert_eq!(ended.stdout, "", "stdout is data");

    let summary = summary(&dir);
    let keys: BTreeSet<&str> = summary.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "role",
        "received",
        "published",
        "applied",
        "already_applied",
        "superseded",
        "recorded",
        "buffered",
        "dead_lettered",
        "retried",
        "recovered",
        "parked",
        "nacked",
        "redelivered",
        "elapsed_seconds",
        "per_second",
        "p50_seconds",
        "p99_seconds",
    ];
    assert_eq!(keys, BTreeSet::from(expected), "{summary}");
    let applied = summary["applied"].as_i64().unwrap();
    assert_eq!(applied, table.facts(), "every acked order is recorded: {summary}");
    assert_eq!(summary["received"], summary["applied"], "every delivery is acked: {summary}");
    assert!(applied < 4_000, "it ended before the signal: {summary}");
    assert_eq!(table.leased("orders_data"), 0, "no message is leased after a drain");
    the_next_start_consumes_the_rest(&dir).await;
    assert_eq!(table.facts(), 4_000);
}

#[tokio::test]
async fn payments_in_the_early_payment_buffer_are_nacked_by_a_drain_and_not_dead_lettered() {
    let dir = TestDir::new();
    publish(&dir, "payments_producer", 40, "payments.json").await;
    let args = ["--order-grace", "10m", "--summary", "summary.json", "--admin-listen", "127.0.0.1:0"];
    let mut consumer = dir.start("payment_consumer", &args);
    let table = Table::of(&dir).await;
    let admin = consumer.serves().await;
    let buffered = "ecom_messages_buffered_total{role=\"payment_consumer\"} 40\n";
    eventually("all are buffered", async || get(&admin, "/metrics").await.contains(buffered).then_some(()))
        .await;
    let ended = consumer.drained().await.with(0);
    let summary = summary(&dir);
    assert_eq!(summary["nacked"], 40, "{summary} {}", ended.stderr);
    assert_eq!(summary["dead_lettered"], serde_json::json!({}), "{summary}");
    assert_eq!(table.number("SELECT count(*) FROM messages"), 40, "all are still on the topic");

    publish(&dir, "orders_producer", 40, "orders.json").await;
    consume(&dir, "order_consumer", &[]).await;
    consume(&dir, "payment_consumer", &[]).await;
    let both = ["verify", "--manifest", "orders.json", "--manifest", "payments.json"];
    dir.run("ecom_facts", &both).await.with(0);
    assert_eq!(table.dead_letters(), 0);
}

#[tokio::test]
async fn a_second_signal_ends_a_drain_at_once() {
    let dir = TestDir::new();
    publish(&dir, "orders_producer", 4_000, "orders.json").await;
    let (table, mut consumer) = in_the_middle(&dir, &["--max-in-flight", "16"]).await;
    let locked = table.block_writers();
    consumer.signal("TERM");
    consumer.says("draining ").await;
    assert!(consumer.is_running(), "the drain cannot end: the file is locked");
    consumer.signal("TERM");
    let ended = consumer.ended().await.with(130);
    assert!(ended.stderr.contains("stopped by a second signal"), "{}", ended.stderr);
    drop(locked);
    the_next_start_consumes_the_rest(&dir).await;
}

#[tokio::test]
async fn a_drain_that_takes_longer_than_the_grace_period_fails() {
    let dir = TestDir::new();
    publish(&dir, "orders_producer", 4_000, "orders.json").await;
    let args = ["--max-in-flight", "16", "--set", "shutdown.grace_period=1s"];
    let (table, consumer) = in_the_middle(&dir, &args).await;
    let locked = table.block_writers();
    let ended = consumer.drained().await.with(1);
    assert!(ended.stderr.contains("error: the grace period of 1s ran out with "), "{}", ended.stderr);
    assert!(ended.stderr.contains("\nhint: "), "{}", ended.stderr);
    drop(locked);
    the_next_start_consumes_the_rest(&dir).await;
}

#[tokio::test]
async fn bounded_runs_end_by_themselves() {
    let dir = TestDir::new();
    publish(&dir, "orders_producer", 300, "orders.json").await;
    let counted = ["--count", "100", "--summary", "summary.json"];
    dir.run("order_consumer", &counted).await.with(0);
    assert_eq!(summary(&dir)["received"], 100);
    let timed = ["--duration", "300ms", "--max-in-flight", "1", "--summary", "summary.json"];
    dir.run("order_consumer", &timed).await.with(0);
    assert!(summary(&dir)["elapsed_seconds"].as_f64() >= Some(0.3));
    let idle = ["--exit-on-idle", "5s", "--summary", "summary.json"];
    dir.run("order_consumer", &idle).await.with(0);
    assert!(summary(&dir)["elapsed_seconds"].as_f64() >= Some(5.0));
    the_next_start_consumes_the_rest(&dir).await;
    let producer = ["--loop", "--order-ids", "1-3", "--rate", "100/s"];
    let producer = dir.start("orders_producer", &[&producer[..], &PLAIN].concat());
    let table = Table::of(&dir).await;
    eventually("it publishes in a loop", async || {
        (table.number("SELECT count(*) FROM messages") > 10).then_some(())
    })
    .await;
    let ended = producer.drained().await.with(0);
    assert!(ended.stderr.contains(" published,"), "{}", ended.stderr);
}
