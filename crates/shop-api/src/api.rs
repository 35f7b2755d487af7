//! The API: what its handlers need.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::auth::{Caller, Keys};
use super::census::Census;
use super::limits::RateLimits;
use super::problem::{Problem, ProblemCode};
use super::settings::ApiSettings;
use ecom_bus::{Attributes, Message, Publisher};
use ecom_clock::{Clock, Entropy};
use ecom_shop_domain::policy::OrderPolicy;
use ecom_shop_domain::request::ProcessingRequest;
use ecom_shop_store::{OrderStore, PaymentStore};
use ecom_store::FactStore;

/// The longest wait for the bus to acknowledge a request.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(10);

/// What the API works on.
pub struct Backends {
    /// Records of orders.
    pub orders: Arc<dyn OrderStore>,
    /// Records of payments.
    pub payments: Arc<dyn PaymentStore>,
    /// The fact table, which is only read.
    pub facts: Arc<dyn FactStore>,
    /// The topic of processing requests.
    pub requests: Arc<dyn Publisher>,
}

/// The API. It records what is asked for and asks the payment processor to process it; it moves no order and charges
/// nothing itself.
pub struct Api {
    pub(crate) backends: Backends,
    pub(crate) keys: Keys,
    pub(crate) rates: RateLimits,
    pub(crate) in_flight: Semaphore,
    pub(crate) census: Census,
    pub(crate) policy: OrderPolicy,
    pub(crate) clock: Clock,
    pub(crate) entropy: Arc<Entropy>,
}

impl Api {
    /// Creates the API.
    pub fn new(
        backends: Backends,
        keys: Keys,
        settings: &ApiSettings,
        policy: OrderPolicy,
        clock: Clock,
        entropy: Arc<Entropy>,
    ) -> Self {
        Self {
            backends,
            rates: RateLimits::new(&keys, settings),
            keys,
            in_flight: Semaphore::new(settings.max_in_flight),
            census: Census::default(),
            policy,
            clock,
            entropy,
        }
    }

    /// Asks the payment processor to process a record, and waits until the bus has it.
    pub(crate) async fn ask(&self, request: ProcessingRequest, request_id: &str) -> Result<(), Problem> {
        let message = Message {
            body: request.encode().into(),
            attributes: Attributes::from_iter([("request_id", request_id.to_owned())]),
        };
        let published = async { self.backends.requests.publish(message).await.await };
        match tokio::time::timeout(PUBLISH_TIMEOUT, published).await {
            Ok(published) => Ok(published.map(drop)?),
            Err(_) => Err(Problem { retry_after: Some(1), ..Problem::new(ProblemCode::BusUnavailable) }),
        }
    }

    /// Returns a new `UUIDv7`.
    pub(crate) fn uuid(&self) -> String {
        let millis = u64::try_from(self.clock.now_us() / 1_000).unwrap_or_default();
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &self.entropy.bytes()).into_uuid();
        id.hyphenated().to_string()
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
