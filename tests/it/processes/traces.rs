//! Traces of real processes: none of their work waits for a collector.

#[cfg(feature = "otlp")]
use super::PLAIN;
use super::program::TestDir;
#[cfg(feature = "otlp")]
use super::table::Table;

/// An address where nothing listens.
const NOBODY: &str = "http://127.0.0.1:1";

#[cfg(feature = "otlp")]
#[tokio::test]
async fn a_collector_that_is_down_costs_a_warning_and_nothing_else() {
    let dir = TestDir::new();
    let traced = ["--set", &format!("traces.otlp_endpoint={NOBODY}"), "--set", "traces.sample_ratio=1"];
    let orders = ["--order-ids", "1-300", "--rate", "max"];
    let ended = dir.run("orders_producer", &[&orders[..], &PLAIN, &traced].concat()).await.with(0);
    assert!(ended.stderr.contains(&format!("sending traces to {NOBODY}")), "{}", ended.stderr);
    let consumer = dir.program("order_consumer", &["--exit-on-idle", "1s", "--set", "traces.sample_ratio=1"]);
    let ended = consumer.env("OTEL_EXPORTER_OTLP_ENDPOINT", NOBODY).run().await.with(0);
    assert!(ended.stderr.contains(" spans are lost: "), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches(" spans are lost: ").count(), 1, "{}", ended.stderr);
    assert_eq!(Table::of(&dir).await.facts(), 300);
}

#[cfg(not(feature = "otlp"))]
#[tokio::test]
async fn a_build_without_traces_refuses_an_endpoint() {
    let dir = TestDir::new();
    let consumer = dir.program("order_consumer", &["--exit-on-idle", "1s"]);
    let ended = consumer.env("OTEL_EXPORTER_OTLP_ENDPOINT", NOBODY).run().await.with(2);
    let error = "error: OTEL_EXPORTER_OTLP_ENDPOINT: traces.otlp_endpoint is set, but this build sends no traces\n\
                 hint: build with --features otlp\n";
    assert_eq!(ended.stderr, error);
    assert!(!dir.path("data").exists(), "it has done nothing");
}

#[tokio::test]
async fn an_endpoint_that_is_no_url_is_refused() {
    let dir = TestDir::new();
    let args = ["--exit-on-idle", "1s", "--set", "traces.otlp_endpoint=127.0.0.1:4317"];
    let ended = dir.run("order_consumer", &args).await.with(2);
    assert!(ended.stderr.starts_with("error: --set: traces.otlp_endpoint must be a URL"), "{}", ended.stderr);
}
