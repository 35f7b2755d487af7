//! The API: what its handlers need.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::auth::{Caller, Keys};
use super::census::Census;
use super::docs;
use super::health::LastCall;
use super::limits::RateLimits;
use super::operations::Operations;
use super::problem::{Problem, ProblemCode};
use super::server::described;
use super::settings::ApiSettings;
use ecom_bus::{Attributes, Message, Publisher};
use ecom_clock::{Clock, Entropy};
use ecom_shop_domain::notice::NoticeRequest;
use ecom_shop_domain::policy::OrderPolicy;
use ecom_shop_domain::pricing::ShippingFee;
use ecom_shop_domain::request::ProcessingRequest;
use ecom_shop_store::{CartStore, InventoryStore, OrderStore, PaymentStore};
use ecom_store::FactStore;
use ecom_telemetry::metrics::RoleMetrics;
use ecom_telemetry::traces;

/// The longest wait for the bus to acknowledge a request.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// What the API works on.
pub struct Backends {
    /// Records of orders.
    pub orders: Arc<dyn OrderStore>,
    /// Records of payments.
    pub payments: Arc<dyn PaymentStore>,
    /// Products and their stock.
    pub inventory: Arc<dyn InventoryStore>,
    /// Carts of customers.
    pub carts: Arc<dyn CartStore>,
    /// The fact table, which is only read.
    pub facts: Arc<dyn FactStore>,
    /// The topic of processing requests.
    pub requests: Arc<dyn Publisher>,
    /// The topic of requests to confirm orders.
    pub notices: Arc<dyn Publisher>,
    /// Counts the HTTP requests.
    pub metrics: Arc<RoleMetrics>,
}

/// The API. It records what is asked for and asks the payment processor to process it; it moves no order and charges
/// nothing itself.
pub struct Api {
    pub(crate) backends: Backends,
    pub(crate) operations: Operations,
    pub(crate) keys: Keys,
    pub(crate) rates: RateLimits,
    pub(crate) in_flight: Semaphore,
    pub(crate) store_calls: LastCall,
    pub(crate) bus_calls: LastCall,
    pub(crate) census: Census,
    pub(crate) policy: OrderPolicy,
    pub(crate) shipping_fee: ShippingFee,
    pub(crate) clock: Clock,
    pub(crate) entropy: Arc<Entropy>,
}

impl Api {
    /// Creates the API, and names its operations to the metrics.
    pub fn new(
        backends: Backends,
        keys: Keys,
        settings: &ApiSettings,
        policy: OrderPolicy,
        shipping_fee: ShippingFee,
        clock: Clock,
        entropy: Arc<Entropy>,
    ) -> Self {
        let (_, description) = described(docs::description(false));
        let operations = Operations::of(&description);
        backends.metrics.name_operations(operations.names());
        Self {
            backends,
            operations,
            rates: RateLimits::new(&keys, settings),
            keys,
            in_flight: Semaphore::new(settings.max_in_flight),
            store_calls: LastCall::default(),
            bus_calls: LastCall::default(),
            census: Census::default(),
            policy,
            shipping_fee,
            clock,
            entropy,
        }
    }

    /// Returns why the API should be sent no requests now; `None` if it should. It is what the last requests met: nothing is
    /// called to find out.
    pub fn not_ready(&self) -> Option<&'static str> {
        if self.store_calls.has_failed() {
            return Some("the store does not answer");
        }
        self.bus_calls.has_failed().then_some("the bus does not answer")
    }

    /// Asks the payment processor to process a record, and waits until the bus has it.
    pub(crate) async fn ask(&self, request: ProcessingRequest, call: &CallContext) -> Result<(), Problem> {
        self.publish(self.backends.requests.as_ref(), request.encode(), call).await
    }

    /// Asks the notifier to confirm an order, and waits until the bus has it.
    pub(crate) async fn ask_to_confirm(
        &self,
        request: NoticeRequest,
        call: &CallContext,
    ) -> Result<(), Problem> {
        self.publish(self.backends.notices.as_ref(), request.encode(), call).await
    }

    async fn publish(&self, topic: &dyn Publisher, body: Vec<u8>, call: &CallContext) -> Result<(), Problem> {
        let attributes = Attributes::from_iter([("request_id", call.request_id.0.to_string())]);
        let traced = traces::publish(None, &attributes).and_then(|traced| traced.attributes);
        let attributes = traced.unwrap_or(attributes);
        let message = Message { body: body.into(), attributes };
        let published = async { topic.publish(message).await.await };
        let published = tokio::time::timeout(PUBLISH_TIMEOUT, published).await;
        let asked = match published {
            Ok(published) => published.map(drop).map_err(Problem::from),
            Err(_) => Err(Problem::retryable(ProblemCode::BusUnavailable)),
        };
        match &asked {
            Ok(()) => self.bus_calls.succeeded(),
            Err(_) => self.bus_calls.failed(),
        }
        asked
    }

    /// Returns a new `UUIDv7` whose digits do not look like a card number, as those of one in 25,000 do: a key that is made
    /// here must be accepted when it is sent back.
    pub(crate) fn uuid(&self) -> String {
        id(u64::try_from(self.clock.now_us() / 1_000).unwrap_or_default(), &self.entropy)
    }
}

fn id(millis: u64, entropy: &Entropy) -> String {
    loop {
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &entropy.bytes()).into_uuid();
        let id = id.hyphenated().to_string();
        if ecom_card_numbers::find(id.as_bytes()).is_empty() {
            return id;
        }
    }
}

/// The request that a handler answers: who sent it, and its id.
#[derive(Clone, Debug)]
pub(crate) struct CallContext {
    pub(crate) caller: Caller,
    pub(crate) request_id: RequestId,
}

/// The id of a request: of the client, or made here.
#[derive(Clone, Debug)]
pub(crate) struct RequestId(pub(crate) Arc<str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_looks_like_a_card_number() {
        let is_like_one = |id: &String| !ecom_card_numbers::find(id.as_bytes()).is_empty();
        let (time, entropy) = (1_750_000_000_000, Entropy::seeded(1));
        let drawn = || uuid::Builder::from_unix_timestamp_millis(time, &entropy.bytes()).into_uuid();
        let first = (1..100_000).find(|_| is_like_one(&drawn().hyphenated().to_string()));
        let first = first.expect("one in 25,000 does");
        let entropy = Entropy::seeded(1);
        assert_eq!((1..=first).map(|_| id(1_750_000_000_000, &entropy)).filter(is_like_one).count(), 0);
    }
}
