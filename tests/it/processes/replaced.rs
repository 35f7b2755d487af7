//! The embedded file is moved, deleted or replaced while programs have it open.

use super::PLAIN;
use super::program::{Running, TestDir, eventually};
use super::table::Table;

/// Starts every kind of program that stays on the file, and waits until each has opened it.
async fn start_all(dir: &TestDir) -> Vec<Running> {
    let mut started = vec![
        dir.start(
            "orders_producer",
            &[&["--loop", "--order-ids", "1-50", "--rate", "20/s"], &PLAIN[..]].concat(),
        ),
        dir.start("order_consumer", &[]),
        dir.start("payment_consumer", &[]),
        dir.start("dlq_handler", &[]),
    ];
    let table = Table::of(dir).await;
    for running in &mut started {
        running.says("using ").await;
    }
    let watching = dir.start("dlq_handler", &["triage", "--watch", "1s"]);
    eventually("the watch shows something", async || (!watching.stdout().is_empty()).then_some(())).await;
    started.push(watching);
    drop(table);
    started
}

async fn each_fails(started: Vec<Running>) {
    for running in started {
        let ended = running.ended().await.with(1);
        let error = ended.error();
        assert!(error.contains("ecom_store.db was moved, deleted or replaced"), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn whoever_has_a_deleted_file_open_fails() {
    let dir = TestDir::new();
    let started = start_all(&dir).await;
    std::fs::remove_dir_all(dir.path("data")).unwrap();
    each_fails(started).await;
    assert!(!dir.path("data").exists(), "no program creates another file in its place");
}

#[tokio::test]
async fn whoever_has_a_replaced_file_open_fails_and_the_new_file_is_not_written() {
    let dir = TestDir::new();
    let started = start_all(&dir).await;
    dir.run("ecom_setup", &["--data-dir", "new"]).await.with(0);
    std::fs::rename(dir.path("data"), dir.path("old")).unwrap();
    std::fs::rename(dir.path("new"), dir.path("data")).unwrap();
    each_fails(started).await;
    let table = Table::of(&dir).await;
    assert_eq!((table.published(), table.facts()), (0, 0));
}

#[tokio::test]
async fn the_demo_does_not_empty_a_folder_that_is_in_use() {
    let dir = TestDir::new();
    dir.run("ecom_demo", &["--orders", "50"]).await.with(0);
    let facts = Table::in_folder(&dir.path("data/demo")).await.facts();
    let mut consumer = dir.start("order_consumer", &["--data-dir", "data/demo"]);
    consumer.says("using ").await;
    let refused = dir.run("ecom_demo", &["--orders", "70"]).await.with(1);
    assert!(refused.stderr.contains("ecom_store.db is in use by another process"), "{}", refused.stderr);
    assert!(refused.stderr.contains("\nhint: "), "{}", refused.stderr);
    assert!(consumer.is_running());
    consumer.drained().await.with(0);
    assert_eq!(Table::in_folder(&dir.path("data/demo")).await.facts(), facts, "nothing was changed");
    dir.run("ecom_demo", &["--orders", "70"]).await.with(0);
}
