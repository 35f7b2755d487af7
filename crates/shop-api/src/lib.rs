//! The HTTP API of orders and payments.
//!
//! It validates and records requests, asks the payment processor to process them, and answers with what the records show.
//! It moves no order and charges nothing itself.

mod accept;
mod aliases;
mod answer;
mod api;
pub mod auth;
mod body;
mod census;
mod docs;
mod extract;
mod health;
mod layers;
mod limits;
mod order_request;
mod order_view;
mod orders;
mod pages;
mod payment_request;
mod problem;
mod query;
mod schemas;
mod server;
mod settings;
mod transactions;

pub use api::{Api, Backends};
pub use problem::{Problem, ProblemCode};
pub use server::{Server, router};
pub use settings::ApiSettings;
