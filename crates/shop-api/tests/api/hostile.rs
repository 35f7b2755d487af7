//! Whatever is sent, the answer is a problem, nothing is recorded, and no card number is stored, logged or repeated.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Request;
use serde_json::{Value, json};

use super::answer::Answer;
use super::inventory::{CART, CHECKOUT, PREVIEW, PRODUCTS, checkout, laptop, order_of_products, two};
use super::logs;
use super::world::{Call, ORDERS, TRANSACTIONS, World, payment, phone, prepaid, reference, transfer, unpaid};
use ecom_shop_domain::order::OrderState;

/// Numbers of test cards as people and programs write them.
const CARDS: [&str; 6] = [
    "4111111111111111",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "5555555555554444",
    "378282246310005",
    "card 6011 0009 9013 9424 please",
];

/// Returns a request to a path of [`bodies`], which does not wait.
fn call(path: &str) -> Call {
    let is_put = [PRODUCTS, CART].iter().any(|of| path.starts_with(of));
    if is_put { Call::put(path) } else { Call::post(path).header("prefer", "wait=0") }
}

/// Returns whether requests to a path of [`bodies`] have an idempotency key in their header.
fn is_keyed(path: &str) -> bool {
    path != "/api/orders/create/" && path != PREVIEW && !path.starts_with(PRODUCTS) && !path.starts_with(CART)
}

/// Every request with a body, and a body that is accepted.
fn bodies() -> Vec<(String, Value)> {
    let mut order_to_preview = order_of_products();
    order_to_preview["lines"] = json!([{"sku": "LAPTOP", "quantity": 1}]);
    vec![
        (ORDERS.to_owned(), prepaid()),
        (format!("{ORDERS}/order/payments"), payment()),
        (TRANSACTIONS.to_owned(), transfer()),
        ("/api/orders/create/".to_owned(), reference("reference")),
        ("/orders/".to_owned(), phone()),
        (ORDERS.to_owned(), order_of_products()),
        (CHECKOUT.to_owned(), checkout()),
        (PREVIEW.to_owned(), order_to_preview),
        (format!("{PRODUCTS}/PHONE"), laptop()),
        (format!("{CART}/LAPTOP"), two()),
    ]
}

async fn world() -> World {
    let world = World::open().await;
    world.order_in("order", OrderState::Placed, &unpaid()).await;
    world.stock("LAPTOP", 99_900, 3);
    world.take_messages();
    world
}

/// Sends a request that must be refused, and checks that it changed nothing and that nobody sees a card number.
async fn refused(world: &World, call: Call, what: &str) -> Answer {
    let before = world.everything();
    let answer = world.send(call).await;
    assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
    assert_eq!(world.everything(), before, "{what}");
    answer
}

/// Sends a request that must be accepted.
async fn accepted(world: &World, call: Call, what: &str) -> Answer {
    // The order that is paid has no payment yet.
    world.shop.tables().payments.clear();
    let answer = world.send(call).await;
    assert!(matches!(answer.status, 200..=202), "{what}: {answer:?}");
    answer
}

fn raw(path: &str, body: impl Into<Vec<u8>>) -> Call {
    call(path).body(body).header("content-type", "application/json")
}

#[tokio::test]
async fn a_card_number_in_any_text_is_refused_and_neither_stored_nor_logged_nor_repeated() {
    let world = world().await;
    for (path, body) in bodies() {
        for card in CARDS {
            let mut texts = Vec::new();
            for (name, value) in body.as_object().unwrap() {
                let mut with_card = body.clone();
                match value {
                    Value::String(_) => with_card[name] = json!(card),
                    Value::Array(items) if items[0]["sku"].is_string() => {
                        with_card[name][0]["sku"] = json!(card)
                    }
                    Value::Array(items) if items[0].is_object() => with_card[name][0]["item"] = json!(card),
                    Value::Array(_) => {
                        let Ok(number) = card.parse::<i64>() else { continue };
                        with_card[name] = json!([1, number]);
                    }
                    _ => continue,
                }
                texts.push((name.clone(), with_card));
            }
            let unknown = |value: Value| {
                let mut with_card = body.clone();
                with_card["unknown"] = value;
                with_card
            };
            texts.push(("unknown".to_owned(), unknown(json!(card))));
            texts.push(("nested".to_owned(), unknown(json!({"a": [{"b": card}]}))));
            let mut with_card = body.clone();
            with_card[card] = json!(1);
            texts.push(("name".to_owned(), with_card));
            assert!(texts.len() >= 3, "{path}");
            for (name, with_card) in texts {
                let what = format!("{path} {name}");
                let answer = refused(&world, call(&path).json(&with_card), &what).await;
                assert_eq!((answer.status, answer.code()), (422, "card_number_present"), "{what}");
                let escaped: String = with_card.to_string().replace('1', "\\u0031").replace('5', "\\u0035");
                refused(&world, raw(&path, escaped), &what).await;
                refused(&world, raw(&path, json!(card).to_string()), &what).await;
                refused(&world, raw(&path, format!("{with_card}{card}")), &what).await;
            }
        }
    }
    logs::check();
}

#[tokio::test]
async fn a_card_number_in_a_header_a_path_or_a_query_is_neither_stored_nor_logged_nor_repeated() {
    let world = world().await;
    for card in CARDS {
        let in_url = card.replace(' ', "%20");
        for (path, body) in bodies() {
            let what = format!("{path} {card}");
            if is_keyed(&path) {
                let answer = refused(&world, call(&path).key(card).json(&body), &what).await;
                let expected = if card.contains(' ') { "invalid_header" } else { "card_number_present" };
                assert_eq!(answer.code(), expected, "{what}");
            }
            let answer = refused(&world, call(&format!("{path}?{in_url}=1")).json(&body), &what).await;
            assert_eq!((answer.code(), answer.pointers()), ("invalid_query", vec!["…"]), "{what}");
        }
        let new = Call::put(format!("{PRODUCTS}/{in_url}")).json(&laptop());
        let answer = refused(&world, new, "a product").await;
        assert_eq!((answer.code(), answer.pointers()), ("card_number_present", vec!["sku"]));
        for in_cart in [
            Call::put(format!("{CART}/{in_url}")).json(&two()),
            Call::delete(format!("{CART}/{in_url}?customer_id=7")),
        ] {
            assert_eq!(refused(&world, in_cart, "a line of a cart").await.code(), "not_found");
        }
        for to_do in ["cancel", "confirmation"] {
            let call = Call::post(format!("{ORDERS}/{in_url}/{to_do}"));
            assert_eq!(refused(&world, call, to_do).await.code(), "not_found");
        }
        for path in [
            format!("{ORDERS}/{in_url}"),
            format!("{TRANSACTIONS}/{in_url}"),
            format!("{PRODUCTS}/{in_url}"),
            format!("/api/orders/{in_url}/status/"),
            format!("/{in_url}"),
            format!("/problems/{in_url}"),
            format!("/docs/{in_url}"),
        ] {
            assert_eq!(refused(&world, Call::get(&path), "path").await.code(), "not_found");
        }
        for query in ["page_token", "page_size", "status", "skip", "limit", "customer_id", "unknown"] {
            for path in [ORDERS, TRANSACTIONS, PRODUCTS, CART, "/api/orders/ids/", "/orders/ids/"] {
                let answer = world.send(Call::get(format!("{path}?{query}={in_url}"))).await;
                let is_number =
                    card.parse::<i64>().is_ok() && matches!(query, "page_size" | "limit" | "customer_id");
                assert!(answer.status == 400 || is_number, "{path} {query}: {answer:?}");
            }
        }
        for header in ["x-request-id", "authorization", "user-agent", "prefer", "x-unknown"] {
            let answer = world.send(Call::get(ORDERS).header(header, card)).await;
            assert_eq!(answer.status, 200, "{header} is not used");
        }
        refused(&world, Call::post(ORDERS).header("content-type", card).body("{}"), "content type").await;
    }
    logs::check();
}

#[tokio::test]
async fn a_body_is_at_most_64_kib() {
    let world = world().await;
    for (path, body) in bodies() {
        let body = body.to_string();
        let padded = |length: usize| format!("{body}{}", " ".repeat(length - body.len()));
        let answer = refused(&world, raw(&path, padded(64 * 1024 + 1)), &path).await;
        assert_eq!(answer.code(), "body_too_large", "{path}");
        accepted(&world, raw(&path, padded(64 * 1024)), &path).await;
        refused(&world, raw(&path, vec![b'{'; 1024 * 1024]), &path).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_is_given_up_and_is_not_taken_for_an_outage() {
    let world = world().await;
    let began = tokio::time::Instant::now();
    let never = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
    let request = Request::post(ORDERS).header("content-type", "application/json");
    let answer = world.send_raw(request.body(Body::from_stream(never)).unwrap()).await;
    assert_eq!((answer.status, answer.code()), (408, "request_too_slow"));
    assert_eq!(began.elapsed(), Duration::from_secs(10));
    let broken = futures_util::stream::iter([Ok(Bytes::from("{")), Err(std::io::Error::other("cut"))]);
    let request = Request::post(ORDERS).header("content-type", "application/json");
    let answer = world.send_raw(request.body(Body::from_stream(broken)).unwrap()).await;
    assert_eq!(answer.code(), "malformed_json");
    assert_eq!(world.api.not_ready(), None);
}

#[tokio::test]
async fn what_is_not_one_json_object_is_malformed() {
    let world = world().await;
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
    for (path, body) in bodies() {
        let body = body.to_string();
        for bad in [
            String::new(),
            " ".to_owned(),
            "null".to_owned(),
            "[]".to_owned(),
            format!("[{body}]"),
            format!("{body}{body}"),
            format!("{body},"),
            body[..body.len() - 1].to_owned(),
            body.replacen('{', "{,", 1),
            body.replace('"', "'"),
            format!("\u{feff}{body}"),
            format!("{body}\0"),
            deep("[", "]"),
            deep("{\"a\":", "}"),
            "{\"a\":NaN}".to_owned(),
            "{\"a\":01}".to_owned(),
            "{\"\\ud800\":1}".to_owned(),
        ] {
            let answer = refused(&world, raw(&path, bad.clone()), &bad[..bad.len().min(40)]).await;
            assert!(matches!(answer.code(), "malformed_json" | "invalid_request"), "{answer:?}");
        }
        for bad in [&b"\xff\xfe{}"[..], b"{\"a\":\"\xc3\x28\"}", b"\x1f\x8b\x08\x00"] {
            assert_eq!(refused(&world, raw(&path, bad), &path).await.code(), "malformed_json");
        }
    }
}

#[tokio::test]
async fn every_field_that_is_wrong_is_named_and_none_that_is_right() {
    let world = world().await;
    let strange = [
        "null",
        "true",
        "[]",
        "{}",
        "\"\"",
        "\"x\"",
        "\"\\ud800\"",
        "-1",
        "0",
        "0.5",
        "1e400",
        "-1e400",
        "1e-400",
        "9223372036854775808",
        "1e30",
        "\"1\"",
        "[[1]]",
        "[{}]",
        "[null]",
        "[1.5]",
        "1E+2",
        "-0",
        "-0.0",
    ];
    for (path, body) in bodies() {
        for name in body.as_object().unwrap().keys() {
            for value in strange {
                let mut with_value = body.clone();
                with_value[name] = json!("PLACE");
                let text = with_value.to_string().replace("\"PLACE\"", value);
                world.shop.tables().payments.clear();
                let answer = world.send(raw(&path, text.clone())).await;
                if answer.status < 400 {
                    continue;
                }
                assert!(
                    matches!(
                        answer.code(),
                        "invalid_request"
                            | "amount_mismatch"
                            | "idempotency_key_reused"
                            | "total_changed"
                            | "cart_empty"
                    ),
                    "{text}: {answer:?}"
                );
                let pointer = format!("/{name}");
                let is_about =
                    |found: &&str| **found != pointer && !found.starts_with(&format!("{pointer}/"));
                let others: Vec<_> = answer.pointers().into_iter().filter(is_about).collect();
                let is_dependent = matches!(
                    (name.as_str(), others.as_slice()),
                    ("payment_method", ["/card_last_four"])
                        | ("lines", ["/total_amount"])
                        | ("currency", ["/amount" | "/lines/0/unit_price"])
                );
                assert!(others.is_empty() || is_dependent, "{text}: {answer:?}");
            }
        }
        let mut empty = refused(&world, raw(&path, "{}"), &path).await;
        let missing: Vec<_> = empty.pointers().iter().map(|pointer| pointer[1..].to_owned()).collect();
        assert!(!missing.is_empty());
        for name in missing {
            assert!(body.get(&name).is_some(), "{path}: {name}");
        }
        let faults = empty.body["errors"].take();
        assert!(
            faults
                .as_array()
                .unwrap()
                .iter()
                .all(|fault| fault["detail"].as_str().unwrap().starts_with("is missing")),
            "{faults}"
        );
    }
}

#[tokio::test]
async fn numbers_are_read_from_their_text() {
    let world = World::open().await;
    let quantities = [("1.0", Some(1)), ("1e0", Some(1)), ("10e-1", Some(1)), ("1000000", Some(1_000_000))];
    let wrong = [
        "0",
        "-0",
        "-1",
        "1.5",
        "1000001",
        "9223372036854775808",
        "1e400",
        "1e19",
        "18446744073709551617",
        "0x1",
    ];
    for (text, expected) in quantities.into_iter().chain(wrong.map(|text| (text, None))) {
        let body = format!(
            r#"{{"customer_id":1,"lines":[{{"item":"x","quantity":{text},"unit_price":0.01}}],"shipping_address":"a"}}"#
        );
        let answer = world.send(raw(ORDERS, body)).await;
        match expected {
            Some(quantity) => assert_eq!(answer.body["lines"][0]["quantity"], quantity, "{text}"),
            None => {
                assert!(matches!(answer.code(), "invalid_request" | "malformed_json"), "{text}: {answer:?}")
            }
        }
    }
    for (text, currency, expected) in [
        ("0.1", "USD", Some("0.10")),
        ("0.30000000000000000", "USD", Some("0.30")),
        ("1e2", "USD", Some("100.00")),
        ("10000000000", "USD", Some("10000000000.00")),
        ("9007199254.74", "USD", Some("9007199254.74")),
        ("500", "JPY", Some("500")),
        ("1.234", "KWD", Some("1.234")),
        ("0.30000000000000004", "USD", None),
        ("0.001", "USD", None),
        ("0", "USD", None),
        ("-0", "USD", None),
        ("10000000000.01", "USD", None),
        ("500.5", "JPY", None),
        ("1e400", "USD", None),
        ("1", "XAU", None),
        ("1", "usd", None),
    ] {
        let body = format!(r#"{{"sender":"a","receiver":"b","amount":{text},"currency":"{currency}"}}"#);
        let answer = world.send(raw(TRANSACTIONS, body)).await;
        match expected {
            Some(amount) => {
                assert!(answer.text.contains(&format!(r#""amount":{amount},"#)), "{text}: {answer:?}")
            }
            None => assert_eq!(answer.code(), "invalid_request", "{text}"),
        }
    }
}

#[tokio::test]
async fn fields_given_twice_and_unknown_ones_are_faults_and_at_most_a_hundred_are_named() {
    let world = world().await;
    for (path, body) in bodies() {
        let body = body.to_string();
        for name in serde_json::from_str::<Value>(&body).unwrap().as_object().unwrap().keys() {
            let twice = body.replacen('{', &format!("{{\"{name}\":null,"), 1);
            let answer = refused(&world, raw(&path, twice), &path).await;
            assert!(answer.pointers().contains(&&*format!("/{name}")), "{answer:?}");
        }
        let many: String = (0..5_000).map(|n| format!("\"u{n}\":0,")).collect();
        let answer = refused(&world, raw(&path, body.replacen('{', &format!("{{{many}"), 1)), &path).await;
        assert_eq!(answer.pointers().len(), 100);
        let long = format!("\"{}\":0,", "x".repeat(10_000));
        let answer = refused(&world, raw(&path, body.replacen('{', &format!("{{{long}"), 1)), &path).await;
        assert_eq!(answer.pointers(), ["/…"]);
    }
    let answer = world.send(Call::get(format!("{ORDERS}?{}", "a&".repeat(5_000)))).await;
    assert_eq!((answer.code(), answer.pointers().len()), ("invalid_query", 100));
}

#[tokio::test]
async fn texts_are_kept_as_they_are_whatever_their_characters() {
    let world = World::open().await;
    for text in [
        "\0",
        "a\u{7}\u{1b}[31m",
        "\u{202e}abc",
        "🐭",
        "e\u{301}",
        "'; DROP TABLE orders; --",
        "\\u0041",
        "\r\nX: y",
    ] {
        let mut body = prepaid();
        body["shipping_address"] = json!(text);
        body["lines"][0]["item"] = json!(text);
        let answer = world.send(Call::post(ORDERS).json(&body)).await;
        assert_eq!(answer.body["shipping_address"], text, "{text:?}");
        assert_eq!(answer.body["lines"][0]["item"], text, "{text:?}");
    }
    for (length, expected) in [(1_000, 201), (1_001, 422)] {
        let mut body = prepaid();
        body["shipping_address"] = json!("🐭".repeat(length));
        assert_eq!(world.send(Call::post(ORDERS).json(&body)).await.status, expected, "{length}");
    }
}

#[tokio::test]
async fn a_body_must_be_declared_as_json() {
    let world = world().await;
    for (path, body) in bodies() {
        for good in
            ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/x+json"]
        {
            let call = call(&path).header("content-type", good).body(body.to_string());
            accepted(&world, call, good).await;
        }
        for bad in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "json",
            "",
            "\u{e4}",
            "application/jsonp",
            "text/json",
        ] {
            let call = call(&path).header("content-type", bad).body(body.to_string());
            assert_eq!(refused(&world, call, bad).await.code(), "unsupported_media_type", "{bad}");
        }
        let none = call(&path).body(body.to_string());
        assert_eq!(refused(&world, none, "none").await.code(), "unsupported_media_type");
    }
}

#[tokio::test]
async fn an_idempotency_key_is_1_to_255_visible_ascii_characters_once() {
    let world = world().await;
    for (path, body) in bodies().into_iter().filter(|(path, _)| is_keyed(path)) {
        let call = || call(&path).json(&body);
        for bad in [&b""[..], b" ", b"a b", "ä".as_bytes(), b"\xff", b"a\tb", &[b'x'; 256]] {
            assert_eq!(
                refused(&world, call().header("idempotency-key", bad), &path).await.code(),
                "invalid_header"
            );
        }
        assert_eq!(refused(&world, call().key("a").key("a"), &path).await.code(), "invalid_header");
        let longest = format!("{}{path:x>255}", body.to_string().len())[..255].to_owned();
        let answer = accepted(&world, call().key(&longest), &path).await;
        assert_eq!(answer.header("idempotency-key"), longest);
    }
    for bad in ["", "a b", "ä", "a\nb", &"x".repeat(256)] {
        let answer = refused(&world, Call::post("/api/orders/create/").json(&reference(bad)), bad).await;
        assert_eq!(answer.pointers(), ["/order_id"]);
    }
}

#[tokio::test]
async fn a_request_id_is_taken_over_only_if_it_can_be_written_anywhere() {
    let world = World::open().await;
    for (id, is_taken) in [
        ("abc-123_x.y:z/1", true),
        (&*"x".repeat(128), true),
        (&*"x".repeat(129), false),
        ("", false),
        ("a b", false),
        ("<script>", false),
        ("ä", false),
        ("${jndi:ldap://x}", false),
    ] {
        let answer = world.send(Call::get(ORDERS).header("x-request-id", id)).await;
        assert_eq!(answer.header("x-request-id") == id, is_taken, "{id}");
    }
}

#[tokio::test]
async fn a_path_that_is_not_utf_8_or_very_long_names_nothing() {
    let world = World::open().await;
    for name in
        ["%FF", "%C3%28", "%00", "..%2F..%2Fetc%2Fpasswd", "%E2%80%AE", &"x".repeat(30_000), "{order}", "*"]
    {
        let name = name.replace('{', "%7B").replace('}', "%7D");
        for path in [
            format!("{ORDERS}/{name}"),
            format!("{TRANSACTIONS}/{name}"),
            format!("{PRODUCTS}/{name}"),
            format!("/api/orders/{name}/status/"),
        ] {
            let answer = world.send(Call::get(&path)).await;
            assert_eq!((answer.status, answer.code()), (404, "not_found"), "{path}");
        }
    }
}
