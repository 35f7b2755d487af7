//! An API with faults, and the requests that tests send to it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ecom_bus::{Message, PublishError, Publisher, Receipt};
use ecom_clock::{Clock, Entropy};
use ecom_domain::order::OrderId;
use ecom_domain::role::RoleName;
use ecom_shop_api::auth::{CallerRole, Keys, key_line};
use ecom_shop_api::{Api, ApiSettings, Backends, router};
use ecom_shop_domain::order::{OrderRecord, OrderState};
use ecom_shop_domain::payment::{PaymentRecord, PaymentState};
use ecom_shop_domain::policy::OrderPolicy;
use ecom_shop_domain::pricing::ShippingFee;
use ecom_shop_store::memory::{CallFault, CallFaults, MemoryShop};
use ecom_store::StoreError;
use ecom_store::memory::{Interceptor, MemoryStore, Tables};
use ecom_telemetry::metrics::RoleMetrics;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::answer::Answer;
use super::logs;

/// The time at which a world begins.
pub(crate) const START: i64 = 1_750_000_000_000_000;
pub(crate) const ORDERS: &str = "/api/v1/orders";
pub(crate) const TRANSACTIONS: &str = "/api/v1/transactions";

/// What becomes of a call of the store, or of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// It fails and changes nothing.
    Lost,
    /// It is applied, and its answer is lost.
    AnswerLost,
    /// It is answered after half a second.
    Slow,
    /// It is never answered.
    Hangs,
    /// It is refused for good.
    Refused,
    /// It panics.
    Panics,
}

/// What becomes of the calls of store and bus, which are counted together from 0.
#[derive(Default)]
pub(crate) struct Script {
    calls: Mutex<Vec<&'static str>>,
    at: Mutex<HashMap<usize, Fault>>,
    of: Mutex<HashMap<&'static str, Fault>>,
}

impl Script {
    /// Lets a single call fail.
    pub(crate) fn at(&self, call: usize, fault: Fault) {
        *self.at.lock().unwrap() = HashMap::from([(call, fault)]);
    }

    /// Lets all calls of an operation fail.
    pub(crate) fn of(&self, what: &'static str, fault: Fault) {
        self.of.lock().unwrap().insert(what, fault);
    }

    /// Lets all calls succeed again.
    pub(crate) fn heal(&self) {
        self.at.lock().unwrap().clear();
        self.of.lock().unwrap().clear();
    }

    /// Returns the calls since this was last asked.
    pub(crate) fn take_calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    async fn next(&self, what: &'static str) -> Option<Fault> {
        // Others may come in between.
        tokio::task::yield_now().await;
        let call = {
            let mut calls = self.calls.lock().unwrap();
            calls.push(what);
            calls.len() - 1
        };
        let fault = self.at.lock().unwrap().get(&call).copied();
        let fault = fault.or_else(|| self.of.lock().unwrap().get(what).copied());
        match fault {
            Some(Fault::Hangs) => std::future::pending().await,
            Some(Fault::Panics) => panic!("a panic, as the script says"),
            Some(Fault::Slow) => {
                tokio::time::sleep(Duration::from_millis(500)).await;
                None
            }
            fault => fault,
        }
    }
}

/// The faults of the store.
#[derive(Clone)]
pub(crate) struct Faults(Arc<Script>);

#[async_trait]
impl CallFaults for Faults {
    async fn next(&self, what: &'static str) -> CallFault {
        match self.0.next(what).await {
            None => CallFault::None,
            Some(Fault::AnswerLost) => CallFault::AnswerLost,
            Some(_) => CallFault::Lost,
        }
    }
}

#[async_trait]
impl Interceptor for Faults {
    async fn read(&self, what: &'static str, _: &Mutex<Tables>) -> Result<(), StoreError> {
        let (on, source) = (|| "memory".to_owned(), || "no answer".into());
        match self.0.next(what).await {
            None => Ok(()),
            Some(Fault::Refused) => Err(StoreError::Refused { what, on: on(), source: source() }),
            Some(_) => Err(StoreError::Unavailable { what, on: on(), source: source() }),
        }
    }
}

/// A topic that keeps each message.
pub(crate) struct Topic {
    name: &'static str,
    script: Arc<Script>,
    messages: Mutex<Vec<Message>>,
}

impl Topic {
    fn take(&self) -> Vec<String> {
        let messages = std::mem::take(&mut *self.messages.lock().unwrap());
        messages.iter().map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
    }
}

/// The operation of a message in the script.
pub(crate) const PUBLISH: &str = "publish";

#[async_trait]
impl Publisher for Topic {
    async fn publish(&self, message: Message) -> Receipt {
        let fault = self.script.next(PUBLISH).await;
        if matches!(fault, None | Some(Fault::AnswerLost)) {
            self.messages.lock().unwrap().push(message);
        }
        let (topic, source) = (self.name.to_owned(), "no answer".into());
        Receipt::new(async move {
            match fault {
                None => Ok("1".to_owned()),
                Some(Fault::Refused) => Err(PublishError::Refused { topic, source }),
                Some(_) => Err(PublishError::Unavailable { topic, source }),
            }
        })
    }

    async fn flush(&self) {}
}

/// The API keys of a world, by the name of their account.
pub(crate) const KEYS: [(&str, CallerRole); 5] = [
    ("reader", CallerRole::Reader),
    ("shop", CallerRole::Shop),
    ("other-shop", CallerRole::Shop),
    ("customer-7", CallerRole::Customer(7)),
    ("customer-8", CallerRole::Customer(8)),
];

/// An API, and what it works on.
pub(crate) struct World {
    pub(crate) script: Arc<Script>,
    pub(crate) shop: Arc<MemoryShop<Faults>>,
    pub(crate) facts: Arc<MemoryStore<Faults>>,
    requests: Arc<Topic>,
    notices: Arc<Topic>,
    pub(crate) metrics: Arc<RoleMetrics>,
    pub(crate) api: Arc<Api>,
    router: Router,
    pub(crate) description: Arc<Value>,
}

/// The settings of a world: no limit that a test meets by accident.
pub(crate) fn settings() -> ApiSettings {
    ApiSettings {
        listen: "127.0.0.1:0".to_owned(),
        keys_file: None,
        max_in_flight: 10_000,
        rate: 1_000_000,
        burst: 1_000_000,
    }
}

impl World {
    /// An API without keys.
    pub(crate) async fn open() -> Self {
        Self::new(Keys::NotRequired, &settings()).await
    }

    /// An API that requires one of [`KEYS`].
    pub(crate) async fn with_keys() -> Self {
        Self::new(keys(), &settings()).await
    }

    pub(crate) async fn new(keys: Keys, settings: &ApiSettings) -> Self {
        logs::start();
        let script = Arc::new(Script::default());
        let faults = Faults(Arc::clone(&script));
        let shop = Arc::new(MemoryShop::new(faults.clone()));
        let facts = Arc::new(MemoryStore::new(faults, Tables::default()));
        let topic = |name| Arc::new(Topic { name, script: Arc::clone(&script), messages: Mutex::default() });
        let (requests, notices) = (topic("requests"), topic("notices"));
        let metrics = Arc::new(RoleMetrics::new(RoleName::new("api_service")));
        let backends = Backends {
            orders: shop.clone(),
            payments: shop.clone(),
            inventory: shop.clone(),
            carts: shop.clone(),
            facts: facts.clone(),
            requests: requests.clone(),
            notices: notices.clone(),
            metrics: metrics.clone(),
        };
        static SEED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let seed = SEED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (clock, entropy) = (Clock::anchored(START), Arc::new(Entropy::seeded(seed)));
        let (policy, fee) = (OrderPolicy::default(), ShippingFee::default());
        let api = Arc::new(Api::new(backends, keys, settings, policy, fee, clock, entropy));
        let router = router(Arc::clone(&api));
        let request = Request::get("/openapi.json").body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let description = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let description = Arc::new(serde_json::from_slice(&description).unwrap());
        Self { script, shop, facts, requests, notices, metrics, api, router, description }
    }

    /// Sends a request, and checks the form of the answer.
    pub(crate) async fn send(&self, call: Call) -> Answer {
        self.send_raw(call.request()).await
    }

    /// Sends a request, and checks the form of the answer.
    pub(crate) async fn send_raw(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.router.clone().oneshot(request).await.unwrap();
        Answer::read(response, &method, &path, Arc::clone(&self.description)).await
    }

    /// Creates an order with this key and body, which must succeed, and returns it.
    pub(crate) async fn order(&self, key: &str, body: &Value) -> OrderRecord {
        let answer = self.send(Call::post(ORDERS).by("shop").key(key).json(body)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        self.stored(answer.body["order_id"].as_i64().unwrap())
    }

    /// Creates an order that is in this state.
    pub(crate) async fn order_in(&self, key: &str, state: OrderState, body: &Value) -> OrderRecord {
        let order = self.order(key, body).await;
        self.shop.tables().orders.get_mut(&order.order_id).unwrap().state = state;
        self.stored(order.order_id.0)
    }

    /// Returns an order as it is stored.
    pub(crate) fn stored(&self, order_id: i64) -> OrderRecord {
        self.shop.tables().orders[&OrderId(order_id)].clone()
    }

    /// Changes the stored order.
    pub(crate) fn change(&self, order: &OrderRecord, change: impl FnOnce(&mut OrderRecord)) {
        change(self.shop.tables().orders.get_mut(&order.order_id).unwrap());
    }

    /// Stores the next payment of an order as the processor opens it, in this state, and counts it in the order.
    pub(crate) fn pay(&self, order: &OrderRecord, state: PaymentState) -> PaymentRecord {
        let mut tables = self.shop.tables();
        let order = tables.orders.get_mut(&order.order_id).unwrap();
        order.attempt += 1;
        let mut payment = PaymentRecord::opened_by_processor(order, 0);
        payment.payment_method.get_or_insert_with(|| "Credit Card".to_owned());
        payment.state = state;
        payment.error_message = (state == PaymentState::Failed).then(|| "declined".to_owned());
        tables.payments.insert(payment.payment_id, payment.clone());
        payment
    }

    /// Returns the number of records.
    pub(crate) fn records(&self) -> usize {
        let tables = self.shop.tables();
        tables.orders.len() + tables.payments.len()
    }

    /// Returns the bodies of the processing requests so far, and forgets them.
    pub(crate) fn take_messages(&self) -> Vec<String> {
        self.requests.take()
    }

    /// Returns the bodies of the requests to confirm orders so far, and forgets them.
    pub(crate) fn take_notices(&self) -> Vec<String> {
        self.notices.take()
    }

    /// Returns everything that is stored or was published, as text.
    pub(crate) fn everything(&self) -> String {
        let tables = self.shop.tables();
        let topics = [&self.requests, &self.notices].map(|topic| {
            let messages = topic.messages.lock().unwrap();
            let bodies: Vec<_> = messages.iter().map(|message| &message.body).collect();
            format!("{messages:?} {bodies:?}")
        });
        format!(
            "{:?} {:?} {:?} {:?} {:?} {topics:?}",
            tables.orders, tables.payments, tables.products, tables.reservations, tables.carts
        )
    }
}

/// Returns the keys of [`KEYS`]: the secret of an account is its name with a prefix.
pub(crate) fn keys() -> Keys {
    static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());
    static WRITTEN: LazyLock<std::path::PathBuf> = LazyLock::new(|| {
        let path = FOLDER.path().join("keys");
        let line = |&(name, role): &(&str, CallerRole)| key_line(&format!("ecom_{name}"), role, name);
        std::fs::write(&path, KEYS.iter().map(line).collect::<Vec<_>>().join("\n")).unwrap();
        path
    });
    Keys::open(&WRITTEN).unwrap()
}

/// A request.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    pub(crate) fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path)
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// The account that calls.
    pub(crate) fn by(self, account: &str) -> Self {
        self.header("authorization", format!("Bearer ecom_{account}"))
    }

    /// The account that calls, by HTTP Basic.
    pub(crate) fn by_password(self, account: &str) -> Self {
        self.header("authorization", format!("Basic {}", STANDARD.encode(format!("me:ecom_{account}"))))
    }

    /// The idempotency key.
    pub(crate) fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.body(body.to_string()).header("content-type", "application/json")
    }

    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn request(self) -> Request<Body> {
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        request.body(Body::from(self.body)).unwrap()
    }
}

/// An order of customer 7 that waits for a payment of 19.98 USD.
pub(crate) fn unpaid() -> Value {
    json!({
        "customer_id": 7,
        "lines": [{"item": "Mouse", "quantity": 2, "unit_price": 9.99}],
        "shipping_address": "1 Main St",
    })
}

/// An order of customer 7 that is paid at once.
pub(crate) fn prepaid() -> Value {
    let mut order = unpaid();
    order["payment_method"] = json!("Credit Card");
    order["card_last_four"] = json!("4242");
    order
}

/// A transaction.
pub(crate) fn transfer() -> Value {
    json!({"sender": "user123", "receiver": "user456", "amount": 100.00, "currency": "USD"})
}

/// A payment.
pub(crate) fn payment() -> Value {
    json!({"payment_method": "Credit Card", "card_last_four": "4242"})
}

/// An order of the first reference system.
pub(crate) fn reference(key: &str) -> Value {
    json!({"user_id": 7, "order_id": key, "item_ids": [1, 2], "total_amount": 99.90, "status": "Pending"})
}

/// An order of its load test.
pub(crate) fn phone() -> Value {
    json!({"product_name": "Phone", "quantity": 2})
}
