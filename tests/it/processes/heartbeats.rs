//! Signs of life of the real executables.

use super::PLAIN;
use super::program::{Site, eventually};
use super::table::{Table, consume};

const SEEN: &str = "SELECT role, version, newest_event_at FROM role_heartbeats ORDER BY role";

#[tokio::test]
async fn producers_and_consumers_leave_word_of_how_far_they_came() {
    let site = Site::new();
    let events = ["--order-ids", "1-20", "--rate", "max"];
    for producer in ["orders_producer", "payments_producer"] {
        site.run(producer, &[&events[..], &PLAIN].concat()).await.with(0);
    }
    for consumer in ["order_consumer", "payment_consumer"] {
        consume(&site, consumer, &[]).await;
    }
    let table = Table::of(&site).await;
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
async fn a_role_that_was_killed_was_last_seen_while_it_ran() {
    let site = Site::new();
    let mut handler = site.start("dlq_handler", &[]);
    handler.says("using ").await;
    let table = Table::of(&site).await;
    eventually("it is seen", async || {
        (table.number("SELECT count(*) FROM role_heartbeats") == 1).then_some(())
    })
    .await;
    handler.kill();
    let seen = table.rows(SEEN, |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(2)?)));
    assert_eq!(seen, [("dlq_handler".to_owned(), None)]);
}
