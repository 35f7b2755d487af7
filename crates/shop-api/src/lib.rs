//! The HTTP API of products, carts, orders and payments.
//!
//! It validates and records requests, asks the payment processor to process them, and answers with what the records show.
//! It moves no order and charges nothing itself.

mod accept;
mod aliases;
mod answer;
mod api;
pub mod auth;
mod body;
mod carts;
mod census;
mod checkout;
mod checkout_request;
mod confirmation;
mod decision;
mod docs;
mod extract;
mod health;
mod layers;
mod limits;
mod operations;
mod order_request;
mod order_view;
mod orders;
mod pages;
mod payment_request;
mod preconditions;
mod prefer;
mod problem;
mod products;
mod query;
mod quote;
mod schemas;
mod server;
mod settings;
mod sku;
mod transactions;
mod write_timeout;

pub use api::{Api, Backends};
pub use operations::operations;
pub use problem::{Problem, ProblemCode};
pub use server::{Server, router};
pub use settings::ApiSettings;
