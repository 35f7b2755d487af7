//! The contract of order and payment bodies: their fields and the size limit.

/// The maximum size of a body, in bytes: 1 MiB. A larger body is rejected as `invalid` without being parsed.
pub const BODY_LIMIT: usize = 1024 * 1024;

/// The fields of an order body. All are required.
pub(crate) const ORDER_FIELDS: [&str; 8] = [
    "order_id",
    "customer_id",
    "item",
    "quantity",
    "price",
    "shipping_address",
    "order_status",
    "creation_date",
];

/// The fields of a payment body. All but `card_last_four` are required.
pub(crate) const PAYMENT_FIELDS: [&str; 6] =
    ["payment_id", "order_id", "payment_method", "card_last_four", "payment_status", "payment_datetime"];

/// The fields whose numbers identify things in this pipeline, and may look like card numbers by chance.
pub(crate) const ID_FIELDS: [&str; 3] = ["order_id", "customer_id", "payment_id"];
