//! The contract of the ports on the store in memory.

use std::sync::Arc;

use ecom_store::contract::Subject;
use ecom_store::memory::MemoryStore;
use futures_util::FutureExt;

/// Defines the subject of a port; its handles share one store.
macro_rules! contract {
    ($module:ident, $port:ident, $tests:ident) => {
        mod $module {
            use super::*;

            async fn subject() -> Option<Subject<dyn ecom_store::$port>> {
                let store = Arc::new(MemoryStore::<()>::default());
                let open = move || {
                    let handle: Arc<dyn ecom_store::$port> = store.clone();
                    async move { handle }.boxed()
                };
                Some(Subject::new(Arc::new(open), 100, ()).await)
            }

            ecom_store::$tests!(subject);
        }
    };
}

contract!(fact_store, FactStore, fact_store_contract_tests);
contract!(unseen_payments, FactStore, unseen_payment_contract_tests);
contract!(dead_letter_store, DeadLetterStore, dead_letter_store_contract_tests);
contract!(operations_store, OperationsStore, operations_store_contract_tests);
