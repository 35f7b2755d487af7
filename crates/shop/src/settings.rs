//! The settings of the processor: the sections `[shop.processor]` and `[shop.checkout]`.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use ecom_config::fields::{DAY, MINUTE, MS, SECOND, checked, duration, duration_or_off, number, share};
use ecom_shop_domain::policy::OrderPolicy;
use ecom_shop_domain::pricing::ShippingFee;

/// The payment processor.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessorSettings {
    /// The share of payments that the simulated gateway completes; 0.9 by default.
    #[serde(deserialize_with = "share")]
    pub success_rate: f64,
    /// The seed of the outcomes of the simulated gateway; 42 by default.
    #[serde(deserialize_with = "number::<_, _, 0, { i64::MAX }>")]
    pub seed: u64,
    /// The time that a payment is in processing; 2 s by default, at most 5 min, `None` for none.
    #[serde(deserialize_with = "duration_or_off::<_, MS, { 5 * MINUTE }>")]
    pub payment_delay: Option<Duration>,
    /// The time from paid to completed; 50 s by default, at most 30 d.
    #[serde(deserialize_with = "duration::<_, MS, { 30 * DAY }>")]
    pub completion_delay: Duration,
}

/// The deadlines of orders, and the fee for shipping them.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckoutSettings {
    /// The time in which an accepted order must be processed; 1 h by default.
    #[serde(deserialize_with = "duration::<_, SECOND, { 7 * DAY }>")]
    pub accept_deadline: Duration,
    /// The time in which a placed order must be paid; 15 min by default.
    #[serde(deserialize_with = "duration::<_, SECOND, { 30 * DAY }>")]
    pub payment_deadline: Duration,
    /// The time in which another payment may follow a failed one; `None` (the default) cancels the order at once.
    #[serde(deserialize_with = "duration_or_off::<_, SECOND, { 30 * DAY }>")]
    pub payment_retry_window: Option<Duration>,
    /// The fee for shipping an order, in whole units of its currency; 10 by default.
    #[serde(deserialize_with = "shipping_fee")]
    pub shipping_fee: ShippingFee,
}

fn shipping_fee<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ShippingFee, D::Error> {
    checked(deserializer, |text| ShippingFee::try_new(&text))
}

impl ProcessorSettings {
    /// Returns how long orders wait.
    pub fn policy(&self, checkout: &CheckoutSettings) -> OrderPolicy {
        OrderPolicy {
            accept_deadline: checkout.accept_deadline,
            payment_deadline: checkout.payment_deadline,
            payment_retry_window: checkout.payment_retry_window.unwrap_or_default(),
            completion_delay: self.completion_delay,
            ..OrderPolicy::default()
        }
    }
}
