//! The reason a message is dead-lettered instead of applied.

use ecom_domain::order::OrderId;
use ecom_domain::reason::Reason;

/// The reason a message is dead-lettered, with the ids that identify it to an operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejection {
    /// The reason. The decoders give `undecodable`, `invalid` or `pan_detected`.
    pub reason: Reason,
    /// Field and cause; never a value of the body.
    pub detail: String,
    /// The order id, if it could be read.
    pub order_id: Option<OrderId>,
    /// The payment id, if it could be read.
    pub payment_id: Option<i64>,
}
