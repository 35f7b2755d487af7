//! How consumers end: drained by a signal, at once by a second one, late by the grace period.

use std::collections::BTreeSet;

use super::PLAIN;
use super::admin::get;
use super::program::{Running, Site, eventually};
use super::table::{Table, consume};

/// Publishes orders 1 to `last`, or their payments.
async fn published(site: &Site, producer: &'static str, last: u32, manifest: &str) {
    let ids = format!("1-{last}");
    let args = ["--order-ids", &ids, "--rate", "max", "--manifest", manifest];
    site.run(producer, &[&args[..], &PLAIN].concat()).await.with(0);
}

/// Starts an order consumer on a backlog and waits until it is in the middle of it.
async fn in_the_middle(site: &Site, args: &[&str]) -> (Table, Running) {
    let consumer = site.start("order_consumer", &[&["--set", "embedded.ack_deadline=1s"], args].concat());
    let table = Table::of(site).await;
    eventually("it is in the middle", async || (table.facts() > 50).then_some(())).await;
    (table, consumer)
}

/// The rest is consumed by the next start.
async fn the_next_start_consumes_the_rest(site: &Site) {
    consume(site, "order_consumer", &[]).await;
    site.run("ecom_facts", &["verify", "--manifest", "orders.json", "--wait", "60s"]).await.with(0);
}

fn summary(site: &Site) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(site.path("summary.json")).unwrap()).unwrap()
}

#[tokio::test]
async fn a_signal_drains_a_consumer_under_load() {
    let site = Site::new();
    published(&site, "orders_producer", 4_000, "orders.json").await;
    let args = ["--max-in-flight", "16", "--summary", "summary.json"];
    let (table, consumer) = in_the_middle(&site, &args).await;
    let ended = consumer.drained().await.with(0);
    let says = |what: &str| ended.stderr.lines().any(|line| line.contains(what));
    assert!(says("draining ") && says(" in flight, up to 25s; Ctrl-C again to stop now"), "{}", ended.stderr);
    assert!(says("order_consumer: "), "no summary line: {}", ended.stderr);
    assert_eq!(ended.stdout, "", "stdout is data");

    let summary = summary(&site);
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
        "nacked",
        "redelivered",
        "elapsed_seconds",
        "per_second",
        "p50_seconds",
        "p99_seconds",
    ];
    assert_eq!(keys, BTreeSet::from(expected), "{summary}");
    let applied = summary["applied"].as_i64().unwrap();
    assert_eq!(applied, table.facts(), "acknowledged is recorded: {summary}");
    assert_eq!(summary["received"], summary["applied"], "every delivery is acked: {summary}");
    assert!(applied < 4_000, "it was drained in the middle: {summary}");
    assert_eq!(table.leased("orders_data"), 0, "nothing is held after a drain");
    the_next_start_consumes_the_rest(&site).await;
    assert_eq!(table.facts(), 4_000);
}

#[tokio::test]
async fn buffered_payments_are_nacked_by_a_drain_and_not_dead_lettered() {
    let site = Site::new();
    published(&site, "payments_producer", 40, "payments.json").await;
    let args = ["--order-grace", "10m", "--summary", "summary.json", "--admin-listen", "127.0.0.1:0"];
    let mut consumer = site.start("payment_consumer", &args);
    let table = Table::of(&site).await;
    let admin = consumer.serves().await;
    let buffered = "ecom_messages_buffered_total{role=\"payment_consumer\"} 40\n";
    eventually("all are buffered", async || get(&admin, "/metrics").await.contains(buffered).then_some(()))
        .await;
    let ended = consumer.drained().await.with(0);
    let summary = summary(&site);
    assert_eq!(summary["nacked"], 40, "{summary} {}", ended.stderr);
    assert_eq!(summary["dead_lettered"], serde_json::json!({}), "{summary}");
    assert_eq!(table.number("SELECT count(*) FROM messages"), 40, "all are on the topic still");

    published(&site, "orders_producer", 40, "orders.json").await;
    consume(&site, "order_consumer", &[]).await;
    consume(&site, "payment_consumer", &[]).await;
    let both = ["verify", "--manifest", "orders.json", "--manifest", "payments.json"];
    site.run("ecom_facts", &both).await.with(0);
    assert_eq!(table.dead_letters(), 0);
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let site = Site::new();
    published(&site, "orders_producer", 4_000, "orders.json").await;
    let (table, mut consumer) = in_the_middle(&site, &["--max-in-flight", "16"]).await;
    let stopped = table.stop_writers();
    consumer.signal("TERM");
    consumer.says("draining ").await;
    assert!(consumer.is_running(), "it cannot be done: nobody can write");
    consumer.signal("TERM");
    let ended = consumer.ended().await.with(130);
    assert!(ended.stderr.contains("stopped by a second signal"), "{}", ended.stderr);
    drop(stopped);
    the_next_start_consumes_the_rest(&site).await;
}

#[tokio::test]
async fn a_drain_that_takes_longer_than_the_grace_period_fails() {
    let site = Site::new();
    published(&site, "orders_producer", 4_000, "orders.json").await;
    let args = ["--max-in-flight", "16", "--set", "shutdown.grace_period=1s"];
    let (table, consumer) = in_the_middle(&site, &args).await;
    let stopped = table.stop_writers();
    let ended = consumer.drained().await.with(1);
    assert!(ended.stderr.contains("error: the grace period of 1s ran out with "), "{}", ended.stderr);
    assert!(ended.stderr.contains("\nhint: "), "{}", ended.stderr);
    drop(stopped);
    the_next_start_consumes_the_rest(&site).await;
}

#[tokio::test]
async fn bounded_runs_end_by_themselves() {
    let site = Site::new();
    published(&site, "orders_producer", 300, "orders.json").await;
    let counted = ["--count", "100", "--summary", "summary.json"];
    site.run("order_consumer", &counted).await.with(0);
    assert_eq!(summary(&site)["received"], 100);
    let timed = ["--duration", "300ms", "--max-in-flight", "1", "--summary", "summary.json"];
    site.run("order_consumer", &timed).await.with(0);
    let idle = ["--exit-on-idle", "5s", "--summary", "summary.json"];
    site.run("order_consumer", &idle).await.with(0);
    assert!(summary(&site)["elapsed_seconds"].as_f64() >= Some(5.0));
    the_next_start_consumes_the_rest(&site).await;
    let producer = ["--loop", "--order-ids", "1-3", "--rate", "100/s"];
    let producer = site.start("orders_producer", &[&producer[..], &PLAIN].concat());
    let table = Table::of(&site).await;
    eventually("it goes round", async || (table.number("SELECT count(*) FROM messages") > 10).then_some(()))
        .await;
    let ended = producer.drained().await.with(0);
    assert!(ended.stderr.contains(" published,"), "{}", ended.stderr);
}
