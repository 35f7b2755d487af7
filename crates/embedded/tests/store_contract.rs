//! The contract of the store ports on the embedded store, in a separate folder for each case.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::PathBuf;
use std::sync::Arc;

use ecom_embedded::{Embedded, Options, open};
use ecom_store::contract::{Open, Subject};
use ecom_store::{DeadLetterStore, FactStore, OperationsStore};
use futures_util::FutureExt;

/// The share of the random schedules to run, in percent.
const EFFORT: u64 = 100;

async fn facts() -> Option<Subject<dyn FactStore>> {
    let folder = tempfile::tempdir().unwrap();
    let open: Open<dyn FactStore> = opener(folder.path().into(), |embedded| embedded);
    Some(Subject::new(open, EFFORT, folder).await)
}

async fn dead_letters() -> Option<Subject<dyn DeadLetterStore>> {
    let folder = tempfile::tempdir().unwrap();
    let open: Open<dyn DeadLetterStore> = opener(folder.path().into(), |embedded| embedded);
    Some(Subject::new(open, EFFORT, folder).await)
}

async fn operations() -> Option<Subject<dyn OperationsStore>> {
    let folder = tempfile::tempdir().unwrap();
    let open: Open<dyn OperationsStore> = opener(folder.path().into(), |embedded| embedded);
    Some(Subject::new(open, EFFORT, folder).await)
}

fn opener<P: ?Sized + Send + Sync + 'static>(
    folder: PathBuf,
    as_port: fn(Arc<Embedded>) -> Arc<P>,
) -> Open<P> {
    Arc::new(move || {
        let handle = as_port(open(&folder, Options::new(Vec::new())).unwrap());
        async move { handle }.boxed()
    })
}

mod fact_store {
    ecom_store::fact_store_contract_tests!(super::facts);
}

mod unseen_payments {
    ecom_store::unseen_payment_contract_tests!(super::facts);
}

mod dead_letter_store {
    ecom_store::dead_letter_store_contract_tests!(super::dead_letters);
}

mod operations_store {
    ecom_store::operations_store_contract_tests!(super::operations);
}
