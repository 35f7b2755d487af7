//! Heartbeats of the real executables.

use ecom_clock::Clock;

use super::PLAIN;
use super::program::{TestDir, eventually};
use super::table::{Table, consume};

const SEEN: &str = "SELECT role, version, newest_event_at FROM role_heartbeats ORDER BY role";

#[tokio::test]
async fn the_heartbeats_of_producers_and_consumers_carry_the_newest_event_time() {
    let dir = TestDir::new();
    let events = ["--order-ids", "1-20", "--rate", "max"];
    for producer in ["orders_producer", "payments_producer"] {
        dir.run(producer, &[&events[..], &PLAIN].concat()).await.with(0);
    }
    for consumer in ["order_consumer", "payment_consumer"] {
        consume(&dir, consumer, &[]).await;
    }
    let table = Table::of(&dir).await;
    let seen = table.rows(SEEN, |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?)));
    let [orders, payments] =
        ["order_ts", "payment_ts"].map(|t| Some(table.number(&format!("SELECT max({t}) FROM facts"))));
    let expected = [
        ("order_consumer", orders),
        ("orders_producer", orders),
        ("payment_consumer", payments),
        ("payments_producer", payments),
    ];
    assert_eq!(
        seen,
        expected.map(|(role, newest)| (role.to_owned(), env!("CARGO_PKG_VERSION").to_owned(), newest))
    );
}

#[tokio::test]
async fn the_last_heartbeat_of_a_killed_role_is_from_the_time_it_ran() {
    let dir = TestDir::new();
    let started = Clock::System.now_us();
    let mut handler = dir.start("dlq_handler", &[]);
    handler.says("using ").await;
    let table = Table::of(&dir).await;
    eventually("there is a heartbeat", async || {
        (table.number("SELECT count(*) FROM role_heartbeats") == 1).then_some(())
    })
    .await;
    handler.kill();
    let ran = started..=Clock::System.now_us();
    let seen = table.rows(SEEN, |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(2)?)));
    assert_eq!(seen, [("dlq_handler".to_owned(), None)]);
    let seen_at = table.number("SELECT seen_at FROM role_heartbeats");
    assert!(ran.contains(&seen_at), "{seen_at} is not in {ran:?}");
}
