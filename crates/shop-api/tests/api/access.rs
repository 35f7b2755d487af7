//! Who may do what: every operation and every method of the description, by every role.

use axum::http::Method;
use serde_json::json;

use super::answer::Answer;
use super::world::{Call, ORDERS, TRANSACTIONS, World, payment, phone, prepaid, reference, transfer, unpaid};
use ecom_shop_domain::order::OrderState;
use ecom_shop_domain::order_number;
use ecom_shop_domain::payment::PaymentState;

/// Who calls. The order, the payment and the list that are asked for are those of customer 7.
const CALLERS: [&str; 6] = ["", "stranger", "reader", "shop", "customer-7", "customer-8"];

/// The status for each of [`CALLERS`], by operation.
const TABLE: [(&str, [u16; 6]); 15] = [
    ("createOrder", [401, 401, 403, 201, 403, 403]),
    ("listOrders", [401, 401, 200, 200, 200, 403]),
    ("orderMetrics", [401, 401, 200, 200, 403, 403]),
    ("readOrder", [401, 401, 200, 200, 200, 404]),
    ("payOrder", [401, 401, 403, 201, 201, 404]),
    ("cancelOrder", [401, 401, 403, 200, 200, 404]),
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

/// Returns a valid request of an operation, on records that it makes.
async fn valid(world: &World, operation: &str, n: usize) -> Call {
    let paid = world.order(&format!("paid-{operation}-{n}"), &prepaid()).await;
    let of_order = world.pay(&paid, PaymentState::Completed).payment_id;
    let placed = world.order_in(&format!("placed-{operation}-{n}"), OrderState::Placed, &unpaid()).await;
    let cancelled = world.order_in(&format!("ended-{operation}-{n}"), OrderState::Cancelled, &unpaid()).await;
    match operation {
        "createOrder" => Call::post(ORDERS).json(&prepaid()),
        "listOrders" => Call::get(format!("{ORDERS}?customer_id=7")),
        "orderMetrics" => Call::get(format!("{ORDERS}/metrics")),
        "readOrder" => Call::get(format!("{ORDERS}/{}", paid.order_id)),
        "payOrder" => Call::post(format!("{ORDERS}/{}/payments", placed.order_id)).json(&payment()),
        "cancelOrder" => Call::post(format!("{ORDERS}/{}/cancel", cancelled.order_id)),
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
            for (n, caller) in CALLERS.into_iter().enumerate() {
                let call = valid(&world, operation, n).await;
                assert_eq!(call.method.as_str().to_lowercase(), *method, "{path}");
                let before = world.records();
                let call = if caller.is_empty() { call } else { call.by(caller) };
                let answer = world.send(call).await;
                let after = world.records();
                assert_eq!(after - before, usize::from(answer.status == 201), "{operation} by {caller}");
                found.push(answer.status);
            }
            assert_eq!(found, row, "{operation} by {CALLERS:?}");
        }
    }
    assert_eq!(seen, TABLE.len(), "every row is an operation");
}

#[tokio::test]
async fn every_other_method_of_every_path_is_refused_with_those_that_are_allowed() {
    let world = World::with_keys().await;
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY", "BREW"];
    for (path, item) in world.description["paths"].as_object().unwrap() {
        let concrete =
            path.replace("{order}", "x").replace("{order_id}", "x").replace("{transaction_id}", "1");
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
                for path in [format!("{ORDERS}/{name}/payments"), format!("{ORDERS}/{name}/cancel")] {
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
    assert_eq!(status(b"Bearer \xff").await, 401);
    let in_query = world.send(Call::get(format!("{ORDERS}?api_key=ecom_shop"))).await;
    assert_eq!(in_query.status, 401);
}

#[tokio::test]
async fn probes_and_explanations_need_no_key() {
    let world = World::with_keys().await;
    for path in ["/livez", "/readyz", "/problems", "/problems/not_found", "/openapi.json", "/docs/"] {
        assert_eq!(world.send(Call::get(path)).await.status, 200, "{path}");
    }
    for path in ["/", "/api/v1", "/api/v1/orders/", "/nothing", "/problems/nothing", "/docs/nothing"] {
        let answer = world.send(Call::get(path).by("shop")).await;
        assert_eq!((answer.status, answer.code()), (404, "not_found"), "{path}");
    }
}
