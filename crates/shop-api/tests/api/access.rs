//! Who may do what: every operation and every method of the description, by every role.

use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::answer::Answer;
use super::inventory::{CART, CHECKOUT, PREVIEW, PRODUCTS, checkout, laptop, two};
use super::world::{Call, ORDERS, TRANSACTIONS, World, payment, phone, prepaid, reference, transfer, unpaid};
use ecom_shop_domain::order::OrderState;
use ecom_shop_domain::order_number;
use ecom_shop_domain::payment::PaymentState;

/// Who calls. The order, the payment and the list that are asked for are those of customer 7.
const CALLERS: [&str; 6] = ["", "stranger", "reader", "shop", "customer-7", "customer-8"];

/// The status for each of [`CALLERS`], by operation.
const TABLE: [(&str, [u16; 6]); 24] = [
    ("listProducts", [401, 401, 200, 200, 200, 200]),
    ("readProduct", [401, 401, 200, 200, 200, 200]),
    ("putProduct", [401, 401, 403, 201, 403, 403]),
    ("readCart", [401, 401, 200, 200, 200, 403]),
    ("putCartLine", [401, 401, 403, 200, 200, 403]),
    ("removeCartLine", [401, 401, 403, 204, 204, 403]),
    ("previewCheckout", [401, 401, 403, 200, 200, 403]),
    ("checkout", [401, 401, 403, 202, 202, 403]),
    ("createOrder", [401, 401, 403, 201, 403, 403]),
    ("listOrders", [401, 401, 200, 200, 200, 403]),
    ("orderMetrics", [401, 401, 200, 200, 403, 403]),
    ("readOrder", [401, 401, 200, 200, 200, 404]),
    ("payOrder", [401, 401, 403, 201, 201, 404]),
    ("cancelOrder", [401, 401, 403, 200, 200, 404]),
    ("sendConfirmation", [401, 401, 403, 202, 202, 404]),
    ("createTransaction", [401, 401, 403, 201, 403, 403]),
    ("listTransactions", [401, 401, 200, 200, 403, 403]),
    ("readTransaction", [401, 401, 200, 200, 200, 404]),
    ("referenceCreate", [401, 401, 403, 201, 403, 403]),
    ("referenceStatus", [401, 401, 200, 200, 200, 404]),
    ("referenceIds", [401, 401, 200, 200, 403, 403]),
    ("referenceMetrics", [401, 401, 200, 200, 403, 403]),
    ("loadTestCreate", [401, 401, 403, 201, 403, 403]),
    ("loadTestIds", [401, 401, 200, 200, 403, 403]),
];

/// Says in a request who calls.
type Identify = fn(Call, &str) -> Call;

/// Returns [`CALLERS`] with each way to say who calls.
fn callers() -> impl Iterator<Item = (&'static str, Identify)> {
    let ways: [Identify; 2] = [Call::by, Call::by_password];
    ways.into_iter().flat_map(|way| {
        let nobody: Identify = |call, _| call;
        CALLERS.map(|caller| (caller, if caller.is_empty() { nobody } else { way }))
    })
}

/// Returns a valid request of an operation, on records that it makes.
async fn valid(world: &World, operation: &str, n: usize) -> Call {
    let paid = world.order(&format!("paid-{operation}-{n}"), &prepaid()).await;
    let of_order = world.pay(&paid, PaymentState::Completed).payment_id;
    let placed = world.order_in(&format!("placed-{operation}-{n}"), OrderState::Placed, &unpaid()).await;
    let cancelled = world.order_in(&format!("ended-{operation}-{n}"), OrderState::Cancelled, &unpaid()).await;
    let done = world.order_in(&format!("done-{operation}-{n}"), OrderState::Completed, &prepaid()).await;
    world.stock("LAPTOP", 99_900, 3);
    match operation {
        "listProducts" => Call::get(PRODUCTS),
        "readProduct" => Call::get(format!("{PRODUCTS}/LAPTOP")),
        "putProduct" => Call::put(format!("{PRODUCTS}/{n}")).json(&laptop()),
        "readCart" => Call::get(format!("{CART}?customer_id=7")),
        "putCartLine" => Call::put(format!("{CART}/LAPTOP")).json(&two()),
        "removeCartLine" => Call::delete(format!("{CART}/LAPTOP?customer_id=7")),
        "previewCheckout" => {
            Call::post(PREVIEW).json(&json!({"customer_id": 7, "lines": [{"sku": "LAPTOP", "quantity": 2}]}))
        }
        "checkout" => Call::post(CHECKOUT).header("prefer", "wait=0").json(&checkout()),
        "createOrder" => Call::post(ORDERS).json(&prepaid()),
        "listOrders" => Call::get(format!("{ORDERS}?customer_id=7")),
        "orderMetrics" => Call::get(format!("{ORDERS}/metrics")),
        "readOrder" => Call::get(format!("{ORDERS}/{}", paid.order_id)),
        "payOrder" => Call::post(format!("{ORDERS}/{}/payments", placed.order_id)).json(&payment()),
        "cancelOrder" => Call::post(format!("{ORDERS}/{}/cancel", cancelled.order_id)),
        "sendConfirmation" => Call::post(format!("{ORDERS}/{}/confirmation", done.order_id)),
        "createTransaction" => Call::post(TRANSACTIONS).json(&transfer()),
        "listTransactions" => Call::get(TRANSACTIONS),
        "readTransaction" => Call::get(format!("{TRANSACTIONS}/{of_order}")),
        "referenceCreate" => Call::post("/api/orders/create/").json(&reference(&format!("reference-{n}"))),
        "referenceStatus" => Call::get(format!("/api/orders/{}/status/", paid.order_id)),
        "referenceIds" => Call::get("/api/orders/ids/"),
        "referenceMetrics" => Call::get("/api/metrics/"),
        "loadTestCreate" => Call::post("/orders/").json(&phone()),
        "loadTestIds" => Call::get("/orders/ids/"),
        unknown => panic!("there is no request for {unknown}"),
    }
}

#[tokio::test]
async fn every_operation_answers_every_caller_as_the_table_says() {
    let world = World::with_keys().await;
    let mut seen = 0;
    for (path, item) in world.description["paths"].as_object().unwrap() {
        for (method, described) in item.as_object().unwrap() {
            let operation = described["operationId"].as_str().unwrap();
            let row = TABLE.iter().find(|(name, _)| *name == operation);
            let (_, row) = row.unwrap_or_else(|| panic!("{operation} has no row"));
            seen += 1;
            let mut found = Vec::new();
            for (n, (caller, identified)) in callers().enumerate() {
                let call = valid(&world, operation, n).await;
                assert_eq!(call.method.as_str().to_lowercase(), *method, "{path}");
                let (before, all_before) = (world.records(), world.everything());
                let answer = world.send(identified(call, caller)).await;
                let is_record = matches!(answer.status, 201 | 202)
                    && !matches!(operation, "putProduct" | "sendConfirmation");
                assert_eq!(world.records() - before, usize::from(is_record), "{operation} by {caller}");
                let is_change = is_record
                    || matches!(
                        operation,
                        "putProduct" | "putCartLine" | "removeCartLine" | "sendConfirmation"
                    );
                if answer.status >= 400 || !is_change {
                    assert_eq!(world.everything(), all_before, "{operation} by {caller}");
                } else {
                    assert_ne!(world.everything(), all_before, "{operation} by {caller}");
                }
                found.push(answer.status);
            }
            assert_eq!(found, row.repeat(2), "{operation} by {CALLERS:?}, with bearer tokens and passwords");
        }
    }
    assert_eq!(seen, TABLE.len(), "every row is an operation");
}

#[tokio::test]
async fn every_other_method_of_every_path_is_refused_with_those_that_are_allowed() {
    let world = World::with_keys().await;
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY", "BREW"];
    for (path, item) in world.description["paths"].as_object().unwrap() {
        let concrete = path
            .replace("{order}", "x")
            .replace("{order_id}", "x")
            .replace("{transaction_id}", "1")
            .replace("{sku}", "x");
        let mut known: Vec<String> =
            item.as_object().unwrap().keys().map(|name| name.to_uppercase()).collect();
        if known.contains(&"GET".to_owned()) {
            known.push("HEAD".to_owned());
        }
        known.sort_unstable();
        for method in methods.iter().filter(|method| !known.contains(&(**method).to_owned())) {
            let call = Call::new(Method::from_bytes(method.as_bytes()).unwrap(), &concrete);
            let answer = world.send(call.clone().by("shop")).await;
            assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
            let mut allowed: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
            allowed.sort_unstable();
            assert_eq!(allowed, known, "{method} {path}");
            assert_eq!(world.send(call.clone()).await.status, 401, "{method} {path} without a key");
            let is_safe = call.method.is_safe();
            let by_reader = world.send(call.by("reader")).await;
            assert_eq!(by_reader.status, if is_safe { 405 } else { 403 }, "{method} {path} by a reader");
        }
    }
}

#[tokio::test]
async fn a_customer_sees_and_changes_their_own_orders_only_by_whatever_name() {
    let world = World::with_keys().await;
    let own = world.order_in("own", OrderState::Placed, &unpaid()).await;
    let mut body = unpaid();
    body["customer_id"] = json!(8);
    let others = world.order_in("others", OrderState::Placed, &body).await;
    let (own_payment, others_payment) =
        (world.pay(&own, PaymentState::Failed), world.pay(&others, PaymentState::Failed));
    let transaction = world.send(Call::post(TRANSACTIONS).by("shop").json(&transfer())).await;

    let names = |id: i64, key: &str| [id.to_string(), order_number::format(id), key.to_owned()];
    for (order, payment_id, expected) in
        [(&own, own_payment.payment_id, 200), (&others, others_payment.payment_id, 404)]
    {
        for name in names(order.order_id.0, &order.request.key) {
            // The key is one of the shop's: a customer has none of that name.
            let expected = if name == order.request.key { 404 } else { expected };
            for path in [format!("{ORDERS}/{name}"), format!("/api/orders/{name}/status/")] {
                assert_eq!(world.send(Call::get(&path).by("customer-7")).await.status, expected, "{path}");
            }
            if expected == 404 {
                for to_do in ["payments", "cancel", "confirmation"] {
                    let path = format!("{ORDERS}/{name}/{to_do}");
                    let call = Call::post(&path).by("customer-7").json(&payment());
                    assert_eq!(world.send(call).await.status, 404, "{path}");
                }
            }
        }
        let path = format!("{TRANSACTIONS}/{payment_id}");
        assert_eq!(world.send(Call::get(&path).by("customer-7")).await.status, expected, "{path}");
    }
    let path = transaction.header("location");
    assert_eq!(world.send(Call::get(path).by("customer-7")).await.status, 404, "it pays no order of theirs");

    let list = world.send(Call::get(ORDERS).by("customer-7")).await;
    let listed: Vec<_> =
        list.body["orders"].as_array().unwrap().iter().map(|order| &order["order_id"]).collect();
    assert_eq!(listed, [&json!(own.order_id.0)]);
    let unknown = world.send(Call::get(format!("{ORDERS}/{}", own.order_id.0 + 1)).by("customer-7")).await;
    let hidden = world.send(Call::get(format!("{ORDERS}/{}", others.order_id)).by("customer-7")).await;
    let without_id = |mut answer: Answer| {
        answer.body["instance"].take();
        answer.body
    };
    assert_eq!(
        without_id(unknown),
        without_id(hidden),
        "nothing tells a hidden order from one that is not there"
    );
}

#[tokio::test]
async fn a_key_is_read_from_the_authorization_header_alone_and_in_any_usual_form() {
    let world = World::with_keys().await;
    let status =
        async |value: &[u8]| world.send(Call::get(ORDERS).header("authorization", value)).await.status;
    for good in ["Bearer ecom_shop", "bearer ecom_shop", "BEARER  ecom_shop "] {
        assert_eq!(status(good.as_bytes()).await, 200, "{good}");
    }
    for bad in ["ecom_shop", "Bearer", "Bearer ", "Basic ecom_shop", "Bearer ecom_shop,x", "Bearer shop", ""]
    {
        assert_eq!(status(bad.as_bytes()).await, 401, "{bad}");
    }
    let basic = async |text: &[u8]| status(format!("Basic {}", STANDARD.encode(text)).as_bytes()).await;
    for good in ["web:ecom_shop", ":ecom_shop", "ada@example.com:ecom_shop", "\u{e4}:ecom_shop"] {
        assert_eq!(basic(good.as_bytes()).await, 200, "{good}");
    }
    for bad in ["", ":", "ecom_shop", "ecom_shop:", "ecom_shop:x", "web:ecom_shop:x", "web:ecom_shop "] {
        assert_eq!(basic(bad.as_bytes()).await, 401, "{bad}");
    }
    assert_eq!(basic(b"web:\xff").await, 401);
    let usual = STANDARD.encode("web:ecom_shop");
    assert_eq!(status(format!("basic  {usual} ").as_bytes()).await, 200);
    assert_eq!(status(format!("Basic{usual}").as_bytes()).await, 401);
    assert_eq!(status(format!("Digest {usual}").as_bytes()).await, 401);
    assert_eq!(status(b"Bearer \xff").await, 401);
    let in_query = world.send(Call::get(format!("{ORDERS}?api_key=ecom_shop"))).await;
    assert_eq!(in_query.status, 401);
}

#[tokio::test]
async fn a_page_of_another_origin_changes_nothing() {
    for world in [World::open().await, World::with_keys().await] {
        world.order_in("k", OrderState::Placed, &unpaid()).await;
        let before = world.everything();
        for (site, is_refused) in
            [("cross-site", true), ("same-site", true), ("x", true), ("same-origin", false), ("none", false)]
        {
            let from = |call: Call| call.by_password("shop").header("sec-fetch-site", site);
            let read = world.send(from(Call::get(format!("{ORDERS}/k")))).await;
            assert_eq!(read.status, 200, "{site}: browsers keep the answer from such a page");
            let cancel = from(Call::post(format!("{ORDERS}/nothing/cancel")));
            let expected = if is_refused { "forbidden" } else { "not_found" };
            assert_eq!(world.send(cancel).await.code(), expected, "{site}");
        }
        assert_eq!(world.everything(), before);
    }
}

#[tokio::test]
async fn probes_and_explanations_need_no_key() {
    let world = World::with_keys().await;
    for path in ["/livez", "/readyz", "/problems", "/problems/not_found", "/openapi.json", "/docs/"] {
        assert_eq!(world.send(Call::get(path)).await.status, 200, "{path}");
    }
    let home = world.send(Call::get("/")).await;
    assert_eq!((home.status, home.header("location")), (307, "/docs"));
    for path in ["/api/v1", "/api/v1/orders/", "/nothing", "/problems/nothing", "/docs/nothing"] {
        let answer = world.send(Call::get(path).by("shop")).await;
        assert_eq!((answer.status, answer.code()), (404, "not_found"), "{path}");
    }
}
