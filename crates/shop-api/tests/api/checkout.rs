//! Checkouts: one order a request, at the price that was seen, and the answer once it is decided.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::inventory::{CHECKOUT, checkout};
use super::world::{Call, Fault, ORDERS, World};
use ecom_shop_domain::order::OrderState;

async fn world() -> World {
    let world = World::open().await;
    world.stock("LAPTOP", 99_900, 3);
    world
}

fn call(key: &str, body: &Value) -> Call {
    Call::post(CHECKOUT).key(key).json(body)
}

/// A checkout of the whole cart of customer 7.
fn of_cart() -> Value {
    json!({"customer_id": 7, "shipping_address": "1 Main St", "expected_total": 2008})
}

#[tokio::test(start_paused = true)]
async fn a_checkout_is_answered_once_its_units_are_reserved() {
    let world = world().await;
    let answer = world.send_and_process(call("k", &checkout())).await;
    assert_eq!((answer.status, answer.is_replayed()), (201, false), "{answer:?}");
    assert_eq!(answer.header("location"), format!("{ORDERS}/{}", answer.body["order_id"]));
    assert_eq!((answer.header("idempotency-key"), answer.header("preference-applied")), ("k", ""));
    assert!(answer.text.contains(r#""total":2008.00"#) && answer.text.contains(r#""shipping_fee":10.00"#));
    let line = json!({"item": "The LAPTOP", "sku": "LAPTOP", "quantity": 2, "unit_price": 999.00});
    assert_eq!(answer.body["lines"], json!([line]));
    let order = world.stored(answer.body["order_id"].as_i64().unwrap());
    assert_eq!((order.state, order.total_minor), (OrderState::Paying, 200_800));
    assert_eq!(order.document.lines[0].in_cart_since, None, "it was not taken from the cart");
    assert_eq!(world.shop.tables().products["LAPTOP"].stock.reserved, 2);
    assert_eq!(world.take_messages(), [format!(r#"{{"order_id":{}}}"#, order.order_id)]);
}

#[tokio::test(start_paused = true)]
async fn a_repetition_is_the_same_order_whatever_has_become_of_cart_and_prices() {
    let world = world().await;
    world.put_into_cart("LAPTOP", 2).await;
    let first = world.send_and_process(call("k", &of_cart())).await;
    assert_eq!(first.status, 201, "{first:?}");
    assert!(world.cart().is_empty(), "the cart was emptied");
    let since = world.stored(first.body["order_id"].as_i64().unwrap()).document.lines[0].in_cart_since;
    assert!(since.is_some());

    let again = async |what: &str| {
        let again = world.send(call("k", &of_cart())).await;
        assert_eq!((again.status, again.is_replayed()), (201, true), "{what}: {again:?}");
        assert_eq!(
            (&again.body["order_id"], &again.body["total"]),
            (&first.body["order_id"], &json!(2008.00))
        );
    };
    again("the cart is empty").await;
    world.stock("LAPTOP", 1, 3);
    world.put_into_cart("LAPTOP", 3).await;
    again("the cart is another").await;
    world.shop.tables().products.clear();
    again("the product is gone").await;
    for what in ["read a cart", "read a product"] {
        world.script.of(what, Fault::Lost);
    }
    again("neither is asked for").await;
    world.script.heal();
    assert_eq!(world.records(), 1);

    let mut other = of_cart();
    other["expected_total"] = json!(2009);
    let reused = world.send(call("k", &other)).await;
    assert_eq!((reused.status, reused.code()), (422, "idempotency_key_reused"));
    let mut same = of_cart();
    same["expected_total"] = json!(2008.00);
    assert_eq!(world.send(call("k", &same)).await.status, 201, "another notation");
}

#[tokio::test]
async fn a_total_that_has_changed_records_nothing_and_leaves_the_key() {
    let world = world().await;
    world.stock("LAPTOP", 99_950, 3);
    let before = world.everything();
    let changed = world.send(call("k", &checkout())).await;
    assert_eq!((changed.status, changed.code()), (409, "total_changed"));
    assert_eq!(changed.body["detail"], "the total was 2008.00 and is 2009.00 USD");
    assert_eq!(world.everything(), before);
    let mut body = checkout();
    body["expected_total"] = json!(2009.001);
    let fault = world.send(call("k", &body)).await;
    let detail = "has more decimals than the currency";
    assert_eq!(fault.body["errors"], json!([{"pointer": "/expected_total", "detail": detail}]));
    body["expected_total"] = json!(2009);
    let accepted = world.send(call("k", &body).header("prefer", "wait=0")).await;
    assert_eq!((accepted.status, accepted.is_replayed()), (202, false), "{accepted:?}");
    body.as_object_mut().unwrap().remove("expected_total");
    let unguarded = world.send(call("k-2", &body).header("prefer", "wait=0")).await;
    assert_eq!(unguarded.body["total"], json!(2009.00));
}

#[tokio::test(start_paused = true)]
async fn a_shortage_is_a_conflict_that_the_key_keeps_and_the_cart_survives() {
    let world = world().await;
    world.put_into_cart("LAPTOP", 4).await;
    let body = json!({"customer_id": 7, "shipping_address": "1 Main St"});
    let short = world.send_and_process(call("k", &body)).await;
    assert_eq!((short.status, short.code()), (409, "insufficient_stock"), "{short:?}");
    assert_eq!(short.body["detail"], "insufficient stock: 4 wanted, 3 available of LAPTOP");
    assert_eq!((short.header("idempotency-key"), short.is_replayed()), ("k", false));
    let order = world.send(Call::get(short.header("location"))).await;
    assert_eq!((&order.body["status"], &order.body["idempotency_key"]), (&json!("Refused"), &json!("k")));
    assert_eq!(world.cart(), [("LAPTOP".to_owned(), 4)]);
    world.stock("LAPTOP", 99_900, 10);
    let again = world.send(call("k", &body)).await;
    assert_eq!((again.code(), again.is_replayed()), ("insufficient_stock", true));
    assert_eq!(world.send_and_process(call("k-2", &body)).await.status, 201, "a new decision");
}

#[tokio::test(start_paused = true)]
async fn an_undecided_checkout_is_answered_after_the_time_that_the_client_prefers() {
    for (prefer, applied, seconds) in [
        ("", "", 5),
        ("wait=0", "wait=0", 0),
        ("respond-async, wait=12", "wait=12", 12),
        ("wait=100", "wait=20", 20),
        ("wait=x", "", 5),
    ] {
        let world = world().await;
        let send = async || {
            let began = Instant::now();
            let answer = world.send(call("k", &checkout()).header("prefer", prefer)).await;
            assert_eq!((answer.status, answer.header("preference-applied")), (202, applied), "{prefer}");
            assert_eq!(began.elapsed(), Duration::from_secs(seconds), "{prefer}");
            assert_eq!((&answer.body["status"], answer.header("idempotency-key")), (&json!("Pending"), "k"));
            assert!(answer.header("location").starts_with(ORDERS));
            answer.is_replayed()
        };
        assert!(!send().await && send().await, "{prefer}");
        assert_eq!((world.records(), world.take_messages().len()), (1, 2), "{prefer}: it is asked for again");
        world.process();
        let decided = world.send(call("k", &checkout()).header("prefer", prefer)).await;
        assert_eq!((decided.status, decided.header("preference-applied")), (201, applied), "{prefer}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_is_by_the_state_that_stands() {
    for (state, detail, status, shown) in [
        (OrderState::Accepted, None, 202, "Pending"),
        (OrderState::Placed, None, 201, "Pending"),
        (OrderState::Paying, None, 201, "Pending"),
        (OrderState::Paid, None, 201, "Processing"),
        (OrderState::Completed, None, 201, "Completed"),
        (OrderState::Cancelled, Some("the card was declined"), 201, "Cancelled"),
        (OrderState::Refused, Some("it was not processed in time, and nothing was charged"), 201, "Refused"),
        (OrderState::Refused, Some("insufficient stock: 2 wanted, 0 available of LAPTOP"), 409, ""),
    ] {
        for path in [CHECKOUT, ORDERS] {
            let mut body = checkout();
            if path == ORDERS {
                body.as_object_mut().unwrap().remove("expected_total");
            }
            let world = world().await;
            let call = || Call::post(path).key("k").header("prefer", "wait=1").json(&body);
            let recorded = world.send(call()).await.body["order_id"].as_i64().unwrap();
            let order = world.stored(recorded);
            world.change(&order, |order| {
                (order.state, order.detail) = (state, detail.map(str::to_owned));
            });
            let answer = world.send(call()).await;
            let expected = if (path, status) == (ORDERS, 202) { 201 } else { status };
            assert_eq!((answer.status, answer.is_replayed()), (expected, true), "{path} {state:?}");
            assert_eq!(answer.header("location"), format!("{ORDERS}/{recorded}"));
            match status {
                409 => assert_eq!(answer.body["detail"], detail.unwrap()),
                _ => assert_eq!(
                    (&answer.body["status"], &answer.body["detail"]),
                    (&json!(shown), &json!(detail))
                ),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_at_once_with_one_key_the_one_that_finds_the_cart_empty_is_a_repetition() {
    let world = world().await;
    world.put_into_cart("LAPTOP", 2).await;
    world.script.take_calls();
    // The first reads the cart slowly, and meanwhile the second is placed.
    world.script.at(1, Fault::Slow);
    let first = async { world.send(call("k", &of_cart())).await };
    let second = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let answer = world.send_and_process(call("k", &of_cart())).await;
        assert!(world.cart().is_empty());
        answer
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(world.script.take_calls()[..2], ["read an order", "read a cart"]);
    assert_eq!((second.status, second.is_replayed()), (201, false), "{second:?}");
    assert_eq!((first.status, first.is_replayed()), (201, true), "{first:?}");
    assert_eq!((&first.body["order_id"], world.records()), (&second.body["order_id"], 1));
}

#[tokio::test]
async fn a_checkout_needs_a_customer_and_an_address_and_a_customer_is_that_of_the_key() {
    let world = World::with_keys().await;
    world.stock("LAPTOP", 99_900, 3);
    let nothing = world.send(Call::post(CHECKOUT).by("shop").json(&json!({}))).await;
    assert_eq!(nothing.pointers(), ["/customer_id", "/shipping_address"]);
    let mut body = checkout();
    body.as_object_mut().unwrap().remove("customer_id");
    let own = Call::post(CHECKOUT).by("customer-7").key("k").header("prefer", "wait=0").json(&body);
    let own = world.send(own).await;
    assert_eq!((own.status, &own.body["customer_id"]), (202, &json!(7)), "{own:?}");
    let read = world.send(Call::get(own.header("location")).by("customer-7")).await;
    assert_eq!(read.status, 200);
    let by_key = world.send(Call::get(format!("{ORDERS}/k")).by("customer-7")).await;
    assert_eq!(by_key.body["order_id"], own.body["order_id"]);
    let priced = world.send(Call::post(ORDERS).by("customer-7").json(&checkout())).await;
    assert_eq!(priced.code(), "forbidden", "a customer orders by checkout, which adds the shipping fee");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_while_the_answer_waits_is_an_outage_and_the_repetition_is_the_order() {
    let world = world().await;
    let failing = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.script.of("read an order", Fault::Lost);
    };
    let (answer, ()) = tokio::join!(world.send(call("k", &checkout())), failing);
    assert_eq!((answer.status, answer.code()), (503, "store_unavailable"), "{answer:?}");
    assert_eq!(answer.header("idempotency-key"), "k");
    world.script.heal();
    let again = world.send_and_process(call("k", &checkout())).await;
    assert_eq!((again.status, again.is_replayed(), world.records()), (201, true, 1));
}
