//! The API and the payment processors as processes: the command lines of the reference systems, `kill -9`, and the
//! verification afterwards.

use std::time::Duration;

use ecom_shop_load::client::{ApiAnswer, ApiClient};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::program::{Program, Running, TestDir, eventually};

/// Short delays and ack deadlines, so that the work of a killed process is done soon.
const QUICK: [&str; 10] = [
    "--set",
    "embedded.ack_deadline=1s",
    "--set",
    "consumer.order_grace=200ms",
    "--set",
    "dead_letters.max_backoff=2s",
    "--set",
    "shop.processor.payment_delay=100ms",
    "--set",
    "shop.processor.completion_delay=1s",
];

/// The manifests of the generators.
const MANIFESTS: [&str; 2] = ["orders.jsonl", "transactions.jsonl"];

/// Where the programs of a test keep their data.
pub(super) struct Place {
    /// Flags of every program.
    pub(super) flags: Vec<String>,
    /// Flags of the API, beside its address.
    pub(super) api: Vec<String>,
    /// The key of the API's client.
    pub(super) key: Option<String>,
}

impl Place {
    pub(super) fn embedded() -> Self {
        Self { flags: QUICK.map(str::to_owned).into(), api: Vec::new(), key: None }
    }

    pub(super) fn start(&self, dir: &TestDir, name: &'static str) -> Running {
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        dir.start(name, &flags)
    }

    /// Flags of a client that needs the key.
    fn key_file(&self, dir: &TestDir) -> Vec<&'static str> {
        let Some(key) = &self.key else { return Vec::new() };
        dir.write("api-key", key);
        vec!["--key-file", "api-key"]
    }

    pub(super) async fn verify(&self, dir: &TestDir) -> serde_json::Value {
        let verify = ["verify", "--shop", "--wait", "90s", "--format", "json"];
        let flags = self.flags.iter().map(String::as_str);
        dir.run("ecom_facts", &verify.into_iter().chain(flags).collect::<Vec<_>>()).await.with(0).json()
    }

    /// Waits until no order is open, and returns what the verification found then.
    pub(super) async fn at_rest(&self, dir: &TestDir) -> serde_json::Value {
        eventually("all orders come to rest", async || {
            let found = self.verify(dir).await;
            let count = |state: &&str| found["shop"]["orders"][state].as_u64() > Some(0);
            let is_open = ["accepted", "placed", "paying", "paid"].iter().any(count);
            (!is_open).then_some(found)
        })
        .await
    }
}

/// Starts the API, and returns the address that it serves.
pub(super) async fn serve_api(dir: &TestDir, listen: &str, flags: &[&str]) -> (Running, String) {
    let mut process = dir.start("api_service", &[&["--listen", listen], flags].concat());
    let line = process.says("serving the API on http://").await;
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    (process, address)
}

/// The API, on a port of its own, started again at the same one.
pub(super) struct ApiProcess {
    process: Running,
    pub(super) listen: String,
    pub(super) client: ApiClient,
}

impl ApiProcess {
    pub(super) async fn start(dir: &TestDir, place: &Place) -> Self {
        let process = Self::process(dir, place, "127.0.0.1:0").await;
        let (process, address) = process;
        let client = ApiClient::try_new(&format!("http://{address}"), place.key.as_deref()).unwrap();
        Self { process, listen: address, client }
    }

    async fn process(dir: &TestDir, place: &Place, listen: &str) -> (Running, String) {
        let flags = place.flags.iter().chain(&place.api).map(String::as_str);
        serve_api(dir, listen, &flags.collect::<Vec<_>>()).await
    }

    /// Kills it as `kill -9` does, and starts it again.
    async fn kill_and_start(self, dir: &TestDir, place: &Place) -> Self {
        self.process.kill();
        let (process, _) = Self::process(dir, place, &self.listen).await;
        Self { process, ..self }
    }
}

/// Waits until an answer satisfies a condition.
async fn until(client: &ApiClient, path: &str, is_there: impl Fn(&ApiAnswer) -> bool) -> ApiAnswer {
    eventually(path, async || client.get(path).await.ok().filter(|answer| is_there(answer))).await
}

/// The roles beside the API.
pub(super) const ROLES: [&str; 5] =
    ["payment_processor", "order_consumer", "payment_consumer", "dlq_handler", "notifier"];

#[tokio::test]
async fn an_order_of_the_api_is_a_row_of_the_table() {
    let (dir, place) = (TestDir::new(), Place::embedded());
    an_order_becomes_a_row(&dir, &place).await;
}

pub(super) async fn an_order_becomes_a_row(dir: &TestDir, place: &Place) {
    let api = ApiProcess::start(dir, place).await;
    let roles: Vec<Running> = ROLES.map(|role| place.start(dir, role)).into();
    let order = json!({
        "customer_id": 7, "lines": [{"item": "Laptop", "quantity": 2, "unit_price": 999.00}],
        "shipping_address": "1 Main St", "payment_method": "Test: succeed",
    });
    let created = api.client.post("/api/v1/orders", "cart-42", &order).await.unwrap();
    assert_eq!((created.status.as_u16(), created.is_replayed), (201, false), "{}", created.body);
    let again = api.client.post("/api/v1/orders", "cart-42", &order).await.unwrap();
    assert!(again.is_replayed && again.body["order_id"] == created.body["order_id"], "{}", again.body);
    let completed = until(&api.client, "/api/v1/orders/cart-42", |answer| {
        answer.body["status"] == "Completed" && answer.body["in_table"] == true
    })
    .await;
    assert_eq!(completed.body["payment"]["status"], "completed");
    let id = created.body["order_id"].to_string();
    let flags = place.flags.iter().map(String::as_str);
    let show: Vec<&str> = ["show", &id, "--format", "json"].into_iter().chain(flags).collect();
    let shown = eventually("the row has its payment", async || {
        let shown = dir.run("ecom_facts", &show).await.with(0).json();
        (shown["payment_status"] == "Completed").then_some(shown)
    })
    .await;
    assert_eq!(
        (&shown["item"], &shown["quantity"], &shown["price"]),
        (&json!("Laptop"), &json!(2), &json!(999.0)),
        "{shown}"
    );
    assert_eq!((&shown["order_status"], &shown["customer_id"]), (&json!("Completed"), &json!(7)), "{shown}");
    // A payment that comes later, and one that fails.
    let unpaid = json!({"customer_id": 7, "lines": [{"item": "Mouse", "quantity": 1, "unit_price": 10}], "shipping_address": "x"});
    api.client.post("/api/v1/orders", "cart-43", &unpaid).await.unwrap();
    let paid = api
        .client
        .post("/api/v1/orders/cart-43/payments", "pay-1", &json!({"payment_method": "Test: fail"}))
        .await
        .unwrap();
    assert_eq!(paid.status.as_u16(), 201, "{}", paid.body);
    let cancelled =
        until(&api.client, "/api/v1/orders/cart-43", |answer| answer.body["status"] == "Cancelled").await;
    assert_eq!(cancelled.body["payment"]["error_message"], "the card was declined");
    let found = place.verify(dir).await;
    assert_eq!(found["shop"]["orders"], json!({"completed": 1, "cancelled": 1}), "{found}");
    assert_eq!(found["shop"]["notices"], json!({"not_needed": 1}), "it has no e-mail address: {found}");
    for role in roles {
        role.drained().await.with(0);
    }
    api.process.drained().await.with(0);
}

/// The command lines of the reference systems' documents.
#[tokio::test]
async fn the_reference_systems_own_requests_are_answered_as_they_expect() {
    let (dir, place) = (TestDir::new(), Place::embedded());
    let api = ApiProcess::start(&dir, &place).await;
    let _roles: Vec<Running> = ROLES.map(|role| place.start(&dir, role)).into();
    let order = json!({"user_id": 1, "order_id": "order-1", "item_ids": [1, 2, 3], "total_amount": 99.5, "status": "Pending"});
    let created = api.client.post("/api/orders/create/", "order-1", &order).await.unwrap();
    assert_eq!(created.body, json!({"order_id": "order-1", "status": "Pending"}));
    let status =
        until(&api.client, "/api/orders/order-1/status/", |answer| answer.body["status"] == "Completed")
            .await;
    assert_eq!(status.body, json!({"order_id": "order-1", "status": "Completed"}));
    let load = api
        .client
        .post("/orders/", "load-1", &json!({"product_name": "Phone", "quantity": 2}))
        .await
        .unwrap();
    assert!(load.status.is_success(), "{}", load.body);
    let ids = api.client.get("/orders/ids/").await.unwrap().body;
    assert_eq!(ids.as_array().unwrap().len(), 2, "{ids}");
    assert_eq!(api.client.get("/api/orders/ids/").await.unwrap().body, ids);
    let metrics =
        until(&api.client, "/api/metrics/", |answer| answer.body["status_counts"]["Completed"] == 2)
            .await
            .body;
    assert_eq!(metrics["total_orders"], 2);
    assert!(metrics["avg_process_time"].as_f64().unwrap() > 1.0, "{metrics}");

    let transaction =
        json!({"sender": "user123", "receiver": "user456", "amount": 100.00, "currency": "USD"});
    let created = api.client.post("/api/v1/transactions", "t-1", &transaction).await.unwrap().body;
    let keys: Vec<&str> = created.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "amount",
        "created_at",
        "currency",
        "error_message",
        "receiver",
        "sender",
        "status",
        "transaction_id",
        "updated_at",
    ];
    assert_eq!(keys, expected);
    let path = format!("/api/v1/transactions/{}", created["transaction_id"].as_str().unwrap());
    until(&api.client, &path, |answer| {
        answer.body["status"] == "completed" || answer.body["status"] == "failed"
    })
    .await;
    let list = api.client.get("/api/v1/transactions?skip=0&limit=10").await.unwrap().body;
    assert_eq!(list["transactions"].as_array().unwrap().len(), 3, "two of them pay orders: {list}");
    place.verify(&dir).await;
}

/// Returns a generator that sends every request twice, and does not wait for some answers.
fn generator(dir: &TestDir, place: &Place, api: &ApiProcess, load: &[&str]) -> Program {
    let url = format!("http://{}", api.listen);
    let often = ["--api", &url, "--think", "0", "--send-twice", "--cut", "0.05", "--format", "json"];
    dir.program("transaction_generator", &[&often, load, &place.key_file(dir)].concat())
}

#[tokio::test]
async fn killed_apis_and_processors_lose_and_double_nothing() {
    let (dir, place) = (TestDir::new(), Place::embedded());
    nothing_is_lost_or_doubled(&dir, &place, 20, 300, 6).await;
}

/// Users send every request twice and do not wait for some answers, while the API and two processors are killed again and
/// again.
pub(super) async fn nothing_is_lost_or_doubled(
    dir: &TestDir,
    place: &Place,
    users: u64,
    orders: u64,
    kills: u32,
) {
    let mut api = ApiProcess::start(dir, place).await;
    let mut processors = [(); 2].map(|()| place.start(dir, "payment_processor"));
    let _others: Vec<Running> = ROLES[1..].iter().map(|role| place.start(dir, role)).collect();
    let [users, of_orders, of_transactions] = [users, orders, orders / 5].map(|number| number.to_string());
    let sends = |creates, users, count, manifest| {
        let load = ["--creates", creates, "--users", users, "--count", count, "--manifest", manifest];
        generator(dir, place, &api, &load).start()
    };
    let sending = [
        sends("orders", users.as_str(), of_orders.as_str(), MANIFESTS[0]),
        sends("transactions", "5", of_transactions.as_str(), MANIFESTS[1]),
    ];
    let mut dice = ChaCha8Rng::seed_from_u64(99);
    for n in 0..kills {
        tokio::time::sleep(Duration::from_millis(dice.random_range(100..700))).await;
        api = api.kill_and_start(dir, place).await;
        let [first, second] = processors;
        let (victim, other) = if n % 2 == 0 { (first, second) } else { (second, first) };
        victim.kill();
        processors = [other, place.start(dir, "payment_processor")];
    }
    for (generator, count) in sending.into_iter().zip([orders, orders / 5]) {
        let report = generator.ended().await.with(0).json();
        assert_eq!(report["recorded"], count, "{report}");
        assert!(report["replayed"].as_u64() >= Some(count), "each request was sent twice: {report}");
    }
    let url = format!("http://{}", api.listen);
    let verify = ["verify", "--api", &url, "--format", "json", "--manifest", MANIFESTS[0], MANIFESTS[1]];
    let verify = [&verify, place.key_file(dir).as_slice()].concat();
    let proven = dir.run("transaction_generator", &verify).await.with(0).json();
    for (kind, count) in [("orders", orders), ("transactions", orders / 5)] {
        assert_eq!(proven[kind]["proven"], count, "{proven}");
    }
    let found = place.at_rest(dir).await;
    let counted: u64 =
        ["completed", "cancelled"].iter().filter_map(|state| found["shop"]["orders"][state].as_u64()).sum();
    assert_eq!(counted, orders, "{found}");
    assert_eq!(found["shop"]["transactions_without_order"], orders / 5, "{found}");
    assert_eq!((&found["orders"]["lost"], &found["faults"]), (&json!(0), &json!({})), "{found}");
}

#[tokio::test]
async fn the_api_serves_other_hosts_and_services_with_keys_only() {
    let dir = TestDir::new();
    let refused = dir.run("api_service", &["--listen", "0.0.0.0:0"]).await.with(2);
    assert!(refused.error().contains("shop.api.keys_file is not set"), "{}", refused.stderr);
    let key = dir.run("api_service", &["key", "--role", "shop", "--name", "web"]).await.with(0);
    let line = key.stderr.lines().last().unwrap();
    dir.write("keys", format!("{line}\n"));
    let place = Place {
        api: ["--listen", "0.0.0.0:0", "--keys-file", "keys"].map(str::to_owned).into(),
        key: Some(key.stdout.trim().to_owned()),
        ..Place::embedded()
    };
    let flags: Vec<&str> = place.flags.iter().chain(&place.api).map(String::as_str).collect();
    let mut api = dir.start("api_service", &flags);
    let line = api.says("serving the API on http://").await;
    let port = line.split("http://0.0.0.0:").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let base = format!("http://127.0.0.1:{port}");
    let stranger = ApiClient::try_new(&base, None).unwrap();
    assert_eq!(stranger.get("/api/v1/orders").await.unwrap().status.as_u16(), 401);
    let client = ApiClient::try_new(&base, place.key.as_deref()).unwrap();
    assert_eq!(client.get("/api/v1/orders").await.unwrap().status.as_u16(), 200);
    let broken = dir.run("api_service", &["--keys-file", "no-such-file"]).await.with(2);
    assert!(broken.error().contains("no-such-file"), "{}", broken.stderr);
}

#[tokio::test]
async fn the_demo_of_the_shop_ends_with_verified_records() {
    let dir = TestDir::new();
    let demo = ["--shop", "--format", "json", "--set", "shop.api.listen=127.0.0.1:0"];
    let found = dir.run("ecom_demo", &demo).await.with(0).json();
    assert_eq!((&found["clean"], &found["orders"]["recorded"]), (&json!(true), &json!(1_000)), "{found}");
    assert!(found["mails"]["mails"].as_u64() > Some(900), "{found}");
}
