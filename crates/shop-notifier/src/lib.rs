//! Confirmations of paid orders: what the messages of the notices topic point to is sent to the customer, and the record
//! of the order says that it was.
//!
//! A confirmation is sent at least once. Twice only if the process ends, or is frozen for longer than its ack deadline,
//! between the answer of the receiver and the write of the [notice](ecom_shop_domain::notice::Notice), and then under the
//! same id, by which the receiver can tell.

pub mod confirmation;
pub mod folder;
pub mod mail;
pub mod notices;
pub mod sender;
pub mod settings;
pub mod smtp;
pub mod webhook;
