//! Carts: whose they are, what they show, and what stays in them.

use serde_json::{Value, json};

use super::inventory::{CART, CHECKOUT, two};
use super::world::{Call, START, World};

/// Checks out the whole cart of customer 7 without waiting.
fn checkout_of_cart(key: &str) -> Call {
    let body = json!({"customer_id": 7, "shipping_address": "1 Main St"});
    Call::post(CHECKOUT).key(key).header("prefer", "wait=0").json(&body)
}

#[tokio::test]
async fn a_cart_shows_its_lines_with_their_products_as_they_are_now() {
    let world = World::open().await;
    world.stock("LAPTOP", 99_900, 3);
    world.stock("MOUSE", 999, 0);
    let cart = async || world.send(Call::get(format!("{CART}?customer_id=7"))).await.body;
    assert_eq!(cart().await, json!({"lines": []}));
    for (sku, quantity) in [("MOUSE", 1), ("LAPTOP", 5), ("LAPTOP", 2)] {
        world.put_into_cart(sku, quantity).await;
    }
    let laptop = json!({
        "sku": "LAPTOP", "quantity": 2, "name": "The LAPTOP", "price": 999.00, "currency": "USD",
        "available": 3, "in_stock": true,
    });
    let mouse = json!({
        "sku": "MOUSE", "quantity": 1, "name": "The MOUSE", "price": 9.99, "currency": "USD",
        "available": 0, "in_stock": false,
    });
    assert_eq!(cart().await["lines"], json!([laptop, mouse]));
    let put = world.send(Call::put(format!("{CART}/LAPTOP")).json(&two())).await;
    assert_eq!((put.status, put.body), (200, laptop));
    world.shop.tables().products.remove("LAPTOP");
    let gone = &cart().await["lines"][0];
    assert_eq!(
        (&gone["name"], &gone["price"], &gone["in_stock"]),
        (&Value::Null, &Value::Null, &json!(false))
    );

    for sku in ["LAPTOP", "LAPTOP", "NEVER-THERE"] {
        let removed = world.send(Call::delete(format!("{CART}/{sku}?customer_id=7"))).await;
        assert_eq!((removed.status, removed.text.as_str()), (204, ""), "{sku}");
    }
    assert_eq!(world.cart(), [("MOUSE".to_owned(), 1)]);
}

#[tokio::test]
async fn a_cart_is_that_of_the_key_or_of_the_customer_that_is_named() {
    let world = World::with_keys().await;
    world.stock("LAPTOP", 99_900, 3);
    let path = format!("{CART}/LAPTOP");
    let own = world.send(Call::put(&path).by("customer-7").json(&json!({"quantity": 2}))).await;
    assert_eq!(own.status, 200, "{own:?}");
    let lines = |call: Call| async { world.send(call).await.body["lines"].as_array().unwrap().len() };
    assert_eq!(lines(Call::get(CART).by("customer-7")).await, 1);
    assert_eq!(lines(Call::get(format!("{CART}?customer_id=7")).by("reader")).await, 1);
    assert_eq!(lines(Call::get(CART).by("customer-8")).await, 0);

    let unnamed = world.send(Call::put(&path).by("shop").json(&json!({"quantity": 2}))).await;
    assert_eq!((unnamed.status, unnamed.pointers()), (422, vec!["/customer_id"]));
    for call in [Call::get(CART).by("shop"), Call::delete(&path).by("shop"), Call::get(CART).by("reader")] {
        let unnamed = world.send(call).await;
        assert_eq!((unnamed.status, unnamed.code()), (400, "invalid_query"));
        assert_eq!(unnamed.body["errors"], json!([{"pointer": "customer_id", "detail": "is missing"}]));
    }
    let wrong = world.send(Call::get(format!("{CART}?customer_id=x&y=1")).by("shop")).await;
    assert_eq!(wrong.pointers(), ["customer_id", "y"]);
    assert_eq!(world.send(Call::delete(&path).by("customer-8")).await.status, 204);
    assert_eq!(world.cart().len(), 1, "the other cart is not touched");
}

#[tokio::test]
async fn only_a_product_gets_into_a_cart_and_a_hundred_at_most() {
    let world = World::open().await;
    let put = |sku: &str| Call::put(format!("{CART}/{sku}")).json(&two());
    for unknown in ["LAPTOP", "..%2Fx", "a%20b", "4111111111111111", &"x".repeat(65)] {
        let answer = world.send(put(unknown)).await;
        assert_eq!((answer.status, answer.code()), (404, "not_found"), "{unknown}");
        let removed = world.send(Call::delete(format!("{CART}/{unknown}?customer_id=7"))).await;
        assert_eq!(removed.status, if unknown == "LAPTOP" { 204 } else { 404 }, "{unknown}");
    }
    assert!(world.cart().is_empty());
    for n in 0..101 {
        world.stock(&format!("S{n:03}"), 100, 1);
        let answer = world.send(put(&format!("S{n:03}"))).await;
        match n {
            0..100 => assert_eq!(answer.status, 200),
            _ => assert_eq!(
                answer.body["errors"],
                json!([{"pointer": "sku", "detail": "the cart has 100 lines already"}])
            ),
        }
    }
    assert_eq!(world.send(put("S050")).await.status, 200, "a line that is there may change");
    // Two at once may have been the hundredth.
    world.shop.tables().carts.insert((7, "S100".to_owned()), (Some(1), START));
    let answer = world.send(checkout_of_cart("k")).await;
    assert_eq!((answer.status, answer.pointers()), (422, vec!["/lines"]));
}

#[tokio::test]
async fn a_line_that_was_changed_since_the_checkout_stays_and_the_others_are_removed() {
    let world = World::open().await;
    for sku in ["KEYBOARD", "LAPTOP", "MOUSE"] {
        world.stock(sku, 100, 10);
        world.put_into_cart(sku, 1).await;
    }
    assert_eq!(world.send(checkout_of_cart("k")).await.status, 202);
    world.put_into_cart("LAPTOP", 3).await;
    world.stock("SCREEN", 100, 10);
    world.put_into_cart("SCREEN", 1).await;
    world.process();
    assert_eq!(world.cart(), [("LAPTOP".to_owned(), 3), ("SCREEN".to_owned(), 1)]);

    assert_eq!(world.send(checkout_of_cart("k-2")).await.status, 202);
    world.shop.tables().products.get_mut("SCREEN").unwrap().stock.on_hand = 0;
    world.process();
    assert_eq!(world.cart().len(), 2, "a refused order keeps its cart");
}

#[tokio::test]
async fn a_write_is_later_than_the_line_that_it_replaces_whatever_the_clocks_say() {
    let world = World::open().await;
    world.stock("LAPTOP", 99_900, 3);
    let ahead = START + 60_000_000;
    let line = (7, "LAPTOP".to_owned());
    world.shop.tables().carts.insert(line.clone(), (Some(9), ahead));
    world.put_into_cart("LAPTOP", 2).await;
    assert_eq!(world.shop.tables().carts[&line], (Some(2), ahead + 1));
    let removed = world.send(Call::delete(format!("{CART}/LAPTOP?customer_id=7"))).await;
    assert_eq!((removed.status, world.cart().len()), (204, 0));
}
