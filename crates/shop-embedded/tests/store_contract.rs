//! The contract of the shop's ports on the embedded store, in a separate folder for each case.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::PathBuf;
use std::sync::Arc;

use ecom_embedded::{Options, open};
use ecom_shop_embedded::{EmbeddedShop, SCHEMA};
use ecom_shop_store::{CartStore, InventoryStore, OrderStore, PaymentStore};
use ecom_store::contract::{Open, Subject};
use futures_util::FutureExt;

/// The share of the random schedules to run, in percent.
const EFFORT: u64 = 100;

async fn orders() -> Option<Subject<dyn OrderStore>> {
    let folder = tempfile::tempdir().unwrap();
    let open: Open<dyn OrderStore> = opener(folder.path().into(), |shop| shop);
    Some(Subject::new(open, EFFORT, folder).await)
}

async fn payments() -> Option<Subject<dyn PaymentStore>> {
    let folder = tempfile::tempdir().unwrap();
    let open: Open<dyn PaymentStore> = opener(folder.path().into(), |shop| shop);
    Some(Subject::new(open, EFFORT, folder).await)
}

async fn inventory() -> Option<Subject<dyn InventoryStore>> {
    let folder = tempfile::tempdir().unwrap();
    let open: Open<dyn InventoryStore> = opener(folder.path().into(), |shop| shop);
    Some(Subject::new(open, EFFORT, folder).await)
}

async fn carts() -> Option<Subject<dyn CartStore>> {
    let folder = tempfile::tempdir().unwrap();
    let open: Open<dyn CartStore> = opener(folder.path().into(), |shop| shop);
    Some(Subject::new(open, EFFORT, folder).await)
}

fn opener<P: ?Sized + Send + Sync + 'static>(
    folder: PathBuf,
    as_port: fn(Arc<EmbeddedShop>) -> Arc<P>,
) -> Open<P> {
    Arc::new(move || {
        let options = Options { extensions: vec![SCHEMA], ..Options::new(Vec::new()) };
        let handle = as_port(Arc::new(EmbeddedShop::new(open(&folder, options).unwrap())));
        async move { handle }.boxed()
    })
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
