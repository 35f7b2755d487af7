//! The settings of the shop: the section `[shop]`.

use serde::{Deserialize, Deserializer};

use ecom_config::fields::checked;
use ecom_config::{Section, hosts};
use ecom_shop::settings::{CheckoutSettings, ProcessorSettings};
use ecom_shop_api::ApiSettings;
use ecom_shop_domain::policy::OrderPolicy;
use ecom_shop_notifier::settings::NotifierSettings;

/// The settings of the shop.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShopSettings {
    /// Topics, by their short names.
    pub(crate) topics: ShopResources,
    /// Subscriptions, by their short names.
    pub(crate) subscriptions: ShopResources,
    /// The API.
    pub(crate) api: ApiSettings,
    /// The deadlines of orders, and the fee for shipping them.
    pub(crate) checkout: CheckoutSettings,
    /// The payment processor.
    pub(crate) processor: ProcessorSettings,
    /// The notifier.
    pub(crate) notifier: NotifierSettings,
}

/// The short names of topics or subscriptions.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShopResources {
    /// That of processing requests.
    #[serde(deserialize_with = "resource_name")]
    pub(crate) requests: String,
    /// That of requests to confirm orders.
    #[serde(deserialize_with = "resource_name")]
    pub(crate) notices: String,
}

impl Section for ShopSettings {}

impl ShopSettings {
    /// Returns how long orders wait.
    pub(crate) fn policy(&self) -> OrderPolicy {
        self.processor.policy(&self.checkout)
    }
}

fn resource_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    checked(deserializer, |text| hosts::resource(&text))
}
