//! Limits: of the rate of a key, of requests at once, and of time; and what readiness says.

use std::time::Duration;

use futures_util::future::join_all;

use super::inventory::{CART, CHECKOUT, PREVIEW, PRODUCTS, checkout, laptop, two};
use super::world::{
    Call, Fault, ORDERS, PUBLISH, TRANSACTIONS, World, keys, prepaid, settings, transfer, unpaid,
};
use ecom_shop_api::ApiSettings;
use ecom_shop_api::auth::Keys;

#[tokio::test]
async fn a_key_that_asks_too_often_is_told_when_to_ask_again_and_others_are_served() {
    let world = World::new(keys(), &ApiSettings { rate: 1, burst: 3, ..settings() }).await;
    let list = |by: &str| Call::get(ORDERS).by(by);
    for left in (0..3).rev() {
        let answer = world.send(list("shop")).await;
        assert_eq!((answer.status, answer.header("ratelimit-policy")), (200, "\"account\";q=3;w=3"));
        let expected = format!("\"account\";r={left};t={}", 3 - left);
        assert_eq!(answer.header("ratelimit"), expected);
    }
    let refused = world.send(list("shop")).await;
    assert_eq!((refused.status, refused.code(), refused.header("retry-after")), (429, "rate_limited", "1"));
    assert_eq!(refused.header("ratelimit-policy"), "\"account\";q=3;w=3");
    assert_eq!(refused.header("ratelimit"), "\"account\";r=0;t=1");
    assert_eq!(world.send(list("reader")).await.status, 200, "another key");
    for _ in 0..10 {
        let stranger = world.send(list("stranger")).await;
        assert_eq!((stranger.status, stranger.header("ratelimit")), (401, ""), "no key is counted for");
        assert_eq!(world.send(Call::get("/livez")).await.status, 200);
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while world.send(list("shop")).await.status == 429 {
        assert!(tokio::time::Instant::now() < deadline, "it is never served again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn without_keys_there_is_no_rate() {
    let world = World::new(Keys::NotRequired, &ApiSettings { rate: 1, burst: 1, ..settings() }).await;
    for _ in 0..20 {
        let answer = world.send(Call::get(ORDERS)).await;
        assert_eq!(
            (answer.status, answer.header("ratelimit"), answer.header("ratelimit-policy")),
            (200, "", "")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn more_requests_than_the_limit_are_refused_at_once_and_probes_are_answered() {
    let world = World::new(Keys::NotRequired, &ApiSettings { max_in_flight: 10, ..settings() }).await;
    world.script.of("read orders", Fault::Hangs);
    let began = tokio::time::Instant::now();
    let lists = join_all((0..15).map(|_| async {
        let answer = world.send(Call::get(ORDERS)).await;
        (answer.code().to_owned(), began.elapsed())
    }));
    let probes = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for path in ["/livez", "/readyz"] {
            assert_eq!(world.send(Call::get(path)).await.status, 200, "{path}");
        }
        let other = world.send(Call::post(ORDERS).json(&prepaid())).await;
        assert_eq!((other.code(), other.header("retry-after")), ("overloaded", "1"));
    };
    let (answers, ()) = tokio::join!(lists, probes);
    let count = |code: &str| answers.iter().filter(|(found, _)| found == code).count();
    assert_eq!((count("timed_out"), count("overloaded")), (10, 5), "{answers:?}");
    for (code, took) in answers {
        let expected = if code == "overloaded" { Duration::ZERO } else { Duration::from_secs(30) };
        assert_eq!(took, expected, "{code}");
    }
    world.script.heal();
    assert_eq!(world.send(Call::get(ORDERS)).await.status, 200, "the places are free again");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_has_not_arrived_takes_no_place() {
    let world = World::new(Keys::NotRequired, &ApiSettings { max_in_flight: 1, ..settings() }).await;
    let slow = || {
        let never = futures_util::stream::pending::<Result<axum::body::Bytes, std::io::Error>>();
        let request = axum::http::Request::post(ORDERS).header("content-type", "application/json");
        world.send_raw(request.body(axum::body::Body::from_stream(never)).unwrap())
    };
    let others = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.send(Call::post(ORDERS).json(&prepaid())).await.status
    };
    let (slow, status) = tokio::join!(join_all((0..10).map(|_| slow())), others);
    assert_eq!(status, 201);
    assert!(slow.iter().all(|answer| answer.code() == "request_too_slow"), "{slow:?}");
}

#[tokio::test]
async fn a_panic_costs_its_own_request_only() {
    let world = World::new(Keys::NotRequired, &ApiSettings { max_in_flight: 1, ..settings() }).await;
    for what in ["create an order", PUBLISH] {
        world.script.of(what, Fault::Panics);
        let answer = world.send(Call::post(ORDERS).key("k").json(&prepaid())).await;
        assert_eq!((answer.status, answer.code()), (500, "internal"), "{what}");
        world.script.heal();
        assert_eq!(world.send(Call::post(ORDERS).key("k").json(&prepaid())).await.status, 201, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_does_not_answer_the_request_is_answered_within_its_time() {
    let world = World::open().await;
    world.order("k", &unpaid()).await;
    world.stock("LAPTOP", 99_900, 3);
    for (call, what, code, seconds) in [
        (Call::get(ORDERS), "read orders", "timed_out", 30),
        (Call::get(format!("{ORDERS}?customer_id=7")), "read the orders of a customer", "timed_out", 30),
        (Call::get(format!("{ORDERS}/k")), "read an order", "timed_out", 30),
        (Call::get(format!("{ORDERS}/k")), "read a payment", "timed_out", 30),
        (Call::get(TRANSACTIONS), "read payments", "timed_out", 30),
        (Call::post(ORDERS).json(&prepaid()), "create an order", "timed_out", 30),
        (Call::post(ORDERS).json(&prepaid()), PUBLISH, "bus_unavailable", 10),
        (Call::post(TRANSACTIONS).json(&transfer()), "create a payment", "timed_out", 30),
        (Call::post(format!("{ORDERS}/k/cancel")), PUBLISH, "bus_unavailable", 10),
        (Call::get(PRODUCTS), "read products", "timed_out", 30),
        (Call::put(format!("{PRODUCTS}/LAPTOP")).json(&laptop()), "read a product", "timed_out", 30),
        (Call::get(format!("{CART}?customer_id=7")), "read a cart", "timed_out", 30),
        (Call::put(format!("{CART}/LAPTOP")).json(&two()), "write a line of a cart", "timed_out", 30),
        (Call::delete(format!("{CART}/LAPTOP?customer_id=7")), "remove a line of a cart", "timed_out", 30),
        (Call::post(PREVIEW).json(&serde_json::json!({"customer_id": 7})), "read a cart", "timed_out", 30),
        (Call::post(CHECKOUT).json(&checkout()), "read a product", "timed_out", 30),
        (Call::post(CHECKOUT).json(&checkout()), PUBLISH, "bus_unavailable", 10),
    ] {
        world.script.of(what, Fault::Hangs);
        let began = tokio::time::Instant::now();
        let answer = world.send(call).await;
        assert_eq!((answer.status, answer.code()), (503, code), "{what}");
        assert_eq!(began.elapsed(), Duration::from_secs(seconds), "{what}");
        world.script.heal();
    }
}

#[tokio::test(start_paused = true)]
async fn readiness_is_what_the_last_requests_met_and_no_probe_calls_anything() {
    let world = World::open().await;
    let ready = async || {
        let answer = world.send(Call::get("/readyz")).await;
        (answer.status, answer.text.trim().to_owned())
    };
    let (is_ready, no_store, no_bus) = (
        (200, "ok".to_owned()),
        (503, "the store does not answer".to_owned()),
        (503, "the bus does not answer".to_owned()),
    );
    assert_eq!(ready().await, is_ready);
    world.script.of("read orders", Fault::Lost);
    world.send(Call::get(ORDERS)).await;
    assert_eq!(ready().await, no_store);
    assert_eq!(world.send(Call::get("/problems")).await.status, 200);
    assert_eq!(ready().await, no_store, "a page that needs no store says nothing about it");
    world.script.heal();
    world.send(Call::get(ORDERS)).await;
    assert_eq!(ready().await, is_ready, "the next call succeeded");

    world.script.of(PUBLISH, Fault::Lost);
    world.send(Call::post(ORDERS).key("k").json(&prepaid())).await;
    assert_eq!(ready().await, no_bus);
    world.send(Call::get(ORDERS)).await;
    assert_eq!(ready().await, no_bus, "a read says nothing about the bus");
    world.script.heal();
    world.send(Call::post(ORDERS).key("k").json(&prepaid())).await;
    assert_eq!(ready().await, is_ready);

    // Whoever is sent nothing while it is not ready must become ready to find out.
    world.script.of("read orders", Fault::Lost);
    world.send(Call::get(ORDERS)).await;
    tokio::time::advance(Duration::from_millis(9_999)).await;
    assert_eq!(ready().await, no_store);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(ready().await, is_ready);
    world.send(Call::get(format!("{ORDERS}/unknown"))).await;
    world.send(Call::post(ORDERS).json(&serde_json::json!({}))).await;
    assert_eq!(ready().await, is_ready, "a refused request is no outage");
    world.script.take_calls();
    for _ in 0..100 {
        ready().await;
    }
    assert_eq!(world.script.take_calls(), [""; 0]);
}
