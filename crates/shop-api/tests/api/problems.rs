//! Every problem is explained, and is met by a request.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use super::answer::Answer;
use super::inventory::{CHECKOUT, PREVIEW, PRODUCTS, checkout, laptop, order_of_products};
use super::world::{Call, Fault, ORDERS, PUBLISH, TRANSACTIONS, World, keys, payment, prepaid, settings};
use super::world::{transfer, unpaid};
use ecom_shop_api::auth::Keys;
use ecom_shop_api::{ApiSettings, ProblemCode};
use ecom_shop_domain::inventory::Shortage;
use ecom_shop_domain::order::OrderState;
use ecom_shop_domain::payment::PaymentState;

#[tokio::test]
async fn every_problem_has_a_page_that_says_what_to_do() {
    let world = World::open().await;
    let index = world.send(Call::get("/problems")).await.text;
    for code in ProblemCode::ALL {
        let page = world.send(Call::get(format!("/problems/{}", code.as_str()))).await;
        assert_eq!((page.status, page.header("content-type")), (200, "text/plain; charset=utf-8"));
        for part in [code.as_str(), &code.status().as_u16().to_string(), code.title(), code.explanation()] {
            assert!(page.text.contains(part), "{}: {part}", page.text);
        }
        assert!(index.contains(&format!(
            "{:<24} {}  {}\n",
            code.as_str(),
            code.status().as_u16(),
            code.title()
        )));
        let is_sentence = |text: &str| text.starts_with(char::is_uppercase) && text.ends_with('.');
        assert!(is_sentence(code.explanation()) && !code.title().ends_with('.'), "{code:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_problem_is_met_by_a_request() {
    for code in ProblemCode::ALL {
        let answer = meet(*code).await;
        assert_eq!(answer.code(), code.as_str(), "{answer:?}");
    }
}

/// Sends a request that ends with this problem.
async fn meet(code: ProblemCode) -> Answer {
    use ProblemCode as Code;
    let world = match code {
        Code::Unauthenticated | Code::Forbidden => World::with_keys().await,
        Code::RateLimited => World::new(keys(), &ApiSettings { rate: 1, burst: 1, ..settings() }).await,
        Code::Overloaded => {
            World::new(Keys::NotRequired, &ApiSettings { max_in_flight: 1, ..settings() }).await
        }
        _ => World::open().await,
    };
    world.stock("LAPTOP", 99_900, 5);
    let order_in = async |state| world.order_in("order", state, &unpaid()).await;
    let pay = || Call::post(format!("{ORDERS}/order/payments")).key("p").json(&payment());
    let create = || Call::post(ORDERS).json(&prepaid());
    let call = match code {
        Code::MalformedJson => create().body("{"),
        Code::InvalidQuery => Call::get(format!("{ORDERS}?x=1")),
        Code::PageTokenInvalid => Call::get(format!("{ORDERS}?page_token=x")),
        Code::InvalidHeader => create().key("a b"),
        Code::Unauthenticated => create(),
        Code::Forbidden => create().by("reader"),
        Code::NotFound => Call::get(format!("{ORDERS}/x")),
        Code::MethodNotAllowed => Call::post(format!("{ORDERS}/x")),
        Code::AlreadyPaid => {
            order_in(OrderState::Paid).await;
            pay()
        }
        Code::PaymentInProgress => {
            order_in(OrderState::Paying).await;
            pay()
        }
        Code::OrderCancelled => {
            order_in(OrderState::Cancelled).await;
            pay()
        }
        Code::NotCancellable => {
            order_in(OrderState::Refused).await;
            Call::post(format!("{ORDERS}/order/cancel"))
        }
        Code::NotPaid => {
            order_in(OrderState::Placed).await;
            Call::post(format!("{ORDERS}/order/confirmation"))
        }
        Code::InsufficientStock => {
            let order = world.order_in("short", OrderState::Refused, &order_of_products()).await;
            let shortage = Shortage { sku: "LAPTOP".into(), wanted: 2, available: 1 };
            world.change(&order, |order| order.detail = Some(shortage.to_string()));
            Call::post(ORDERS).key("short").json(&order_of_products())
        }
        Code::TotalChanged => {
            world.stock("LAPTOP", 99_901, 3);
            Call::post(CHECKOUT).json(&checkout())
        }
        Code::ReservedByOrders => {
            world.shop.tables().products.get_mut("LAPTOP").unwrap().stock.reserved = 4;
            Call::put(format!("{PRODUCTS}/LAPTOP")).json(&laptop())
        }
        Code::PreconditionFailed => {
            Call::put(format!("{PRODUCTS}/LAPTOP")).header("if-match", "\"2\"").json(&laptop())
        }
        Code::CartEmpty => Call::post(PREVIEW).json(&json!({"customer_id": 7})),
        Code::RequestTooSlow => {
            let never = futures_util::stream::pending::<Result<axum::body::Bytes, std::io::Error>>();
            let request = Request::post(ORDERS).header("content-type", "application/json");
            return world.send_raw(request.body(Body::from_stream(never)).unwrap()).await;
        }
        Code::BodyTooLarge => create().body(vec![b' '; 64 * 1024 + 1]),
        Code::UnsupportedMediaType => Call::post(ORDERS).body("{}"),
        Code::InvalidRequest => create().body("{}"),
        Code::CardNumberPresent => {
            let mut body = prepaid();
            body["email"] = json!("4111 1111 1111 1111");
            Call::post(ORDERS).json(&body)
        }
        Code::IdempotencyKeyReused => {
            order_in(OrderState::Placed).await;
            create().key("order")
        }
        Code::AmountMismatch => {
            order_in(OrderState::Placed).await;
            let mut body = payment();
            body["amount"] = json!(1);
            Call::post(format!("{ORDERS}/order/payments")).json(&body)
        }
        Code::RateLimited => {
            world.send(Call::get(ORDERS).by("shop")).await;
            Call::get(ORDERS).by("shop")
        }
        Code::Internal => {
            world.script.of(PUBLISH, Fault::Refused);
            create()
        }
        Code::StoreUnavailable => {
            world.script.of("create an order", Fault::Lost);
            create()
        }
        Code::BusUnavailable => {
            world.script.of(PUBLISH, Fault::Lost);
            create()
        }
        Code::Overloaded => {
            world.script.of("read orders", Fault::Hangs);
            let (_, answer) = tokio::join!(world.send(Call::get(ORDERS)), async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                world.send(create()).await
            });
            return answer;
        }
        Code::TimedOut => {
            world.script.of("read orders", Fault::Hangs);
            Call::get(ORDERS)
        }
    };
    world.send(call).await
}

#[tokio::test]
async fn what_the_store_refuses_for_good_is_a_fault_of_this_program_without_its_words() {
    let world = World::open().await;
    let order = world.order_in("k", OrderState::Paid, &prepaid()).await;
    world.pay(&order, PaymentState::Completed);
    world.script.of("read a fact", Fault::Refused);
    let calls = {
        world.script.take_calls();
        world.send(Call::get(format!("{ORDERS}/k"))).await;
        world.script.take_calls()
    };
    let fact = calls.last().unwrap();
    world.script.of(fact, Fault::Refused);
    let answer = world.send(Call::get(format!("{ORDERS}/k"))).await;
    assert_eq!((answer.status, answer.code()), (500, "internal"));
    assert!(!answer.text.contains("no answer"), "{answer:?}");
    assert_eq!(world.send(Call::post(TRANSACTIONS).json(&transfer())).await.status, 201);
}
