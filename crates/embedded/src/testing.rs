//! Fixtures of this crate's tests.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Embedded, Options, Route, open};
use ecom_bus::{Bus, Message, Streams, SubscribeOptions, Subscription};
use ecom_clock::Clock;

pub(super) const TOPIC: &str = "orders_data";
pub(super) const SUBSCRIPTION: &str = "orders_data-sub";
const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 60 * MINUTE_US;

/// Opens the file as a separate process would: with a separate engine.
pub(super) fn process(dir: &Path) -> Arc<Embedded> {
    at(dir, Clock::System)
}

/// Opens the file five minutes later: to it all leases of others have expired.
pub(super) fn minutes_later(dir: &Path) -> Arc<Embedded> {
    at(dir, Clock::anchored(Clock::System.now_us() + 5 * MINUTE_US))
}

/// Opens the file as a process whose clock is an hour ahead.
pub(super) fn an_hour_later(dir: &Path) -> Arc<Embedded> {
    at(dir, Clock::anchored(Clock::System.now_us() + HOUR_US))
}

/// Opens the file as a process whose clock is an hour behind.
pub(super) fn an_hour_before(dir: &Path) -> Arc<Embedded> {
    at(dir, Clock::anchored(Clock::System.now_us() - HOUR_US))
}

fn at(dir: &Path, clock: Clock) -> Arc<Embedded> {
    let routes = vec![Route::new(TOPIC, SUBSCRIPTION)];
    let options = Options { clock, busy_timeout: Duration::from_secs(10), ..Options::new(routes) };
    open(dir, options).unwrap()
}

pub(super) async fn subscribe(process: &Embedded) -> Subscription {
    subscribe_with(process, 100, Duration::from_secs(60)).await
}

pub(super) async fn subscribe_with(
    process: &Embedded,
    max_outstanding: usize,
    ack_deadline: Duration,
) -> Subscription {
    let options = SubscribeOptions {
        streams: Streams::Fixed(1),
        max_outstanding,
        buffer: 50,
        ack_deadline,
        idle_rotation: None,
    };
    process.subscribe(SUBSCRIPTION, options).await.unwrap()
}

/// Publishes bodies `0`, `1`, … and returns the ids.
pub(super) async fn publish(process: &Embedded, count: usize) -> Vec<String> {
    let publisher = process.publisher(TOPIC, count.max(1)).await.unwrap();
    let mut receipts = Vec::new();
    for n in 0..count {
        let attributes = [("n", n.to_string())].into_iter().collect();
        receipts.push(publisher.publish(Message { body: n.to_string().into(), attributes }).await);
    }
    let mut ids = Vec::new();
    for receipt in receipts {
        ids.push(receipt.await.unwrap());
    }
    ids
}

/// Waits for a future, at most 20 s.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("nothing happened within 20 s")
}

/// Reads a number through another connection to the file.
pub(super) fn number(dir: &Path, sql: &str) -> i64 {
    raw(dir).query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Opens another connection to the file.
pub(super) fn raw(dir: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(dir.join(super::FILE_NAME)).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection
}
