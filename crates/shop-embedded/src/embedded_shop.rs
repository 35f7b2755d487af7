//! The store, and the schema extension that it needs.

use std::sync::Arc;

use ecom_embedded::{Embedded, SchemaExtension};

/// The tables and views of the shop, for the [extensions](ecom_embedded::Options::extensions) with which the
/// file is opened.
pub const SCHEMA: SchemaExtension =
    SchemaExtension { name: "shop", version: 1, sql: include_str!("schema.sql") };

/// The records of orders and payments, the inventory, and the carts in an embedded file. Implements the ports
/// `OrderStore`, `PaymentStore`, `InventoryStore` and `CartStore`.
#[derive(Clone, Debug)]
pub struct EmbeddedShop {
    pub(super) embedded: Arc<Embedded>,
}

impl EmbeddedShop {
    /// Returns the store in a file that was opened with [`SCHEMA`]; without it every call is refused.
    pub fn new(embedded: Arc<Embedded>) -> Self {
        Self { embedded }
    }
}
