//! The contract of the shop's ports on the store in memory.

use std::sync::Arc;

use ecom_shop_store::memory::MemoryShop;
use ecom_shop_store::{CartStore, InventoryStore, OrderStore, PaymentStore};
use ecom_store::contract::{Open, Subject};
use futures_util::FutureExt;

async fn orders() -> Option<Subject<dyn OrderStore>> {
    let store: Arc<MemoryShop> = Arc::default();
    let open: Open<dyn OrderStore> = Arc::new(move || {
        let store: Arc<dyn OrderStore> = Arc::new(store.sharing(()));
        async move { store }.boxed()
    });
    Some(Subject::new(open, 100, ()).await)
}

async fn payments() -> Option<Subject<dyn PaymentStore>> {
    let store: Arc<MemoryShop> = Arc::default();
    let open: Open<dyn PaymentStore> = Arc::new(move || {
        let store: Arc<dyn PaymentStore> = Arc::new(store.sharing(()));
        async move { store }.boxed()
    });
    Some(Subject::new(open, 100, ()).await)
}

async fn inventory() -> Option<Subject<dyn InventoryStore>> {
    let store: Arc<MemoryShop> = Arc::default();
    let open: Open<dyn InventoryStore> = Arc::new(move || {
        let store: Arc<dyn InventoryStore> = Arc::new(store.sharing(()));
        async move { store }.boxed()
    });
    Some(Subject::new(open, 100, ()).await)
}

async fn carts() -> Option<Subject<dyn CartStore>> {
    let store: Arc<MemoryShop> = Arc::default();
    let open: Open<dyn CartStore> = Arc::new(move || {
        let store: Arc<dyn CartStore> = Arc::new(store.sharing(()));
        async move { store }.boxed()
    });
    Some(Subject::new(open, 100, ()).await)
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
