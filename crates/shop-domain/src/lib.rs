//! Orders and payments as they are accepted over HTTP: ids, money, states, and the decisions about them.
//!
//! An order or a payment is a *record* with a state and a revision. A record is created once, under an id that is
//! derived from its idempotency key, and it changes only by [conditional moves](order::OrderRecord::next) from one
//! revision to the next. Each move stores its own time, later than the one before; that time is T of the event that
//! reports it.

pub mod event;
pub mod gateway;
pub mod identity;
pub mod inventory;
pub mod money;
pub mod notice;
pub mod order;
pub mod order_number;
pub mod payment;
pub mod policy;
pub mod pricing;
pub mod request;
pub mod time;
