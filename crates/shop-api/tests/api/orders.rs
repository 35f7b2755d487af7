//! What an order may ask for, and how it is shown.

use std::time::Duration;

use serde_json::{Value, json};

use super::inventory::order_of_products;
use super::world::{Call, ORDERS, World, prepaid, unpaid};
use ecom_domain::event_time::EventTime;
use ecom_domain::fact::OrderCells;
use ecom_shop_domain::order::OrderState;

#[tokio::test]
async fn the_amounts_of_an_order_are_its_lines_or_its_total_and_agree() {
    let world = World::open().await;
    let line = |quantity: i64, unit_price: Value| json!({"item": "x", "quantity": quantity, "unit_price": unit_price});
    let open = json!({"item": "x", "quantity": 1});
    for (lines, total, expected) in [
        (vec![line(2, json!(9.99))], Value::Null, Ok("19.98")),
        (vec![line(2, json!(9.99)), line(3, json!(0.01))], Value::Null, Ok("20.01")),
        (vec![line(2, json!(9.99))], json!(19.98), Ok("19.98")),
        (vec![open.clone(), line(2, json!(9.99))], json!(5), Ok("5.00")),
        (vec![open.clone()], json!(0), Ok("0.00")),
        (vec![line(1, json!(10_000_000_000_i64))], Value::Null, Ok("10000000000.00")),
        (vec![line(2, json!(9.99))], json!(19.97), Err(("/total_amount", "is not the sum of the lines"))),
        (vec![open.clone()], Value::Null, Err(("/total_amount", "is missing: a line has no unit_price"))),
        (
            vec![line(1, json!(10_000_000_000_i64)), line(1, json!(0.01))],
            Value::Null,
            Err(("/lines", "are too expensive together")),
        ),
        (
            vec![line(1_000_000, json!(10_000_000_000_i64)); 100],
            Value::Null,
            Err(("/lines", "are too expensive together")),
        ),
        (vec![], Value::Null, Err(("/lines", "must be a list of 1 to 100 objects"))),
        (vec![line(1, json!(1)); 101], Value::Null, Err(("/lines", "must be a list of 1 to 100 objects"))),
        // What follows from a fault is no fault of its own.
        (
            vec![line(0, json!(1))],
            json!(7),
            Err(("/lines/0/quantity", "must be a whole number from 1 to 1000000")),
        ),
        (
            vec![line(1, json!(0.001))],
            json!(7),
            Err(("/lines/0/unit_price", "has more decimals than the currency")),
        ),
        (vec![open], json!(0.001), Err(("/total_amount", "has more decimals than the currency"))),
    ] {
        let mut body = unpaid();
        (body["lines"], body["total_amount"]) = (json!(lines), total.clone());
        let answer = world.send(Call::post(ORDERS).json(&body)).await;
        match expected {
            Ok(total) => assert!(answer.text.contains(&format!(r#""total":{total},"#)), "{answer:?}"),
            Err((pointer, detail)) => {
                assert_eq!(answer.body["errors"], json!([{"pointer": pointer, "detail": detail}]), "{total}");
            }
        }
    }
    let mut body = unpaid();
    body["card_last_four"] = json!("4242");
    let answer = world.send(Call::post(ORDERS).json(&body)).await;
    assert_eq!(
        answer.body["errors"],
        json!([{"pointer": "/card_last_four", "detail": "needs a payment_method"}])
    );
}

#[tokio::test]
async fn an_order_is_shown_as_it_was_asked_for() {
    let world = World::open().await;
    let mut body = prepaid();
    (body["email"], body["currency"]) = (json!("ada@example.com"), json!("KWD"));
    let created = world.send(Call::post(ORDERS).key("k").json(&body)).await;
    let mut shown = created.body.clone();
    for name in ["order_id", "number", "created_at", "updated_at"] {
        assert!(!shown[name].take().is_null(), "{name}");
    }
    let expected = json!({
        "order_id": null, "number": null, "idempotency_key": "k", "status": "Pending", "detail": null,
        "customer_id": 7, "currency": "KWD", "total": 19.980, "created_at": null, "updated_at": null,
        "lines": [{"item": "Mouse", "sku": null, "quantity": 2, "unit_price": 9.990}],
        "merchandise_total": 19.980, "shipping_fee": 0.000, "shipping_address": "1 Main St",
        "email": "ada@example.com", "payment": null, "confirmation": null, "in_table": false,
    });
    assert_eq!(shown, expected);
    assert!(created.text.contains(r#""unit_price":9.990"#), "all decimals of the currency: {}", created.text);
    assert_eq!(world.send(Call::get(created.header("location"))).await.body, created.body);
}

#[tokio::test]
async fn an_order_says_whether_the_fact_table_has_its_status() {
    let world = World::open().await;
    let order = world.order_in("k", OrderState::Paid, &prepaid()).await;
    let in_table =
        async || world.send(Call::get(format!("{ORDERS}/k"))).await.body["in_table"].as_bool().unwrap();
    assert!(!in_table().await, "there is no row");
    for (status, at, expected) in [
        ("Pending", order.state_at - 2, false),
        ("Processing", order.state_at - 1, false),
        ("Processing", order.state_at, true),
        ("Processing", order.state_at + 1, false),
        ("Completed", order.state_at + 2, false),
    ] {
        let cells =
            OrderCells { order_status: Some(status.into()), customer_id: Some(7), ..OrderCells::default() };
        world.facts.tables().record_order(order.order_id, cells, EventTime::stored(at));
        assert_eq!(in_table().await, expected, "{status} at {at}");
    }
}

#[tokio::test]
async fn a_line_of_a_product_has_its_name_and_price_and_one_of_an_item_its_own() {
    let world = World::open().await;
    world.stock("LAPTOP", 99_900, 3);
    world.stock("YEN", 500, 1);
    world.shop.tables().products.get_mut("YEN").unwrap().currency =
        ecom_shop_domain::money::Currency::try_new("JPY").unwrap();
    let laptop = json!({"sku": "LAPTOP", "quantity": 2});
    let yen = json!({"sku": "YEN", "quantity": 1});
    let mouse = json!({"item": "Mouse", "quantity": 1, "unit_price": 9.99});
    let open = json!({"item": "Mouse", "quantity": 1});
    let with = |line: &Value, field: &str, value: Value| {
        let mut line = line.clone();
        line[field] = value;
        line
    };
    for (lines, total, currency, expected) in [
        (json!([laptop]), Value::Null, "USD", Ok("1998.00")),
        (json!([laptop, laptop]), Value::Null, "USD", Ok("3996.00")),
        (json!([mouse, laptop]), Value::Null, "USD", Ok("2007.99")),
        (json!([mouse, laptop]), json!(2007.99), "USD", Ok("2007.99")),
        (json!([open, laptop]), json!(1500), "USD", Ok("1500.00")),
        (json!([yen]), Value::Null, "JPY", Ok("500")),
        (json!([laptop]), json!(1998.01), "USD", Err(("/total_amount", "is not the sum of the lines"))),
        (
            json!([open, laptop]),
            Value::Null,
            "USD",
            Err(("/total_amount", "is missing: a line has no unit_price")),
        ),
        (
            json!([laptop]),
            Value::Null,
            "EUR",
            Err(("/lines/0/sku", "is priced in USD, and the order is in EUR")),
        ),
        (
            json!([mouse, yen]),
            Value::Null,
            "USD",
            Err(("/lines/1/sku", "is priced in JPY, and the order is in USD")),
        ),
        (
            json!([{"sku": "PHONE", "quantity": 1}]),
            Value::Null,
            "USD",
            Err(("/lines/0/sku", "is not a product")),
        ),
        (json!([{"quantity": 1}]), Value::Null, "USD", Err(("/lines/0/item", "is missing, and so is sku"))),
        (
            json!([with(&laptop, "item", json!("Laptop"))]),
            Value::Null,
            "USD",
            Err(("/lines/0/sku", "is not given beside item")),
        ),
        (
            json!([with(&laptop, "unit_price", json!(1))]),
            Value::Null,
            "USD",
            Err(("/lines/0/unit_price", "is not given beside sku: a product has its own price")),
        ),
    ] {
        let mut body = order_of_products();
        (body["lines"], body["total_amount"], body["currency"]) = (lines.clone(), total, json!(currency));
        let answer = world.send(Call::post(ORDERS).json(&body)).await;
        match expected {
            Ok(total) => {
                assert!(answer.text.contains(&format!(r#""total":{total},"#)), "{lines}: {answer:?}");
                assert!(answer.text.contains(r#""shipping_fee":0"#), "no fee is added: {answer:?}");
            }
            Err((pointer, detail)) => {
                assert_eq!(answer.body["errors"], json!([{"pointer": pointer, "detail": detail}]), "{lines}");
            }
        }
    }
    let mixed = world
        .send(Call::post(ORDERS).json(&with(&order_of_products(), "lines", json!([laptop, mouse]))))
        .await;
    let laptop = json!({"item": "The LAPTOP", "sku": "LAPTOP", "quantity": 2, "unit_price": 999.00});
    let mouse = json!({"item": "Mouse", "sku": null, "quantity": 1, "unit_price": 9.99});
    assert_eq!(mixed.body["lines"], json!([laptop, mouse]));
}

#[tokio::test(start_paused = true)]
async fn an_order_of_products_is_the_same_at_another_price_and_waits_only_if_asked_to() {
    let world = World::open().await;
    world.stock("LAPTOP", 99_900, 3);
    let call = |key: &str| Call::post(ORDERS).key(key).json(&order_of_products());
    let began = tokio::time::Instant::now();
    let first = world.send(call("k")).await;
    assert_eq!(
        (first.status, first.body["status"].as_str(), began.elapsed()),
        (201, Some("Pending"), Duration::ZERO)
    );
    world.stock("LAPTOP", 1, 1);
    let again = world.send(call("k")).await;
    assert_eq!((again.status, again.is_replayed(), &again.body), (201, true, &first.body));

    let waited = world.send(call("k").header("prefer", "wait=3")).await;
    assert_eq!((waited.status, waited.header("preference-applied")), (201, "wait=3"));
    assert_eq!(began.elapsed(), Duration::from_secs(3), "nobody has decided");
    let short = world.send_and_process(call("k-2").header("prefer", "wait=3")).await;
    assert_eq!((short.status, short.code()), (409, "insufficient_stock"), "{short:?}");
    assert_eq!(short.body["detail"], "insufficient stock: 2 wanted, 1 available of LAPTOP");
    assert!(began.elapsed() < Duration::from_secs(4));
}
