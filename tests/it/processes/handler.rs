//! `dlq_handler` for cron and on-call: a bounded run, the report, and its exit codes.

use super::PLAIN;
use super::program::TestDir;
use super::table::{Table, consume};

#[tokio::test]
async fn a_run_with_once_records_and_sweeps_and_the_report_fails_while_dead_letters_are_open() {
    let dir = TestDir::new();
    let events = |manifest| ["--order-ids", "1-20", "--rate", "max", "--manifest", manifest];
    let payments = [&events("payments.json")[..], &PLAIN].concat();
    dir.run("payments_producer", &payments).await.with(0);
    consume(&dir, "payment_consumer", &["--order-grace", "0s"]).await;
    let report = ["report", "--format", "json"];
    let before = dir.run("dlq_handler", &report).await.with(0).json();
    assert_eq!(before["open"], 0, "they are still on the topic: {before}");

    let run = dir.run("dlq_handler", &["run", "--once", "--exit-on-idle", "5s"]).await.with(0);
    assert!(run.stderr.contains("checked 20 dead letters: 0 recovered, 20 still open"), "{}", run.stderr);
    assert_eq!(run.stdout, "");
    let found = dir.run("dlq_handler", &report).await.with(0).json();
    assert_eq!(found["open"], 20, "{found}");
    let [dead_letters] = &found["dead_letters"].as_array().unwrap()[..] else { panic!("{found}") };
    assert_eq!(dead_letters["state"], "waiting", "{found}");
    assert_eq!(dead_letters["reason"], "order_not_found", "{found}");
    assert_eq!(dead_letters["dead_letters"], 20, "{found}");
    assert!(dead_letters["oldest_age_seconds"].as_u64() < Some(120), "{found}");
    let store = found["store"].as_str().unwrap();
    assert!(store.starts_with("embedded at /") && store.ends_with("/data/ecom_store.db"), "{store}");

    let paged = ["report", "--fail-on-open", "--out", "report.txt"];
    let paged = dir.run("dlq_handler", &paged).await.with(3);
    assert_eq!(paged.stdout, "", "the report went to the file");
    let written = std::fs::read_to_string(dir.path("report.txt")).unwrap();
    assert!(written.contains("order_not_found"), "{written}");

    let orders = [&events("orders.json")[..], &PLAIN].concat();
    dir.run("orders_producer", &orders).await.with(0);
    consume(&dir, "order_consumer", &[]).await;
    let open = ["verify", "--manifest", "orders.json", "--manifest", "payments.json", "--format", "json"];
    let waiting = dir.run("ecom_facts", &open).await.with(3).json();
    assert_eq!(waiting["faults"]["waiting_though_order_there"], 20, "{waiting}");
    let run = dir.run("dlq_handler", &["--once"]).await.with(0);
    assert!(run.stderr.contains("checked 20 dead letters: 20 recovered, 0 still open"), "{}", run.stderr);
    dir.run("dlq_handler", &["report", "--fail-on-open"]).await.with(0);
    dir.run("ecom_facts", &open).await.with(0);
}

#[tokio::test]
async fn two_handlers_of_one_dead_letter_store_recover_each_dead_letter_once() {
    let dir = TestDir::new();
    let events = |manifest| ["--order-ids", "1-200", "--rate", "max", "--manifest", manifest];
    dir.run("payments_producer", &[&events("payments.json")[..], &PLAIN].concat()).await.with(0);
    let quick = ["--set", "dead_letters.max_backoff=1s"];
    let handlers = [dir.start("dlq_handler", &quick), dir.start("dlq_handler", &quick)];
    consume(&dir, "payment_consumer", &["--order-grace", "0s"]).await;
    dir.run("orders_producer", &[&events("orders.json")[..], &PLAIN].concat()).await.with(0);
    consume(&dir, "order_consumer", &[]).await;
    let both = ["verify", "--manifest", "orders.json", "--manifest", "payments.json", "--wait", "60s"];
    dir.run("ecom_facts", &both).await.with(0);
    for handler in handlers {
        handler.drained().await.with(0);
    }
    dir.run("dlq_handler", &["report", "--fail-on-open"]).await.with(0);
    let table = Table::of(&dir).await;
    let recovered = table.number("SELECT count(*) FROM dead_letters WHERE state = 'recovered'");
    assert_eq!((table.dead_letters(), recovered), (200, 200), "every payment was a dead letter, each once");
}
