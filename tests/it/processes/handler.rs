//! `dlq_handler` for cron and for the page: one pass, the report, and its exit codes.

use super::PLAIN;
use super::program::Site;
use super::table::consume;

#[tokio::test]
async fn the_handler_drains_passes_and_reports_until_nothing_is_open() {
    let site = Site::new();
    let events = |manifest| ["--order-ids", "1-20", "--rate", "max", "--manifest", manifest];
    let payments = [&events("payments.json")[..], &PLAIN].concat();
    site.run("payments_producer", &payments).await.with(0);
    consume(&site, "payment_consumer", &["--order-grace", "0s"]).await;
    let report = ["report", "--format", "json"];
    let before = site.run("dlq_handler", &report).await.with(0).json();
    assert_eq!(before["open"], 0, "they are on the topic still: {before}");

    let pass = site.run("dlq_handler", &["run", "--once", "--exit-on-idle", "5s"]).await.with(0);
    assert!(pass.stderr.contains("checked 20 dead letters: 0 recovered, 20 still open"), "{}", pass.stderr);
    assert_eq!(pass.stdout, "");
    let found = site.run("dlq_handler", &report).await.with(0).json();
    assert_eq!(found["open"], 20, "{found}");
    let [dead_letters] = &found["dead_letters"].as_array().unwrap()[..] else { panic!("{found}") };
    assert_eq!(dead_letters["state"], "waiting", "{found}");
    assert_eq!(dead_letters["reason"], "order_not_found", "{found}");
    assert_eq!(dead_letters["dead_letters"], 20, "{found}");
    assert!(dead_letters["oldest_age_seconds"].as_u64() < Some(120), "{found}");
    let store = found["store"].as_str().unwrap();
    assert!(store.starts_with("embedded at /") && store.ends_with("/data/ecom_store.db"), "{store}");

    let paged = ["report", "--fail-on-open", "--out", "report.txt"];
    let paged = site.run("dlq_handler", &paged).await.with(3);
    assert_eq!(paged.stdout, "", "the report went to the file");
    let written = std::fs::read_to_string(site.path("report.txt")).unwrap();
    assert!(written.contains("order_not_found"), "{written}");

    let orders = [&events("orders.json")[..], &PLAIN].concat();
    site.run("orders_producer", &orders).await.with(0);
    consume(&site, "order_consumer", &[]).await;
    let open = ["verify", "--manifest", "orders.json", "--manifest", "payments.json", "--format", "json"];
    let waiting = site.run("ecom_facts", &open).await.with(3).json();
    assert_eq!(waiting["faults"]["waiting_though_order_there"], 20, "{waiting}");
    let pass = site.run("dlq_handler", &["--once"]).await.with(0);
    assert!(pass.stderr.contains("checked 20 dead letters: 20 recovered, 0 still open"), "{}", pass.stderr);
    site.run("dlq_handler", &["report", "--fail-on-open"]).await.with(0);
    site.run("ecom_facts", &open).await.with(0);
}

#[tokio::test]
async fn two_handlers_share_a_dead_letter_store() {
    let site = Site::new();
    let events = |manifest| ["--order-ids", "1-200", "--rate", "max", "--manifest", manifest];
    site.run("payments_producer", &[&events("payments.json")[..], &PLAIN].concat()).await.with(0);
    let quick = ["--set", "dead_letters.max_backoff=1s"];
    let handlers = [site.start("dlq_handler", &quick), site.start("dlq_handler", &quick)];
    consume(&site, "payment_consumer", &["--order-grace", "0s"]).await;
    site.run("orders_producer", &[&events("orders.json")[..], &PLAIN].concat()).await.with(0);
    consume(&site, "order_consumer", &[]).await;
    let both = ["verify", "--manifest", "orders.json", "--manifest", "payments.json", "--wait", "60s"];
    site.run("ecom_facts", &both).await.with(0);
    for handler in handlers {
        handler.drained().await.with(0);
    }
    site.run("dlq_handler", &["report", "--fail-on-open"]).await.with(0);
}
