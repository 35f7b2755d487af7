//! The shop: the API and the payment processor, which feed the pipeline, and the notifier.

pub(crate) mod api_service;
#[cfg(feature = "shop-embedded")]
pub(crate) mod demo;
pub(crate) mod notifier;
pub(crate) mod payment_processor;
pub(crate) mod records;
pub(crate) mod settings;
pub(crate) mod stores;
pub(crate) mod transaction_generator;
