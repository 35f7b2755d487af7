//! The shop: the API and the payment processor, which feed the pipeline.

pub(crate) mod api_service;
pub(crate) mod payment_processor;
pub(crate) mod settings;
pub(crate) mod stores;
