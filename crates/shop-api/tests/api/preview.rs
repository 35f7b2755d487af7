//! Previews: what an order would cost, without writing anything.

use serde_json::{Value, json};

use super::answer::Answer;
use super::inventory::PREVIEW;
use super::world::{Call, World};

/// A world with products, and a cart of customer 7 of two of them.
async fn world() -> World {
    let world = World::open().await;
    for (sku, price, on_hand) in [("LAPTOP", 99_900, 3), ("MOUSE", 1_999, 0), ("FREE", 0, 9)] {
        world.stock(sku, price, on_hand);
    }
    world.stock("BUTTON", 1, 1_000_000);
    world.put_into_cart("LAPTOP", 2).await;
    world.put_into_cart("MOUSE", 3).await;
    world
}

/// Sends a preview for customer 7, which must change nothing.
async fn preview(world: &World, lines: Value) -> Answer {
    let before = world.everything();
    let answer = world.send(Call::post(PREVIEW).json(&json!({"customer_id": 7, "lines": lines}))).await;
    assert_eq!(world.everything(), before, "a preview writes nothing");
    answer
}

#[tokio::test]
async fn a_preview_has_lines_totals_and_availability() {
    let world = world().await;
    let laptop = |quantity: i64, line_total: f64, in_stock: bool| {
        json!({"sku": "LAPTOP", "item": "The LAPTOP", "quantity": quantity, "unit_price": 999.00,
            "line_total": line_total, "available": 3, "in_stock": in_stock})
    };
    let mouse = json!({"sku": "MOUSE", "item": "The MOUSE", "quantity": 3, "unit_price": 19.99,
        "line_total": 59.97, "available": 0, "in_stock": false});
    let expected = |lines: Value, count: i64, merchandise: f64, total: f64| {
        json!({"lines": lines, "item_count": count, "merchandise_total": merchandise, "shipping_fee": 10.00,
            "total": total, "currency": "USD"})
    };
    for (lines, shown) in [
        (
            json!([{"sku": "LAPTOP", "quantity": 2}]),
            expected(json!([laptop(2, 1998.00, true)]), 2, 1998.00, 2008.00),
        ),
        (Value::Null, expected(json!([laptop(2, 1998.00, true), mouse]), 5, 2057.97, 2067.97)),
        (
            json!([{"sku": "MOUSE"}, {"sku": "LAPTOP", "quantity": 4}]),
            expected(json!([mouse, laptop(4, 3996.00, false)]), 7, 4055.97, 4065.97),
        ),
    ] {
        let answer = preview(&world, lines).await;
        assert_eq!((answer.status, &answer.body), (200, &shown), "{answer:?}");
        assert!(answer.text.contains("\"shipping_fee\":10.00,"), "{}", answer.text);
    }
    let free = preview(&world, json!([{"sku": "FREE", "quantity": 9}])).await;
    assert_eq!((&free.body["total"], &free.body["lines"][0]["in_stock"]), (&json!(10.00), &json!(true)));
    let body = json!({"lines": [{"sku": "LAPTOP", "quantity": 2}], "shipping_address": "1 Main St"});
    let for_anybody = world.send(Call::post(PREVIEW).json(&body)).await;
    assert_eq!(for_anybody.body["total"], json!(2008.00), "named quantities need no customer");
}

#[tokio::test]
async fn what_has_no_price_is_refused_with_the_line_that_is_at_fault() {
    let world = world().await;
    world.stock("YEN", 500, 1);
    {
        let mut tables = world.shop.tables();
        tables.products.get_mut("YEN").unwrap().currency =
            ecom_shop_domain::money::Currency::try_new("JPY").unwrap();
        tables.products.get_mut("BUTTON").unwrap().price_minor = 1_000_000_000_000;
    }
    let line = |sku: &str, quantity: i64| json!({"sku": sku, "quantity": quantity});
    for (lines, pointer, detail) in [
        (json!([line("LAPTOP", 1), line("PHONE", 1)]), "/lines/1/sku", "is not a product"),
        (json!([{"sku": "PHONE"}]), "/lines/0/quantity", "is missing, and the cart has no such line"),
        (json!([{"quantity": 1}]), "/lines/0/sku", "is missing"),
        (json!([line("LAPTOP", 1), line("LAPTOP", 2)]), "/lines/1/sku", "is that of a line above"),
        (
            json!([line("LAPTOP", 1), line("YEN", 1)]),
            "/lines/1/sku",
            "is priced in another currency than the first line",
        ),
        (json!([line("BUTTON", 1_000_000)]), "/lines", "are too expensive together"),
        (json!([line("BUTTON", 1)]), "/lines", "are too expensive together"),
        (json!([line("LAPTOP", 0)]), "/lines/0/quantity", "must be a whole number from 1 to 1000000"),
        (json!([]), "/lines", "must be a list of 1 to 100 objects"),
        (
            json!([line("a b", 1)]),
            "/lines/0/sku",
            "must have 1 to 64 letters, digits, dots, underscores or hyphens, and not dots alone",
        ),
    ] {
        let answer = preview(&world, lines.clone()).await;
        assert_eq!((answer.status, answer.code()), (422, "invalid_request"), "{lines}");
        assert_eq!(answer.body["errors"], json!([{"pointer": pointer, "detail": detail}]), "{lines}");
    }
    let unnamed = world.send(Call::post(PREVIEW).json(&json!({}))).await;
    assert_eq!(unnamed.pointers(), ["/customer_id"]);
    let empty = world.send(Call::post(PREVIEW).json(&json!({"customer_id": 8}))).await;
    assert_eq!((empty.status, empty.code()), (422, "cart_empty"));

    world.put_into_cart("YEN", 1).await;
    let mixed = preview(&world, Value::Null).await;
    let detail = "YEN of the cart is priced in another currency than the first line";
    assert_eq!(mixed.body["errors"], json!([{"pointer": "/lines", "detail": detail}]));
    world.shop.tables().products.remove("MOUSE");
    let gone = preview(&world, Value::Null).await;
    let detail = "MOUSE of the cart is not a product";
    assert_eq!(gone.body["errors"], json!([{"pointer": "/lines", "detail": detail}]));
}

#[tokio::test]
async fn a_customer_previews_their_own_cart() {
    let world = World::with_keys().await;
    world.stock("LAPTOP", 99_900, 3);
    world.put_into_cart("LAPTOP", 2).await;
    let own = world.send(Call::post(PREVIEW).by("customer-7").json(&json!({}))).await;
    assert_eq!(own.body["total"], json!(2008.00));
    let other = world.send(Call::post(PREVIEW).by("customer-8").json(&json!({}))).await;
    assert_eq!(other.code(), "cart_empty");
}
