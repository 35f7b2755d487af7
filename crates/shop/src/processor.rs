//! The payment processor: what it needs to take orders and payments through their states.

use std::sync::Arc;
use std::time::Duration;

use super::due::DueQueue;
use super::events::EventPublisher;
use super::gateway::PaymentGateway;
use super::stock::StockKeeper;
use ecom_bus::Publisher;
use ecom_clock::Clock;
use ecom_pipeline::durable::Retrier;
use ecom_shop_domain::policy::OrderPolicy;
use ecom_shop_store::{CartStore, OrderStore, PaymentStore};

/// Takes orders and payments through their states. Any number of processors may work on one record at the same time: each
/// does what the state that stands entails, all of which is idempotent, and at most one of them moves it on.
pub struct PaymentProcessor {
    /// Records of orders.
    pub orders: Arc<dyn OrderStore>,
    /// Records of payments.
    pub payments: Arc<dyn PaymentStore>,
    /// Reserves, sells and releases units.
    pub stock: StockKeeper,
    /// The carts, from which placed orders are removed.
    pub carts: Arc<dyn CartStore>,
    /// Publishes the events that report their states, and the requests to confirm orders.
    pub events: EventPublisher,
    /// The topic of processing requests, for orders and payments that are due.
    pub requests: Arc<dyn Publisher>,
    /// Charges payments.
    pub gateway: Arc<dyn PaymentGateway>,
    /// The time that a payment is in processing before the gateway is asked.
    pub payment_delay: Duration,
    /// How long orders wait.
    pub policy: OrderPolicy,
    /// The orders that are due later.
    pub due: DueQueue,
    /// Retries calls through outages.
    pub retrier: Arc<Retrier>,
    /// Wall time.
    pub clock: Clock,
}
