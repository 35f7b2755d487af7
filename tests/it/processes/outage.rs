//! A locked file is an outage like any other: intake stops, and no message is dead-lettered or nacked.

use super::PLAIN;
use super::admin::get;
use super::program::{Running, TestDir, eventually};
use super::table::{Table, consume};

#[tokio::test]
async fn while_the_file_is_locked_no_order_is_nacked_or_dead_lettered_and_afterwards_all_are_recorded() {
    let dir = TestDir::new();
    let events = |manifest| ["--order-ids", "1-10000", "--rate", "max", "--manifest", manifest];
    for (name, manifest) in [("orders_producer", "orders.json"), ("payments_producer", "payments.json")] {
        dir.run(name, &[&events(manifest)[..], &PLAIN].concat()).await.with(0);
    }
    let args = ["--max-in-flight", "16", "--admin-listen", "127.0.0.1:0", "--summary"];
    let mut orders = dir.start("order_consumer", &[&args[..], &["orders-summary.json"]].concat());
    let admin = orders.serves().await;
    let table = Table::of(&dir).await;
    eventually("orders are recorded", async || (table.facts() > 20).then_some(())).await;

    let locked = table.block_writers();
    let recorded = table.facts();
    assert!(recorded < 10_000, "every order was recorded before the file was locked");
    eventually("it is not ready", async || is_ready(&admin, "503").await.then_some(())).await;
    assert!(
        get(&admin, "/livez").await.starts_with("HTTP/1.1 200 "),
        "an outage does not call for a restart"
    );
    assert_eq!(table.facts(), recorded, "written while the file was locked");
    drop(locked);

    eventually("every order is recorded", async || (table.facts() == 10_000).then_some(())).await;
    eventually("it is ready again", async || is_ready(&admin, "200").await.then_some(())).await;
    orders.drained().await.with(0);
    let summary = std::fs::read(dir.path("orders-summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&summary).unwrap();
    assert_eq!(summary["nacked"], 0, "{summary}");
    assert_eq!(summary["dead_lettered"], serde_json::json!({}), "{summary}");

    consume(&dir, "payment_consumer", &[]).await;
    let both = ["verify", "--manifest", "orders.json", "--manifest", "payments.json"];
    dir.run("ecom_facts", &both).await.with(0);
    assert_eq!(table.dead_letters(), 0);
}

/// Returns whether `/readyz` responds with this status and, if not ready, with the cause.
async fn is_ready(admin: &str, status: &str) -> bool {
    let answer = get(admin, "/readyz").await;
    answer.starts_with(&format!("HTTP/1.1 {status} "))
        && (status == "200" || answer.contains("does not answer"))
}

#[tokio::test]
async fn a_consumer_that_cannot_receive_is_not_ready() {
    let dir = TestDir::new();
    let mut orders = dir.start("order_consumer", &["--admin-listen", "127.0.0.1:0"]);
    let admin = orders.serves().await;
    let table = Table::of(&dir).await;
    eventually("it is ready", async || is_ready(&admin, "200").await.then_some(())).await;
    // Without messages there are no store calls and no publishes that could fail.
    table.execute("ALTER TABLE messages RENAME TO elsewhere");
    eventually("it is not ready", async || is_ready(&admin, "503").await.then_some(())).await;
    table.execute("ALTER TABLE elsewhere RENAME TO messages");
    eventually("it is ready again", async || is_ready(&admin, "200").await.then_some(())).await;
    orders.drained().await.with(0);
}

#[tokio::test]
async fn a_producer_waits_out_an_outage_and_publishes_everything() {
    let dir = TestDir::new();
    let events = ["--order-ids", "1-2000", "--rate", "500/s", "--manifest", "orders.json"];
    let mut producer = dir.start("orders_producer", &[&events[..], &PLAIN].concat());
    let table = Table::of(&dir).await;
    eventually("some are published", async || {
        (table.number("SELECT count(*) FROM messages") > 100).then_some(())
    })
    .await;
    let locked = table.block_writers();
    producer.says("retrying until it succeeds").await;
    drop(locked);
    producer.ended().await.with(0);
    consume(&dir, "order_consumer", &[]).await;
    dir.run("ecom_facts", &["verify", "--manifest", "orders.json"]).await.with(0);
    assert_eq!(table.dead_letters(), 0);
}

/// Each role, and the arguments that it needs.
const ROLES: &[(&str, &[&str])] = &[
    ("orders_producer", &["--rate", "10/s"]),
    ("payments_producer", &["--rate", "10/s"]),
    ("order_consumer", &[]),
    ("payment_consumer", &[]),
    ("dlq_handler", &[]),
    #[cfg(feature = "shop-embedded")]
    ("api_service", &["--listen", "127.0.0.1:0"]),
    #[cfg(feature = "shop-embedded")]
    ("payment_processor", &[]),
    #[cfg(feature = "shop-embedded")]
    ("notifier", &[]),
];
/// An admin port, and a time limit of the start that has passed at once.
const OBSERVED: [&str; 4] = ["--admin-listen", "127.0.0.1:0", "--connect-timeout", "1ms"];

/// Waits until the role is alive and not ready, with a reason that names the cause.
async fn is_waiting(running: &mut Running, cause: &str) -> String {
    let admin = running.serves().await;
    eventually("it is not ready for the right reason", async || {
        let answer = get(&admin, "/readyz").await;
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        answer.contains(cause).then_some(())
    })
    .await;
    assert!(
        get(&admin, "/livez").await.starts_with("HTTP/1.1 200 "),
        "an outage does not call for a restart"
    );
    assert!(get(&admin, "/metrics").await.starts_with("HTTP/1.1 200 "));
    admin
}

#[tokio::test]
async fn a_role_that_starts_while_the_file_is_locked_serves_its_admin_port_and_begins_once_it_is_free() {
    let dir = TestDir::new();
    std::fs::create_dir(dir.path("data")).unwrap();
    let locked = rusqlite::Connection::open(dir.path("data/ecom_store.db")).unwrap();
    locked.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let mut started = Vec::new();
    for (role, args) in ROLES {
        let mut running = dir.start(role, &[&OBSERVED, *args].concat());
        let admin = is_waiting(&mut running, "locked").await;
        started.push((running, admin));
    }
    locked.execute_batch("ROLLBACK").unwrap();
    drop(locked);
    for (running, admin) in started {
        eventually("it is ready", async || is_ready(&admin, "200").await.then_some(())).await;
        running.drained().await.with(0);
    }
}

#[cfg(all(feature = "pubsub", feature = "cassandra"))]
#[tokio::test]
async fn a_role_that_starts_without_its_bus_or_store_serves_its_admin_port() {
    let dir = TestDir::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (host, points) =
        (format!("bus.pubsub.emulator_host={closed}"), format!("store.cassandra.contact_points={closed}"));
    let no_bus = ["--set", "bus.kind=pubsub", "--set", "bus.pubsub.project=shop", "--set", &host];
    let no_store = ["--set", "store.kind=cassandra", "--set", &points];
    for (role, missing) in [
        ("orders_producer", &no_bus[..]),
        ("order_consumer", &no_bus),
        ("payment_consumer", &no_store),
        ("dlq_handler", &no_store),
    ] {
        let mut running = dir.start(role, &[&OBSERVED[..], missing].concat());
        is_waiting(&mut running, &closed).await;
        let ended = running.drained().await.with(1);
        assert!(
            ended.stderr.contains("error: stopped before bus and store were reached"),
            "{}",
            ended.stderr
        );
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_log_that_cannot_grow_is_moved_into_the_file_while_another_process_has_it_open() {
    let dir = TestDir::new();
    dir.run("ecom_setup", &[]).await.with(0);
    // Otherwise the producer would be the last to close the file, which moves the log.
    let table = Table::of(&dir).await;
    let events = ["--order-ids", "1-1000", "--rate", "500/s"];
    let producer = dir.program("orders_producer", &[&events[..], &PLAIN].concat()).with_file_limit(2_048);
    producer.run().await.with(0);
    assert_eq!(table.published(), 1_000);
}
