//! The contract of the shop's ports on Cassandra, in one keyspace for all cases of a run. Skipped unless
//! `CASSANDRA_CONTACT_POINTS` is set.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "fixture/keyspace.rs"]
mod keyspace;

use std::sync::Arc;

use ecom_shop_cassandra::CassandraShop;
use ecom_shop_store::{CartStore, InventoryStore, OrderStore, PaymentStore};
use ecom_store::contract::{Open, Subject};
use ecom_store_cassandra::{CassandraSettings, CassandraStore};
use futures_util::FutureExt;
use tokio::sync::OnceCell;

/// The share of the random schedules to run, in percent.
const EFFORT: u64 = 10;

async fn orders() -> Option<Subject<dyn OrderStore>> {
    let open: Open<dyn OrderStore> = opener(settings().await?, |shop| shop);
    Some(Subject::new(open, EFFORT, ()).await)
}

async fn payments() -> Option<Subject<dyn PaymentStore>> {
    let open: Open<dyn PaymentStore> = opener(settings().await?, |shop| shop);
    Some(Subject::new(open, EFFORT, ()).await)
}

async fn inventory() -> Option<Subject<dyn InventoryStore>> {
    let open: Open<dyn InventoryStore> = opener(settings().await?, |shop| shop);
    Some(Subject::new(open, EFFORT, ()).await)
}

async fn carts() -> Option<Subject<dyn CartStore>> {
    let open: Open<dyn CartStore> = opener(settings().await?, |shop| shop);
    Some(Subject::new(open, EFFORT, ()).await)
}

fn opener<P: ?Sized + Send + Sync + 'static>(
    settings: CassandraSettings,
    as_port: fn(Arc<CassandraShop>) -> Arc<P>,
) -> Open<P> {
    Arc::new(move || {
        let settings = settings.clone();
        async move {
            let store = CassandraStore::connect(&settings).await.unwrap();
            as_port(Arc::new(CassandraShop::connect(Arc::new(store)).await.unwrap()))
        }
        .boxed()
    })
}

/// Returns the settings of this process's keyspace, which the first call creates.
async fn settings() -> Option<CassandraSettings> {
    static CREATED: OnceCell<Option<CassandraSettings>> = OnceCell::const_new();
    CREATED.get_or_init(|| keyspace::created("contract")).await.clone()
}

mod order_store {
    ecom_shop_store::order_store_contract_tests!(super::orders);
}

mod payment_store {
    ecom_shop_store::payment_store_contract_tests!(super::payments);
}

mod inventory_store {
    ecom_shop_store::inventory_store_contract_tests!(super::inventory);
}

mod cart_store {
    ecom_shop_store::cart_store_contract_tests!(super::carts);
}
