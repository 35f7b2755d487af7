//! The counts over all orders, and those of HTTP requests.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use super::world::{Call, Fault, ORDERS, START, World, prepaid, unpaid};
use ecom_domain::order::OrderId;
use ecom_shop_domain::order::OrderState;

const READ_ALL: &str = "read all orders";

async fn counts(world: &World) -> Value {
    let answer = world.send(Call::get(format!("{ORDERS}/metrics"))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[tokio::test(start_paused = true)]
async fn counts_and_the_mean_time_are_those_of_the_table_to_the_microsecond() {
    let world = World::open().await;
    let empty = counts(&world).await;
    assert_eq!((&empty["total_orders"], &empty["avg_process_time"]), (&json!(0), &json!(0.0)));
    assert_eq!((&empty["p50_process_time"], &empty["p99_process_time"]), (&Value::Null, &Value::Null));

    let template = world.order("k", &prepaid()).await;
    let mut took = Vec::new();
    for n in 0..701_i64 {
        let mut order = template.clone();
        order.order_id = OrderId(7_100_000_000_000_000 + n);
        order.state = OrderState::ALL[usize::try_from(n % 7).unwrap()];
        order.created_at = START + n;
        order.state_at = order.created_at + 50_000_000 + n * n * 37;
        if order.state == OrderState::Completed {
            took.push(order.state_at - order.created_at);
        }
        world.shop.tables().orders.insert(order.order_id, order);
    }
    tokio::time::advance(Duration::from_secs(2)).await;
    let counts = counts(&world).await;
    assert_eq!(counts["total_orders"], 702);
    let by_status =
        json!({"Pending": 304, "Processing": 100, "Completed": 100, "Refused": 100, "Cancelled": 98});
    let by_status = {
        let mut found = serde_json::Map::new();
        for order in world.shop.tables().orders.values() {
            let count = found.entry(order.state.status()).or_insert_with(|| json!(0));
            *count = json!(count.as_i64().unwrap() + 1);
        }
        assert_eq!(found.len(), by_status.as_object().unwrap().len());
        Value::Object(found)
    };
    assert_eq!(counts["status_counts"], by_status);
    let mean = took.iter().sum::<i64>() as f64 / took.len() as f64;
    let shown = counts["avg_process_time"].as_f64().unwrap() * 1e6;
    assert!((shown - mean).abs() < 0.5, "{shown} µs, not {mean} µs");
    took.sort_unstable();
    for (name, rank) in [("p50_process_time", took.len() / 2), ("p99_process_time", took.len() * 99 / 100)] {
        let (shown, exact) = (counts[name].as_f64().unwrap() * 1e6, took[rank] as f64);
        assert!((exact * 0.99..exact * 1.04).contains(&shown), "{name}: {shown} µs, not {exact} µs");
    }
    let alias = world.send(Call::get("/api/metrics/")).await;
    assert_eq!(alias.body, counts, "the first reference system has the same");
}

#[tokio::test(start_paused = true)]
async fn orders_are_counted_once_for_all_who_ask_at_once_and_again_when_the_counts_are_old() {
    let world = World::open().await;
    world.order("a", &prepaid()).await;
    world.script.take_calls();
    let answers = futures_util::future::join_all((0..50).map(|_| counts(&world))).await;
    assert!(answers.iter().all(|counts| counts["total_orders"] == 1));
    assert_eq!(world.script.take_calls(), [READ_ALL]);
    world.order("b", &prepaid()).await;
    world.script.take_calls();
    assert_eq!(counts(&world).await["total_orders"], 1, "a second has not passed");
    tokio::time::advance(Duration::from_secs(1)).await;
    let fresh = counts(&world).await;
    assert_eq!(fresh["total_orders"], 2);
    assert!(fresh["as_of"].as_str().unwrap() > answers[0]["as_of"].as_str().unwrap());
    assert_eq!(world.script.take_calls(), [READ_ALL]);
}

#[tokio::test(start_paused = true)]
async fn counts_that_could_not_be_read_are_not_kept() {
    let world = World::open().await;
    world.order("a", &prepaid()).await;
    for fault in [Fault::Lost, Fault::Hangs] {
        world.script.of(READ_ALL, fault);
        assert_eq!(world.send(Call::get(format!("{ORDERS}/metrics"))).await.status, 503);
    }
    world.script.heal();
    assert_eq!(counts(&world).await["total_orders"], 1);
}

/// Returns what a scraper gets.
fn exported(world: &World) -> String {
    let registry = ecom_telemetry::metrics::registry(vec![world.metrics.clone()], None);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    text
}

/// Returns the counts of HTTP requests as they are exported: operation, status and number, those of 0 left out.
fn requests(world: &World) -> Vec<(String, String, u64)> {
    let of_line = |line: &str| {
        let labels =
            line.strip_prefix("ecom_http_request_seconds_count{role=\"api_service\",operation=\"")?;
        let (operation, rest) = labels.split_once("\",status=\"").unwrap();
        let (status, count) = rest.split_once("\"} ").unwrap();
        Some((operation.to_owned(), status.to_owned(), count.parse().unwrap()))
    };
    exported(world).lines().filter_map(of_line).filter(|(.., count)| *count > 0).collect()
}

#[tokio::test(start_paused = true)]
async fn every_request_is_counted_by_its_operation_and_the_class_of_its_status() {
    let world = World::with_keys().await;
    let counted = |operation: &str, status: &str, count| (operation.to_owned(), status.to_owned(), count);
    assert_eq!(requests(&world), [counted("none", "2xx", 1)], "the description");
    world.order("k", &unpaid()).await;
    for call in [
        Call::get(format!("{ORDERS}/k")).by("shop"),
        Call::new(Method::HEAD, format!("{ORDERS}/k")).by("shop"),
        Call::get(format!("{ORDERS}/none")).by("shop"),
        Call::get(format!("{ORDERS}/k")),
        Call::post(format!("{ORDERS}/k")).by("shop"),
        Call::get("/nothing"),
        Call::get("/"),
        Call::get("/livez"),
    ] {
        world.send(call).await;
    }
    world.script.of("read orders", Fault::Slow);
    world.send(Call::get(ORDERS).by("shop")).await;
    world.script.of("read orders", Fault::Lost);
    world.send(Call::get(ORDERS).by("shop")).await;
    let expected = [
        counted("createOrder", "2xx", 1),
        counted("listOrders", "2xx", 1),
        counted("listOrders", "5xx", 1),
        counted("none", "2xx", 2),
        counted("none", "3xx", 1),
        counted("none", "4xx", 2),
        counted("readOrder", "2xx", 2),
        counted("readOrder", "4xx", 2),
    ];
    assert_eq!(requests(&world), expected);
    let text = exported(&world);
    let bucket =
        |le: &str| format!("{{le=\"{le}\",role=\"api_service\",operation=\"listOrders\",status=\"2xx\"}} ");
    let of = |le| text.lines().find_map(|line| line.split_once(&bucket(le))).unwrap().1;
    assert_eq!((of("0.25"), of("1.0")), ("0", "1"), "it took half a second");
}

#[tokio::test]
async fn the_operations_of_the_metrics_are_those_of_the_description() {
    let world = World::open().await;
    let paths = world.description["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|item| item.as_object().unwrap().values());
    let ids = operations.map(|operation| operation["operationId"].as_str().unwrap().to_owned());
    let expected: BTreeSet<String> = ids.chain(["none".to_owned()]).collect();
    assert_eq!(ecom_shop_api::operations(), expected);
}
