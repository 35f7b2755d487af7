//! The store: prepared statements on the session of a [`CassandraStore`].

use std::fmt;
use std::sync::Arc;

use super::registered_hours::RegisteredHours;
use super::statements::Statements;
use ecom_store::StoreError;
use ecom_store_cassandra::CassandraStore;

/// The shop's store on Cassandra. Implements the ports `OrderStore`, `PaymentStore`, `InventoryStore` and `CartStore`.
pub struct CassandraShop {
    pub(super) store: Arc<CassandraStore>,
    pub(super) statements: Statements,
    pub(super) registered: RegisteredHours,
}

impl CassandraShop {
    /// Prepares every statement on the session of `store`, whose schema is checked.
    pub async fn connect(store: Arc<CassandraStore>) -> Result<Self, StoreError> {
        let statements = Statements::prepare(&store)
            .await
            .map_err(|error| error.at("prepare the statements of the shop", store.name()))?;
        Ok(Self { store, statements, registered: RegisteredHours::default() })
    }
}

impl fmt::Debug for CassandraShop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CassandraShop").field("name", &self.store.name()).finish_non_exhaustive()
    }
}
