//! Products: written conditionally, and never against what orders have reserved.

use std::collections::{BTreeMap, BTreeSet};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::answer::Answer;
use super::inventory::{PRODUCTS, laptop};
use super::world::{Call, Fault, World};
use ecom_domain::order::OrderId;
use ecom_shop_domain::inventory::{StockNeed, StockOutcome, decide};
use ecom_shop_store::InventoryStore;

fn put(body: &Value) -> Call {
    Call::put(format!("{PRODUCTS}/LAPTOP")).json(body)
}

fn with(field: &str, value: impl Into<Value>) -> Value {
    let mut body = laptop();
    body[field] = value.into();
    body
}

async fn read(world: &World) -> Answer {
    world.send(Call::get(format!("{PRODUCTS}/LAPTOP"))).await
}

#[tokio::test]
async fn a_product_is_created_read_and_replaced_with_a_tag_for_each_version() {
    let world = World::open().await;
    assert_eq!(read(&world).await.code(), "not_found");
    let created = world.send(put(&laptop())).await;
    assert_eq!((created.status, created.header("etag")), (201, "\"1\""));
    let expected = json!({
        "sku": "LAPTOP", "name": "Laptop", "price": 999.00, "currency": "USD",
        "on_hand": 3, "reserved": 0, "available": 3, "version": 1,
    });
    assert_eq!(created.body, expected);
    assert!(created.text.contains("\"price\":999.00"), "{}", created.text);

    let again = world.send(put(&laptop())).await;
    assert_eq!((again.status, again.header("etag")), (200, "\"1\""), "nothing has changed");
    world.shop.tables().products.get_mut("LAPTOP").unwrap().stock.reserved = 2;
    let replaced = world.send(put(&with("on_hand", 10))).await;
    assert_eq!((replaced.status, replaced.header("etag")), (200, "\"2\""));
    assert_eq!((&replaced.body["available"], &replaced.body["reserved"]), (&json!(8), &json!(2)));
    assert_eq!(world.shop.tables().products["LAPTOP"].stock.stocked, 10, "seven were put in");
    let fewer = world.send(put(&with("on_hand", 2))).await;
    assert_eq!((fewer.status, &fewer.body["available"]), (200, &json!(0)));
    assert_eq!(world.shop.tables().products["LAPTOP"].stock.stocked, 2);
    let too_few = world.send(put(&with("on_hand", 1))).await;
    assert_eq!((too_few.status, too_few.code()), (409, "reserved_by_orders"));
    assert_eq!(too_few.body["detail"], "orders have reserved 2");
    let in_yen =
        world.send(put(&json!({"name": "Laptop", "price": 99900, "currency": "JPY", "on_hand": 2}))).await;
    assert_eq!((in_yen.status, in_yen.header("etag")), (200, "\"4\""));
    assert_eq!(read(&world).await.body, in_yen.body);
}

#[tokio::test]
async fn conditions_on_the_version_are_obeyed() {
    let world = World::open().await;
    for (header, value, status) in [
        ("if-match", "\"1\"", 412),
        ("if-match", "*", 412),
        ("if-none-match", "*", 201),
        ("if-none-match", "*", 412),
        ("if-match", "\"1\"", 200),
        ("if-match", "\"1\"", 412),
        ("if-match", "W/\"2\"", 412),
        ("if-match", "\"1\", \"2\"", 200),
        ("if-match", "*", 200),
        ("if-match", "4", 400),
        ("if-none-match", "\"x", 400),
        ("if-none-match", "\u{e4}", 400),
    ] {
        let before = world.everything();
        let version = world.shop.tables().products.get("LAPTOP").map_or(0, |product| product.stock.version);
        let answer = world.send(put(&with("on_hand", 100 + version)).header(header, value)).await;
        assert_eq!(answer.status, status, "{header}: {value} at {version}: {answer:?}");
        assert_eq!(world.everything() == before, status >= 400, "{header}: {value}");
        let code = match status {
            400 => "invalid_header",
            412 => "precondition_failed",
            _ => "",
        };
        assert_eq!(answer.code(), code, "{header}: {value}");
    }
    for (known, status) in [("\"4\"", 304), ("W/\"4\"", 304), ("*", 304), ("\"3\"", 200)] {
        let call = Call::get(format!("{PRODUCTS}/LAPTOP")).header("if-none-match", known);
        let answer = world.send(call).await;
        assert_eq!((answer.status, answer.header("etag")), (status, "\"4\""), "{known}");
        assert_eq!(answer.text.is_empty(), status == 304, "{known}");
    }
}

/// Reserves a unit for an order, through lost races, as the payment processor does.
async fn reserve(world: &World, order_id: OrderId) -> StockOutcome {
    loop {
        let (stock, reservations) = world.shop.stock("LAPTOP", &[order_id]).await.unwrap().unwrap();
        let needs = [(order_id, StockNeed::Reserve(1))];
        let (change, outcomes) = decide("LAPTOP", &stock, &reservations, &needs);
        let Some(change) = change else { return outcomes[0] };
        if world.shop.change_stock(&change).await.unwrap() {
            return outcomes[0];
        }
    }
}

#[tokio::test]
async fn of_fifty_writers_beside_reservations_no_unit_is_lost() {
    for is_conditional in [true, false] {
        let world = World::open().await;
        world.stock("LAPTOP", 99_900, 1_000);
        let add_one = async || {
            loop {
                let seen = read(&world).await;
                let (on_hand, tag) = (seen.body["on_hand"].as_i64().unwrap(), seen.header("etag"));
                let written = world.send(put(&with("on_hand", on_hand + 1)).header("if-match", tag)).await;
                match written.status {
                    200 => return,
                    status => assert_eq!((status, written.code()), (412, "precondition_failed")),
                }
            }
        };
        let rename = async |n: usize| {
            let mut body = with("on_hand", 1_000);
            body["name"] = json!(format!("Laptop {n}"));
            assert_eq!(world.send(put(&body)).await.status, 200);
        };
        let writers =
            join_all((0..50).map(async |n| if is_conditional { add_one().await } else { rename(n).await }));
        let buyers = join_all((0..200).map(|n| reserve(&world, OrderId(n))));
        let (_, outcomes) = tokio::join!(writers, buyers);
        assert!(outcomes.iter().all(|outcome| *outcome == StockOutcome::Done), "{outcomes:?}");
        let tables = world.shop.tables();
        let stock = tables.products["LAPTOP"].stock;
        let expected = if is_conditional { 1_050 } else { 1_000 };
        assert_eq!((stock.on_hand, stock.stocked, stock.reserved), (expected, expected, 200));
        let reserved: i64 = tables.reservations.values().map(|reservation| reservation.quantity).sum();
        assert_eq!((tables.reservations.len(), reserved), (200, 200));
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_outcome_is_unknown_is_an_outage_and_its_repetition_stands() {
    for fault in [Fault::Lost, Fault::AnswerLost, Fault::Hangs] {
        for what in ["read a product", "write a product"] {
            let world = World::open().await;
            world.script.of(what, fault);
            let failed = world.send(put(&laptop())).await;
            let code = if fault == Fault::Hangs { "timed_out" } else { "store_unavailable" };
            assert_eq!((failed.status, failed.code()), (503, code), "{what}");
            world.script.heal();
            let again = world.send(put(&laptop())).await;
            let is_written = fault == Fault::AnswerLost && what == "write a product";
            assert_eq!((again.status, again.header("etag")), (if is_written { 200 } else { 201 }, "\"1\""));
        }
    }
}

#[tokio::test]
async fn every_product_is_on_exactly_one_page() {
    let world = World::open().await;
    let skus: BTreeSet<String> = (0..300).map(|n| format!("SKU-{n}")).collect();
    for sku in &skus {
        world.stock(sku, 100, 1);
    }
    let (mut shown, mut path) = (BTreeMap::new(), format!("{PRODUCTS}?page_size=70"));
    for n in 0.. {
        let page = world.send(Call::get(&path)).await;
        for product in page.body["products"].as_array().unwrap() {
            *shown.entry(product["sku"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
        world.stock(&format!("NEW-{n}"), 100, 1);
        let Some(token) = page.body["next_page_token"].as_str() else { break };
        path = format!("{PRODUCTS}?page_size=70&page_token={token}");
    }
    assert!(skus.iter().all(|sku| shown.get(sku) == Some(&1)) && shown.values().all(|times| *times == 1));
    let token = path.split('=').next_back().unwrap();
    let other = world.send(Call::get(format!("/api/v1/orders?page_token={token}"))).await;
    assert_eq!((other.status, other.code()), (400, "page_token_invalid"));
}

#[tokio::test(start_paused = true)]
async fn a_race_that_is_always_lost_is_given_up_with_the_request() {
    let world = World::open().await;
    world.stock("LAPTOP", 99_900, 3);
    let others = std::future::poll_fn(|_| {
        world.shop.tables().products.get_mut("LAPTOP").unwrap().stock.version += 1;
        Poll::<()>::Pending
    });
    let began = tokio::time::Instant::now();
    let answer = tokio::select! {
        biased;
        answer = world.send(put(&with("on_hand", 4))) => answer,
        () = others => unreachable!("it has no end"),
    };
    assert_eq!(answer.code(), "timed_out");
    assert_eq!(began.elapsed(), Duration::from_secs(30));
}
