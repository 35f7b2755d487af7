//! The same request with the same key is recorded once, whatever goes wrong in between.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::answer::Answer;
use super::inventory::{CHECKOUT, checkout, order_of_products};
use super::world::{Call, Fault, ORDERS, PUBLISH, TRANSACTIONS, World, payment, phone, prepaid, reference};
use super::world::{transfer, unpaid};
use ecom_shop_domain::identity::{RequestKey, order_ids, transaction_ids};
use ecom_shop_domain::order::OrderState;
use ecom_shop_domain::payment::PaymentState;

/// Every request that records something; the payment is of the order with the key "order".
fn creations(key: &str) -> Vec<(&'static str, Call)> {
    let pay = Call::post(format!("{ORDERS}/order/payments")).by("shop").key(key).json(&payment());
    let check_out = Call::post(CHECKOUT).header("prefer", "wait=0");
    vec![
        ("order", Call::post(ORDERS).by("shop").key(key).json(&prepaid())),
        ("unpaid order", Call::post(ORDERS).by("shop").key(key).json(&unpaid())),
        ("payment", pay),
        ("transaction", Call::post(TRANSACTIONS).by("shop").key(key).json(&transfer())),
        ("reference order", Call::post("/api/orders/create/").by("shop").json(&reference(key))),
        ("order by name", Call::post("/orders/").by("shop").key(key).json(&phone())),
        ("order of products", Call::post(ORDERS).by("shop").key(key).json(&order_of_products())),
        ("checkout", check_out.by("shop").key(key).json(&checkout())),
    ]
}

/// A world with the order that a payment needs.
async fn world() -> World {
    let world = World::with_keys().await;
    world.order_in("order", OrderState::Placed, &unpaid()).await;
    world.stock("LAPTOP", 99_900, 3);
    world.take_messages();
    world.script.take_calls();
    world
}

/// The status of the answer to a request that records something and is not decided on.
fn recorded(what: &str) -> u16 {
    if what == "checkout" { 202 } else { 201 }
}

fn id(answer: &Answer) -> String {
    answer.header("location").to_owned()
}

#[tokio::test]
async fn the_same_request_again_is_the_same_record() {
    for (what, call) in creations("k-1") {
        let world = world().await;
        let first = world.send(call.clone()).await;
        assert_eq!((first.status, first.is_replayed()), (recorded(what), false), "{what}: {first:?}");
        assert_eq!(first.header("idempotency-key"), "k-1", "{what}");
        let again = world.send(call.clone()).await;
        assert_eq!((again.status, again.is_replayed()), (recorded(what), true), "{what}: {again:?}");
        assert_eq!((id(&again), &again.body), (id(&first), &first.body), "{what}");
        assert_eq!(world.take_messages().len(), 2, "{what}: it is asked for again until it has begun");
        assert_eq!(world.records(), 2, "{what}");

        for order in world.shop.tables().orders.values_mut() {
            order.state = OrderState::Cancelled;
        }
        for payment in world.shop.tables().payments.values_mut() {
            payment.state = PaymentState::Processing;
        }
        let late = world.send(call).await;
        assert_eq!((late.status, late.is_replayed(), id(&late)), (201, true, id(&first)), "{what}: {late:?}");
        assert_eq!(world.take_messages(), [""; 0], "{what}: what has begun is not asked for again");
    }
}

#[tokio::test]
async fn fifty_at_once_with_one_key_are_one_record() {
    for (what, call) in creations("k-1") {
        let world = world().await;
        let answers = join_all((0..50).map(|_| world.send(call.clone()))).await;
        assert!(answers.iter().all(|answer| answer.status == recorded(what)), "{what}: {answers:?}");
        let ids: BTreeSet<_> = answers.iter().map(id).collect();
        assert_eq!((ids.len(), world.records()), (1, 2), "{what}");
        assert_eq!(answers.iter().filter(|answer| !answer.is_replayed()).count(), 1, "{what}");
    }
}

#[tokio::test]
async fn another_request_with_the_same_key_is_refused_and_changes_nothing() {
    let other = |mut body: Value, field: &str, value: Value| {
        body[field] = value;
        body
    };
    let bodies = [
        other(prepaid(), "shipping_address", json!("2 Main St")),
        other(unpaid(), "email", json!("ada@example.com")),
        other(payment(), "card_last_four", json!("0000")),
        other(transfer(), "amount", json!(100.01)),
        other(reference("k-1"), "user_id", json!(8)),
        other(phone(), "quantity", json!(3)),
        other(order_of_products(), "lines", json!([{"sku": "LAPTOP", "quantity": 1}])),
        other(checkout(), "email", Value::Null),
    ];
    for ((what, call), body) in creations("k-1").into_iter().zip(bodies) {
        let world = world().await;
        let first = world.send(call.clone()).await;
        let before = world.everything();
        let refused = world.send(call.clone().json(&body)).await;
        assert_eq!((refused.status, refused.code()), (422, "idempotency_key_reused"), "{what}: {refused:?}");
        assert_eq!(world.everything(), before, "{what}");
        assert_eq!(id(&world.send(call).await), id(&first), "{what}: the first one stands");
    }
}

#[tokio::test]
async fn fields_in_another_order_and_numbers_in_another_notation_are_the_same_request() {
    let world = World::open().await;
    let texts = [
        r#"{"customer_id":7,"lines":[{"item":"Mouse","quantity":2,"unit_price":9.90}],"shipping_address":"a"}"#,
        r#"{"shipping_address":"\u0061","lines":[{"unit_price":99e-1,"quantity":2.0,"item":"Mouse"}],"customer_id":7e0}"#,
        r#" {"customer_id":7,"lines":[{"item":"Mouse","quantity":2,"unit_price":9.9}],"shipping_address":"a","email":null,"currency":"USD","total_amount":19.8} "#,
    ];
    let call = |text: &str| Call::post(ORDERS).key("k").header("content-type", "application/json").body(text);
    for text in texts {
        assert_eq!(world.send(call(text)).await.status, 201, "{text}");
    }
    assert_eq!(world.records(), 1);
}

#[tokio::test]
async fn keys_of_two_accounts_or_two_kinds_never_meet() {
    let world = world().await;
    let mut ids = BTreeSet::new();
    for (what, call) in creations("k-1") {
        if ["order", "payment", "transaction"].contains(&what) {
            ids.insert(id(&world.send(call).await));
        }
    }
    let other = Call::post(ORDERS).by("other-shop").key("k-1").json(&prepaid());
    let other = world.send(other).await;
    assert_eq!((other.status, other.is_replayed()), (201, false));
    ids.insert(id(&other));
    assert_eq!(ids.len(), 4);
    let by_key = |account| Call::get(format!("{ORDERS}/k-1")).by(account);
    assert_ne!(world.send(by_key("shop")).await.body["order_id"], other.body["order_id"]);
    assert_eq!(world.send(by_key("other-shop")).await.body["order_id"], other.body["order_id"]);
    assert_eq!(world.send(by_key("reader")).await.status, 404, "a key belongs to its account");
}

#[tokio::test]
async fn without_a_key_the_server_makes_one_and_names_it_also_where_the_request_failed() {
    let calls = [
        Call::post(ORDERS).by("shop").json(&prepaid()),
        Call::post("/orders/").by("shop").json(&phone()),
        Call::post(TRANSACTIONS).by("shop").json(&transfer()),
        Call::post(format!("{ORDERS}/order/payments")).by("shop").json(&payment()),
        Call::post(ORDERS).by("shop").json(&order_of_products()),
    ];
    for call in calls {
        let world = world().await;
        world.script.of(PUBLISH, Fault::AnswerLost);
        let failed = world.send(call.clone()).await;
        assert_eq!((failed.status, failed.code()), (503, "bus_unavailable"));
        world.script.heal();
        let key = failed.header("idempotency-key").to_owned();
        assert!(!key.is_empty(), "{failed:?}");
        let again = world.send(call.clone().key(&key)).await;
        assert_eq!((again.status, again.is_replayed()), (201, true), "{again:?}");
        assert_eq!(again.header("idempotency-key"), key);
        let new = world.send(call.clone()).await;
        assert_ne!(new.header("idempotency-key"), key, "another request");
    }
}

#[tokio::test(start_paused = true)]
async fn whichever_call_fails_the_repetition_ends_with_one_record_that_is_asked_for() {
    for fault in [Fault::Lost, Fault::AnswerLost, Fault::Hangs] {
        for (name, call) in creations("k-1") {
            let mut failing = 0;
            loop {
                let what = format!("{name}, {fault:?} at call {failing}");
                let world = world().await;
                world.script.at(failing, fault);
                let first = world.send(call.clone()).await;
                let calls = world.script.take_calls();
                world.script.heal();
                if calls.len() <= failing {
                    assert_eq!(first.status, recorded(name), "{what}: {first:?}");
                    break;
                }
                let expected = match (fault, calls[failing]) {
                    (_, PUBLISH) => "bus_unavailable",
                    (Fault::Hangs, _) => "timed_out",
                    _ => "store_unavailable",
                };
                assert_eq!((first.status, first.code()), (503, expected), "{what}");
                assert!(world.api.not_ready().is_some(), "{what}");
                let again = world.send(call.clone()).await;
                assert_eq!(again.status, recorded(name), "{what}: {again:?}");
                assert_eq!(
                    again.is_replayed(),
                    calls[failing] == PUBLISH
                        || fault == Fault::AnswerLost && !calls[failing].starts_with("read"),
                    "{what}"
                );
                assert_eq!(world.records(), 2, "{what}");
                assert!(!world.take_messages().is_empty(), "{what}: nobody was asked to process it");
                assert_eq!(world.api.not_ready(), None, "{what}");
                failing += 1;
            }
            assert!(failing >= 2, "{name}: it makes {failing} calls");
        }
    }
}

#[tokio::test]
async fn an_id_that_another_request_has_is_passed_over() {
    let world = World::open().await;
    let request = RequestKey { account: "local".into(), key: "k".into() };
    let strange = world.order("other", &prepaid()).await;
    let ids: Vec<_> = order_ids(&request).take(3).collect();
    for order_id in &ids[..2] {
        let taken = ecom_shop_domain::order::OrderRecord { order_id: *order_id, ..strange.clone() };
        world.shop.tables().orders.insert(*order_id, taken);
    }
    for _ in 0..2 {
        assert_eq!(world.order("k", &prepaid()).await.order_id, ids[2]);
    }
    let found = world.send(Call::get(format!("{ORDERS}/k"))).await;
    assert_eq!(found.body["order_id"], ids[2].0);

    let first = world.send(Call::post(TRANSACTIONS).key("k").json(&transfer())).await;
    let second = transaction_ids(&RequestKey { account: "local".into(), key: "x".into() }).nth(1).unwrap();
    let taken = transaction_ids(&RequestKey { account: "local".into(), key: "x".into() }).next().unwrap();
    let record = world.shop.tables().payments.values().next().unwrap().clone();
    world.shop.tables().payments.insert(taken, record);
    let passed = world.send(Call::post(TRANSACTIONS).key("x").json(&transfer())).await;
    assert_eq!(passed.body["transaction_id"], second.to_string());
    assert_ne!(passed.body["transaction_id"], first.body["transaction_id"]);
}

#[tokio::test]
async fn an_order_is_found_by_id_number_and_key_even_if_the_key_looks_like_an_id() {
    let world = World::open().await;
    for key in ["cart-42", "20261128001530123456", "7000000000000001", "ORD-1", "a/b?c=d%25", "\"", "\"\""] {
        let order = world.order(key, &prepaid()).await;
        assert_eq!(order.request.key, key);
        let number = ecom_shop_domain::order_number::format(order.order_id.0);
        let by_key = key.replace('%', "%25").replace('/', "%2F").replace('?', "%3F").replace('"', "%22");
        for name in [order.order_id.0.to_string(), number.clone(), number.to_lowercase(), by_key] {
            let found = world.send(Call::get(format!("{ORDERS}/{name}"))).await;
            assert_eq!(found.body["order_id"], order.order_id.0, "{key} by {name}: {found:?}");
            let status = world.send(Call::get(format!("/api/orders/{name}/status/"))).await;
            assert_eq!(status.body, json!({"order_id": key, "status": "Pending"}), "{key} by {name}");
        }
    }
    let quoted = world.send(Call::post(ORDERS).key("\"cart-42\"").json(&prepaid())).await;
    assert!(quoted.is_replayed(), "a quoted key is the key: {quoted:?}");
}

#[tokio::test]
async fn fingerprints_are_the_same_in_every_version() {
    let world = world().await;
    let kinds = ["order", "payment", "transaction", "reference order", "order of products", "checkout"];
    for (n, what) in kinds.into_iter().enumerate() {
        let call = creations(&n.to_string()).into_iter().find(|(name, _)| *name == what).unwrap().1;
        assert_eq!(world.send(call).await.status, recorded(what));
    }
    let tables = world.shop.tables();
    let mut fingerprints: Vec<_> = tables.orders.values().map(|order| &order.fingerprint[..16]).collect();
    fingerprints.extend(tables.payments.values().map(|payment| &payment.fingerprint[..16]));
    fingerprints.sort_unstable();
    // A change here refuses the repetition of every request that was recorded before.
    let known = [
        "29a8b229f9cf3079",
        "38cc52b2f19c1c09",
        "604e420fc72e29a5",
        "8fc4528f2927a49a",
        "b00467738b0db6b2",
        "b63037c29cb23e50",
        "c4011be89355d4f0",
    ];
    assert_eq!(fingerprints, known);
}
