//! Lists, page by page.

use std::collections::BTreeMap;

use serde_json::json;

use super::answer::Answer;
use super::world::{Call, ORDERS, START, TRANSACTIONS, World, prepaid, transfer};
use ecom_domain::order::OrderId;
use ecom_shop_domain::payment::PaymentState;

const EACH: i64 = 1_000;

/// A world with 1,000 orders of two customers and 1,000 transactions, whose times collide.
async fn world() -> World {
    let world = World::with_keys().await;
    let order = world.order("template", &prepaid()).await;
    let transaction = Call::post(TRANSACTIONS).by("shop").key("template").json(&transfer());
    assert_eq!(world.send(transaction).await.status, 201);
    let mut tables = world.shop.tables();
    let payment = tables.payments.pop_first().unwrap().1;
    tables.orders.clear();
    for n in 1..=EACH {
        // Scattered ids, as those of keys are, and ten records a microsecond.
        let (id, created_at) = (7_000_000_000_000_000 + n * 7_919 % 1_000_003, START + n / 10);
        let mut order = order.clone();
        (order.order_id, order.created_at, order.customer_id) = (OrderId(id), created_at, 7 + n % 2);
        tables.orders.insert(order.order_id, order);
        let mut payment = payment.clone();
        (payment.payment_id, payment.created_at) = (id, created_at);
        payment.state = PaymentState::ALL[usize::try_from(n % 4).unwrap()];
        tables.payments.insert(id, payment);
    }
    drop(tables);
    world
}

/// Creates an order and a transaction.
async fn create(world: &World, n: usize) {
    for (path, body) in [(ORDERS, prepaid()), (TRANSACTIONS, transfer())] {
        assert_eq!(
            world.send(Call::post(path).by("shop").key(&format!("new-{n}")).json(&body)).await.status,
            201
        );
    }
}

fn ids(answer: &Answer, list: &str, id: &str) -> Vec<String> {
    let entries = if list.is_empty() { &answer.body } else { &answer.body[list] };
    entries.as_array().unwrap().iter().map(|entry| entry[id].to_string()).collect()
}

/// Reads all pages while more is created between them, and returns how often each id was shown.
async fn read(world: &World, first: &str, by: &str, list: &str, id: &str) -> BTreeMap<String, usize> {
    let mut shown: BTreeMap<String, usize> = BTreeMap::new();
    let mut path = first.to_owned();
    for n in 0.. {
        let answer = world.send(Call::get(&path).by(by)).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        for id in ids(&answer, list, id) {
            *shown.entry(id).or_default() += 1;
        }
        create(world, n).await;
        path = match (answer.body["next_page_token"].as_str(), answer.header("link")) {
            (Some(token), _) => format!("{first}&page_token={token}"),
            (None, "") => return shown,
            (None, link) => {
                link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned()
            }
        };
    }
    unreachable!("there are always more numbers")
}

#[tokio::test]
async fn every_record_is_on_exactly_one_page_while_others_are_created() {
    let lists = [
        (format!("{ORDERS}?page_size=70"), "shop", "orders", "order_id", EACH),
        (format!("{ORDERS}?page_size=70&customer_id=7"), "shop", "orders", "order_id", EACH / 2),
        (format!("{ORDERS}?page_size=70"), "customer-7", "orders", "order_id", EACH / 2),
        (format!("{TRANSACTIONS}?page_size=70"), "reader", "transactions", "transaction_id", EACH),
        (
            format!("{TRANSACTIONS}?page_size=70&status=failed"),
            "shop",
            "transactions",
            "transaction_id",
            EACH / 4,
        ),
    ];
    for (path, by, list, id, expected) in lists {
        let world = world().await;
        let before: Vec<String> = {
            let tables = world.shop.tables();
            match list {
                "orders" => tables
                    .orders
                    .values()
                    .filter(|order| expected == EACH || order.customer_id == 7)
                    .map(|order| order.order_id.to_string())
                    .collect(),
                _ => tables
                    .payments
                    .values()
                    .filter(|payment| expected == EACH || payment.state == PaymentState::Failed)
                    .map(|payment| format!("\"{}\"", payment.payment_id))
                    .collect(),
            }
        };
        assert_eq!(before.len(), usize::try_from(expected).unwrap(), "{path}");
        let shown = read(&world, &path, by, list, id).await;
        assert!(before.iter().all(|id| shown.get(id) == Some(&1)), "{path}");
        assert!(shown.values().all(|times| *times == 1), "{path}: nothing is shown twice");
    }
}

#[tokio::test]
async fn the_ids_of_the_reference_systems_are_on_pages_with_a_link_to_the_next() {
    for path in ["/api/orders/ids/?page_size=300", "/orders/ids/?page_size=300"] {
        let world = World::open().await;
        let template = world.order("template", &prepaid()).await;
        let keys: Vec<_> = (0..EACH).map(|n| format!("key-{n}")).collect();
        for (n, key) in keys.iter().enumerate() {
            let mut order = template.clone();
            order.order_id.0 += i64::try_from(n * 7).unwrap() - 3_500;
            order.request.key.clone_from(key);
            world.shop.tables().orders.insert(order.order_id, order);
        }
        let shown = read(&world, path, "shop", "", "order_id").await;
        assert!(keys.iter().all(|key| shown.get(&format!("\"{key}\"")) == Some(&1)), "{path}");
        assert!(shown.values().all(|times| *times == 1), "{path}");
    }
}

#[tokio::test]
async fn a_page_has_50_entries_unless_asked_otherwise_and_at_most_1000() {
    let world = world().await;
    for n in 0..60 {
        create(&world, n).await;
    }
    for (query, expected) in [
        ("", 50),
        ("?page_size=0", 50),
        ("?page_size=1", 1),
        ("?page_size=2.0", 2),
        ("?page_size=1000", 1_000),
        ("?page_size=9223372036854775807", 1_000),
        ("?page_token=", 50),
    ] {
        for (path, list, id) in [
            (ORDERS, "orders", "order_id"),
            (TRANSACTIONS, "transactions", "transaction_id"),
            ("/orders/ids/", "", "order_id"),
        ] {
            let answer = world.send(Call::get(format!("{path}{query}")).by("shop")).await;
            assert_eq!(ids(&answer, list, id).len(), expected, "{path}{query}");
        }
    }
    for query in [
        "page_size=-1",
        "page_size=x",
        "page_size=",
        "page_size=1.5",
        "page_size=1&page_size=2",
        "size=1",
        "PAGE_SIZE=1",
    ] {
        for path in [ORDERS, TRANSACTIONS, "/api/orders/ids/", "/orders/ids/"] {
            let answer = world.send(Call::get(format!("{path}?{query}")).by("shop")).await;
            assert_eq!((answer.status, answer.code()), (400, "invalid_query"), "{path}?{query}");
        }
    }
}

#[tokio::test]
async fn a_token_of_another_list_is_refused() {
    let world = world().await;
    let lists = [
        (format!("{ORDERS}?page_size=1"), "shop"),
        (format!("{ORDERS}?page_size=1&customer_id=7"), "shop"),
        (format!("{ORDERS}?page_size=1&customer_id=8"), "shop"),
        (format!("{TRANSACTIONS}?page_size=1"), "shop"),
        (format!("{TRANSACTIONS}?page_size=1&status=failed"), "shop"),
        (format!("{TRANSACTIONS}?page_size=1&status=pending"), "shop"),
    ];
    for (own, by) in &lists {
        let token =
            world.send(Call::get(own).by(by)).await.body["next_page_token"].as_str().unwrap().to_owned();
        for (path, by) in &lists {
            let answer = world.send(Call::get(format!("{path}&page_token={token}")).by(by)).await;
            let expected = if path == own { 200 } else { 400 };
            assert_eq!(answer.status, expected, "the token of {own} in {path}");
            assert!(path == own || answer.code() == "page_token_invalid");
        }
        // Of a customer it is the token of their own list.
        let by_customer =
            world.send(Call::get(format!("{ORDERS}?page_token={token}")).by("customer-7")).await;
        assert_eq!(by_customer.status == 200, own.ends_with("customer_id=7"), "{own}");
        for wrong in [&token[1..], "x", "ä", &format!("{token}A"), &"A".repeat(30), &"A".repeat(10_000)] {
            let wrong = wrong.replace('ä', "%C3%A4");
            let answer = world.send(Call::get(format!("{own}&page_token={wrong}")).by(by)).await;
            assert_eq!((answer.status, answer.code()), (400, "page_token_invalid"), "{wrong}");
        }
    }
}

#[tokio::test]
async fn skip_and_limit_show_a_window_of_the_transactions_newest_first() {
    let world = world().await;
    let all: Vec<String> = {
        let tables = world.shop.tables();
        let mut all: Vec<_> =
            tables.payments.values().map(|payment| (payment.created_at, payment.payment_id)).collect();
        all.sort_unstable_by(|one, other| other.cmp(one));
        all.into_iter().map(|(_, id)| format!("\"{id}\"")).collect()
    };
    for (query, window) in [
        ("skip=0&limit=10", 0..10),
        ("skip=990&limit=10", 990..1_000),
        ("skip=995&limit=10", 995..1_000),
        ("skip=1000&limit=10", 0..0),
        ("skip=10000", 0..0),
        ("limit=0", 0..0),
        ("skip=7", 7..57),
        ("limit=9223372036854775807", 0..1_000),
        ("skip=3&page_size=2", 3..5),
    ] {
        let answer = world.send(Call::get(format!("{TRANSACTIONS}?{query}")).by("shop")).await;
        assert_eq!(ids(&answer, "transactions", "transaction_id"), all[window], "{query}");
    }
    let first = world.send(Call::get(format!("{TRANSACTIONS}?skip=5&limit=10")).by("shop")).await;
    let token = first.body["next_page_token"].as_str().unwrap();
    let next = world.send(Call::get(format!("{TRANSACTIONS}?limit=10&page_token={token}")).by("shop")).await;
    assert_eq!(ids(&next, "transactions", "transaction_id"), all[15..25], "pages go on from a window");
    for query in ["skip=-1", "skip=10001", "limit=-1", "skip=x", "status=Failed", "status=", "since=1"] {
        let answer = world.send(Call::get(format!("{TRANSACTIONS}?{query}")).by("shop")).await;
        assert_eq!((answer.status, answer.code()), (400, "invalid_query"), "{query}");
    }
    let both = world.send(Call::get(format!("{TRANSACTIONS}?skip=x&status=y&z=1")).by("shop")).await;
    assert_eq!(
        both.body["errors"],
        json!([
            {"pointer": "status", "detail": "must be pending, processing, completed or failed"},
            {"pointer": "skip", "detail": "must be a whole number from 0 to 10000"},
            {"pointer": "z", "detail": "is unknown, or given twice"},
        ])
    );
}
