//! The records of orders and payments, the inventory and the carts, in the store that the configuration names.

use std::sync::Arc;

use crate::exit::CliError;
use crate::wiring::{Store, StoreAdapter};
use ecom_shop_store::{CartStore, InventoryStore, OrderStore, PaymentStore};

/// The ports of the shop's store.
#[derive(Clone)]
pub(crate) struct ShopStores {
    /// Records of orders.
    pub(crate) orders: Arc<dyn OrderStore>,
    /// Records of payments.
    pub(crate) payments: Arc<dyn PaymentStore>,
    /// Products, and the units that orders have reserved.
    pub(crate) inventory: Arc<dyn InventoryStore>,
    /// Carts of customers.
    pub(crate) carts: Arc<dyn CartStore>,
}

impl ShopStores {
    fn new(store: Arc<impl OrderStore + PaymentStore + InventoryStore + CartStore + 'static>) -> Self {
        Self { orders: store.clone(), payments: store.clone(), inventory: store.clone(), carts: store }
    }

    /// Returns the shop's ports of a connected store.
    ///
    /// # Errors
    /// The shop's adapter of this store is not built in, or its statements cannot be prepared.
    pub(crate) async fn of(store: &Store) -> Result<Self, CliError> {
        match &store.adapter {
            #[cfg(feature = "shop-embedded")]
            StoreAdapter::Embedded(embedded) => {
                Ok(Self::new(Arc::new(ecom_shop_embedded::EmbeddedShop::new(Arc::clone(embedded)))))
            }
            #[cfg(feature = "shop-cassandra")]
            StoreAdapter::Cassandra(cassandra) => {
                let shop = ecom_shop_cassandra::CassandraShop::connect(Arc::clone(cassandra)).await?;
                Ok(Self::new(Arc::new(shop)))
            }
            #[cfg(any(
                not(any(feature = "shop-embedded", feature = "shop-cassandra")),
                all(feature = "embedded", not(feature = "shop-embedded")),
                all(feature = "cassandra", not(feature = "shop-cassandra")),
            ))]
            _ => Err(CliError::usage("this binary was built without the shop's adapter of this store")
                .hint("build with default features: cargo build --release")),
        }
    }
}
