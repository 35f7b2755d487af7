//! The counts over all orders.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{Call, Fault, ORDERS, START, World, prepaid};
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
