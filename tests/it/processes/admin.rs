//! The admin server, requested as a probe or a scraper does.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::PLAIN;
use super::program::{PATIENCE, TestDir, eventually};
use super::table::consume;
use crate::waiting::within;

/// The response to a GET, with its status line and headers.
pub async fn get(address: &str, path: &str) -> String {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")).await
}

async fn request(address: &str, request: &str) -> String {
    let requesting = async {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    within(PATIENCE, "the admin port responds", requesting).await
}

#[tokio::test]
async fn the_admin_server_of_every_role_serves_health_and_metrics() {
    let dir = TestDir::new();
    let args = ["--order-ids", "1-5", "--rate", "max"];
    dir.run("orders_producer", &[&args[..], &PLAIN].concat()).await.with(0);
    for (role, received) in [("order_consumer", 5), ("payment_consumer", 0), ("dlq_handler", 0)] {
        let mut running = dir.start(role, &["--admin-listen", "127.0.0.1:0"]);
        let address = running.serves().await;
        let ready = async || get(&address, "/readyz").await.starts_with("HTTP/1.1 200 ").then_some(());
        eventually(&format!("{role} has started"), ready).await;
        for path in ["/livez", "/readyz"] {
            let answer = get(&address, path).await;
            assert!(
                answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nok\n"),
                "{role}: {answer}"
            );
        }
        let counted = format!("ecom_messages_received_total{{role=\"{role}\"}} {received}\n");
        let metrics = eventually(&format!("metrics say {counted}"), async || {
            let metrics = get(&address, "/metrics").await;
            metrics.contains(&counted).then_some(metrics)
        })
        .await;
        for family in [
            "ecom_messages_redelivered_total",
            "ecom_messages_buffered_total",
            "ecom_dead_letters_published_total{reason=\"invalid\"",
            "ecom_message_seconds_count{disposition=\"applied\"",
            "ecom_message_seconds_bucket{",
            "ecom_in_flight_limit{",
            "ecom_in_flight{",
            "ecom_build_info{",
        ] {
            let with_role = metrics.lines().any(|line| {
                let role = format!("role=\"{role}\"");
                let labelled = line.contains(&role) || line.starts_with("ecom_build");
                labelled && line.replace(&format!("{role},"), "").starts_with(family)
            });
            assert!(with_role, "{role} has no {family}: {metrics}");
        }
        assert!(metrics.contains("content-type: application/openmetrics-text"), "{metrics}");
        assert!(get(&address, "/nope").await.starts_with("HTTP/1.1 404 "));
        let post = format!("POST /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        assert!(request(&address, &post).await.starts_with("HTTP/1.1 405 "));
        assert!(running.is_running());
        running.drained().await.with(0);
    }
}

#[tokio::test]
async fn the_handler_exports_gauges_of_the_dead_letter_store_and_of_heartbeats() {
    let dir = TestDir::new();
    let args = ["--order-ids", "1-20", "--rate", "max"];
    dir.run("payments_producer", &[&args[..], &PLAIN].concat()).await.with(0);
    consume(&dir, "payment_consumer", &["--order-grace", "0s"]).await;
    dir.run("dlq_handler", &["--once"]).await.with(0);

    let mut handler = dir.start("dlq_handler", &["--admin-listen", "127.0.0.1:0"]);
    let address = handler.serves().await;
    let counted = "ecom_dead_letters{state=\"waiting\",reason=\"order_not_found\"} 20\n";
    let attempted =
        "ecom_store_seconds_count{role=\"dlq_handler\",operation=\"dead_letter\",outcome=\"ok\"} ";
    let metrics = eventually("dead letters are counted and attempted", async || {
        let metrics = get(&address, "/metrics").await;
        (metrics.contains(counted) && metrics.contains(attempted)).then_some(metrics)
    })
    .await;
    for series in [
        "ecom_dead_letters{state=\"parked\",reason=\"invalid\"} 0\n",
        "ecom_heartbeat_age_seconds{role=\"payment_consumer\"} ",
        "ecom_store_seconds_count{role=\"dlq_handler\",operation=\"dead_letter\",outcome=\"unavailable\"} 0\n",
    ] {
        assert!(metrics.contains(series), "no {series} in {metrics}");
    }
    let oldest = "ecom_dead_letter_oldest_waiting_age_seconds ";
    let oldest: f64 = metrics.lines().find_map(|line| line.strip_prefix(oldest)).unwrap().parse().unwrap();
    assert!(0.0 < oldest && oldest < PATIENCE.as_secs_f64(), "{oldest}");
    handler.drained().await.with(0);
}

#[tokio::test]
async fn more_idle_connections_than_are_served_do_not_block_liveness() {
    let dir = TestDir::new();
    let mut running = dir.start("order_consumer", &["--admin-listen", "127.0.0.1:0"]);
    let address = running.serves().await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(tokio::net::TcpStream::connect(&address).await.unwrap());
    }
    let answer = within(Duration::from_secs(20), "/livez responds", get(&address, "/livez")).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    // A client that sends nothing is disconnected.
    let mut last = idle.pop().unwrap();
    assert_eq!(within(PATIENCE, "it is closed", last.read(&mut [0])).await.unwrap(), 0);
    running.drained().await.with(0);
}

#[tokio::test]
async fn an_admin_port_that_is_in_use_is_a_usage_error() {
    let dir = TestDir::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = dir.run("order_consumer", &["--admin-listen", &address]).await.with(2);
    let said = format!("error: could not listen on {address} for the admin port");
    assert!(ended.stderr.contains(&said), "{}", ended.stderr);
}
